//! Files that are made once and never overwritten.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, OrFail as _, Outcome};

/// Something that was made on the first run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What it is, for people.
    pub what: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Makes a folder that only its owner can enter.
pub fn folder(path: &Path) -> Outcome {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .or_configuration(format!("cannot make the folder {}", path.display()))
        .map_err(|failure| failure.help("choose another one with --data-dir"))
}

/// Writes a file that only its owner can read. An existing one is kept; says whether it was made.
pub fn secret(path: &Path, content: impl AsRef<[u8]>) -> Outcome<bool> {
    write(path, content.as_ref(), 0o600)
}

/// Writes a file that everyone may read. An existing one is kept; says whether it was made.
pub fn public(path: &Path, text: &str) -> Outcome<bool> {
    write(path, text.as_bytes(), 0o644)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Outcome<bool> {
    if path.exists() {
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    // Complete or not there at all: a crash between the two must not leave half a key behind.
    let unfinished = path.with_extension(format!("new-{}", std::process::id()));
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        match std::fs::hard_link(&unfinished, path) {
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
            linked => linked?,
        }
        std::fs::remove_file(&unfinished)
    };
    written().or_configuration(format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// Reads a secret, which must be its owner's alone.
pub fn read_secret(path: &Path) -> Outcome<Vec<u8>> {
    let metadata =
        std::fs::metadata(path).or_configuration(format!("the key {} is missing", path.display())).map_err(|failure| {
            failure.help("restore it from your backup; `alys keys generate` makes a new one, which is a different key")
        })?;
    if !alys_cluster::private::is_private(&metadata) {
        let mode = metadata.permissions().mode() & 0o777;
        return Err(Failure::configuration(format!("the key {} can be read by others (mode {mode:03o})", path.display()))
            .help(format!("chmod 600 {}", path.display())));
    }
    std::fs::read(path).or_configuration(format!("cannot read the key {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_secret_is_private_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/x.key");
        assert!(secret(&path, "one").unwrap());
        assert!(!secret(&path, "two").unwrap());
        assert_eq!(read_secret(&path).unwrap(), b"one");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.key");
        secret(&path, "one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let failure = read_secret(&path).unwrap_err();
        assert_eq!(failure.code, alys_cluster::exit::CONFIGURATION);
        assert!(failure.to_string().contains("chmod 600"), "{failure}");
    }
}
