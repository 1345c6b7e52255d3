//! Files that hold secrets: their owner's alone.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Refuses a file that group or others can read, and says how to change that.
///
/// # Errors
/// The file is not there, or its mode is too open.
pub fn check(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let advice = format!("others can read it (mode {mode:03o}): run `chmod 600 {}`", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, advice))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let checked = check(file.path());
            assert_eq!(checked.is_ok(), fine, "{mode:o}");
            assert!(checked.err().is_none_or(|advice| advice.to_string().contains("chmod 600")));
        }
        assert_eq!(check(Path::new("/nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
