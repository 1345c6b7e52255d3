//! Files that hold secrets: their owner's alone.
//!
//! | owner of the file | group may | others may | is |
//! |---|---|---|---|
//! | anybody | nothing | nothing | private |
//! | root, and we are not root | read | nothing | private: how systemd (an access list) and Kubernetes (`fsGroup`) hand in secrets |
//! | anything else | | | refused |

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Refuses a file that others can read, and says how to change that.
///
/// # Errors
/// The file is not there, or its mode is too open.
pub fn check(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if is_private(&metadata) {
        return Ok(());
    }
    let mode = metadata.mode() & 0o777;
    let advice = format!("others can read it (mode {mode:03o}): run `chmod 600 {}`", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, advice))
}

/// Whether a file is its owner's alone.
pub fn is_private(metadata: &Metadata) -> bool {
    allows(metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw())
}

const fn allows(mode: u32, owner: u32, us: u32) -> bool {
    let handed_in = owner == 0 && us != 0;
    mode & 0o077 == 0 || (handed_in && mode & 0o037 == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o660, false), (0o604, false)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let checked = check(file.path());
            assert_eq!(checked.is_ok(), fine, "{mode:o}");
            assert!(checked.err().is_none_or(|advice| advice.to_string().contains("chmod 600")));
        }
        assert_eq!(check(Path::new("/nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_group_may_read_only_what_root_handed_in() {
        let (root, alys, other) = (0, 1_000, 1_001);
        let table = [
            (0o400, alys, alys, true),
            (0o440, alys, alys, false),
            (0o440, other, alys, false),
            (0o440, root, alys, true),
            (0o640, root, alys, true),
            (0o460, root, alys, false),
            (0o444, root, alys, false),
            (0o440, root, root, false),
        ];
        for (mode, owner, us, fine) in table {
            assert_eq!(allows(mode, owner, us), fine, "{mode:o} of {owner}, read by {us}");
        }
    }
}
