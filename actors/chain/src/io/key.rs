//! The validator's key file: an ed25519 seed as 64 hex digits, readable by its owner only.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use malachite_ed25519::PrivateKey;
use zeroize::Zeroizing;

/// Why the key cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(
        "cannot read the validator key {path}; create it with `alys keys`, or remove `chain.validator_key` to run a full node: {source}"
    )]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the validator key {path} may be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the validator key {path} is not 64 hex digits")]
    Malformed { path: PathBuf },
}

/// Reads the key.
pub(crate) fn load(path: &Path) -> Result<PrivateKey, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !alys_cluster::private::is_private(&metadata) {
        return Err(KeyError::Exposed { path: path.to_owned(), mode: metadata.permissions().mode() & 0o777 });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
    let mut seed = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut_slice()).map_err(|_| KeyError::Malformed { path: path.to_owned() })?;
    Ok(PrivateKey::from(*seed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("validator.key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_seed_with_mode_600_is_a_key() {
        let (_folder, path) = file(&format!("{}\n", "07".repeat(32)), 0o600);
        assert_eq!(load(&path).unwrap().public_key(), PrivateKey::from([7; 32]).public_key());
    }

    #[test]
    fn an_exposed_missing_or_damaged_key_is_refused_with_advice() {
        let (_folder, path) = file(&"07".repeat(32), 0o640);
        assert!(matches!(load(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
        let (_folder, path) = file("07", 0o600);
        assert!(matches!(load(&path), Err(KeyError::Malformed { .. })));
        assert!(load(Path::new("/nonexistent/key")).unwrap_err().to_string().contains("alys keys"));
    }
}
