//! The federation secret key: 64 hex digits in a file of mode 0600. Refused when others may read it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bitcoin::XOnlyPublicKey;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use zeroize::Zeroizing;

/// Why a key cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read `{}`; `alys keys` makes one", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", .file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("`{}` has mode {mode:03o}: others can read it; run `chmod 600` on it", .file.display())]
    Open {
        /// Which.
        file: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Not 64 hex digits of a valid key.
    #[error("`{}` does not hold a secret key of 64 hex digits", .0.display())]
    Malformed(PathBuf),
    /// The specification has another key for this member, or no such member.
    #[error("the chain specification has {expected} as the key of `{member}`, the file holds the key of {found}")]
    OtherMember {
        /// Our name.
        member: String,
        /// In the specification; `nobody` when the name is not there.
        expected: String,
        /// Public key of the file.
        found: XOnlyPublicKey,
    },
}

/// Reads a key.
pub fn load(file: &Path) -> Result<SecretKey, KeyError> {
    let read = |source| KeyError::Read { file: file.to_owned(), source };
    let metadata = fs::metadata(file).map_err(read)?;
    if !alys_cluster::private::is_private(&metadata) {
        return Err(KeyError::Open { file: file.to_owned(), mode: metadata.permissions().mode() & 0o777 });
    }
    let text = Zeroizing::new(fs::read_to_string(file).map_err(read)?);
    text.trim().parse().map_err(|_| KeyError::Malformed(file.to_owned()))
}

/// Makes a new key in a new file and returns its public key. An existing file is never overwritten.
pub fn create(file: &Path) -> Result<XOnlyPublicKey, KeyError> {
    let write = |source| KeyError::Write { file: file.to_owned(), source };
    let secret = SecretKey::new(&mut bitcoin::secp256k1::rand::thread_rng());
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(write)?;
    let text = Zeroizing::new(format!("{}\n", secret.display_secret()));
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(write)?;
    Ok(public(&secret))
}

/// The x-only public key, as the chain specification has it.
pub fn public(secret: &SecretKey) -> XOnlyPublicKey {
    let pair = Keypair::from_secret_key(&Secp256k1::signing_only(), secret);
    pair.x_only_public_key().0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_survives_the_file_and_an_open_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let made = create(&file).unwrap();
        assert_eq!(public(&load(&file).unwrap()), made);
        assert!(matches!(create(&file), Err(KeyError::Write { .. })), "never overwritten");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&file), Err(KeyError::Open { mode: 0o640, .. })));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "00").unwrap();
        assert!(matches!(load(&file), Err(KeyError::Malformed(_))));
        assert!(matches!(load(&folder.path().join("none")), Err(KeyError::Read { .. })));
    }
}
