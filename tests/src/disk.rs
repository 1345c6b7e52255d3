//! A small disk that a test fills to the last byte.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

use eyre::ensure;
use tempfile::TempDir;

use crate::cluster::temporary_folder;

/// A file system of its own, gone with the value.
pub struct SmallDisk {
    folder: PathBuf,
    /// Where it is mounted, when that is no folder of somebody else.
    _own: Option<TempDir>,
}

impl SmallDisk {
    /// One in a folder of its own; `None`, with the reason on standard error, where we may not mount.
    pub fn temporary(mebibytes: u32) -> eyre::Result<Option<Self>> {
        let own = temporary_folder()?;
        let Ok(()) = mount(own.path(), mebibytes) else {
            eprintln!("skipped: only root can mount the small disk that this test fills");
            return Ok(None);
        };
        Ok(Some(Self { folder: own.path().to_owned(), _own: Some(own) }))
    }

    /// One in a folder that is made.
    pub fn at(folder: PathBuf, mebibytes: u32) -> eyre::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        mount(&folder, mebibytes)?;
        Ok(Self { folder, _own: None })
    }

    /// Its root.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What takes up the room.
    pub fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Not one byte is left.
    pub fn fill(&self) -> eyre::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(self.filler())?;
        for size in [1 << 20, 4_096, 1] {
            while std::io::Write::write(&mut &file, &vec![1; size]).is_ok_and(|written| written > 0) {}
        }
        Ok(())
    }

    /// All that was left before is left again.
    pub fn make_room(&self) -> eyre::Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have a file open.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.display());
        }
    }
}

fn mount(folder: &Path, mebibytes: u32) -> eyre::Result<()> {
    let size = format!("size={mebibytes}m");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder).output()?;
    ensure!(mounted.status.success(), "mount: {}", String::from_utf8_lossy(&mounted.stderr).trim());
    Ok(())
}
