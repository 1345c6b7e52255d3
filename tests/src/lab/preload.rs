//! Libraries that are loaded into a role before its own (`LD_PRELOAD`): a disk that a test can make slow, and a clock that it
//! can set.

use std::path::{Path, PathBuf};

use eyre::ensure;

use super::run;

/// What the test changes while the role runs.
pub struct Preload {
    folder: PathBuf,
}

impl Preload {
    /// Makes the libraries ready for one role, in a folder of its own.
    pub fn new(folder: PathBuf) -> eyre::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let preload = Self { folder };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/slow-disk.c");
        let (source, library) = (source.display().to_string(), preload.file("slow-disk.so").display().to_string());
        // The linker of every Rust toolchain is a C compiler.
        run("cc", &["-shared", "-fPIC", "-O1", "-o", &library, &source, "-ldl"])?;
        preload.set_clock(0)?;
        Ok(preload)
    }

    /// The environment under which the role must be started.
    pub fn environment(&self) -> eyre::Result<Vec<(String, String)>> {
        let libraries = format!("{}:{}", self.file("slow-disk.so").display(), faketime()?.display());
        let file = |name: &str| self.file(name).display().to_string();
        Ok(vec![
            ("LD_PRELOAD".into(), libraries),
            ("SLOW_DISK".into(), file("slow")),
            ("FAKETIME_TIMESTAMP_FILE".into(), file("clock")),
            // People set the time of day; what measures durations goes on.
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("FAKETIME_CACHE_DURATION".into(), "1".into()),
        ])
    }

    /// Every fsync takes so much longer from now on; 0: none does.
    pub fn slow_disk(&self, millis: u32) -> eyre::Result<()> {
        Ok(std::fs::write(self.file("slow"), millis.to_string())?)
    }

    /// The clock is so many seconds before (less than 0: behind) the right time, within a second from now.
    pub fn set_clock(&self, seconds: i32) -> eyre::Result<()> {
        // Renamed into place: half of it would be another time.
        std::fs::write(self.file("clock.new"), format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(self.file("clock.new"), self.file("clock"))?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The library that `make setup-test` unpacked.
fn faketime() -> eyre::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/faketime/usr/lib");
    let found = format!("{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    let library = folder.join(found);
    ensure!(
        library.exists(),
        "there is no faketime in .tools/faketime: tests/tools/install-test-tools.sh makes it (`make setup-test` does)"
    );
    Ok(library.canonicalize()?)
}
