//! The identity: an ed25519 key in the data folder that only its owner can read. Whoever has it is this node to its peers.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use alys_cluster::ActorError;
use libp2p::identity::Keypair;

use crate::config::Config;

const KEY_FILE: &str = "p2p.key";

/// Who this node is to its peers; makes the identity when there is none. For addresses of the form `…/p2p/<this>`.
pub fn local_peer_id(config: &Config) -> Result<String, ActorError> {
    load_or_create(&config.data_dir).map(|keys| keys.public().to_peer_id().to_string())
}

/// The identity of a data folder.
pub(crate) fn load_or_create(folder: &Path) -> Result<Keypair, ActorError> {
    let path = folder.join(KEY_FILE);
    match fs::read(&path) {
        Ok(bytes) => load(&path, &bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => create(folder, &path),
        Err(error) => Err(wrong(&path, &format!("cannot be read: {error}"))),
    }
}

fn wrong(path: &Path, what: &str) -> ActorError {
    ActorError::Configuration(format!("network identity {}: {what}", path.display()))
}

fn load(path: &Path, bytes: &[u8]) -> Result<Keypair, ActorError> {
    let metadata = fs::metadata(path).map_err(|error| wrong(path, &error.to_string()))?;
    if !alys_cluster::private::is_private(&metadata) {
        return Err(wrong(path, "others can read it. Run `chmod 600` on it, or remove it to get a new identity"));
    }
    Keypair::from_protobuf_encoding(bytes)
        .map_err(|error| wrong(path, &format!("is damaged ({error}). Restore it, or remove it to get a new identity")))
}

fn create(folder: &Path, path: &Path) -> Result<Keypair, ActorError> {
    let keys = Keypair::generate_ed25519();
    let bytes = keys.to_protobuf_encoding().map_err(|error| ActorError::Broken(format!("encoding a new identity: {error}")))?;
    let unfinished = path.with_extension("key.new");
    let write = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error| wrong(path, &format!("cannot be written: {error}")))?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_identity_persists_and_is_private() {
        let folder = tempfile::TempDir::new().unwrap();
        let first = load_or_create(folder.path()).unwrap().public();
        assert_eq!(load_or_create(folder.path()).unwrap().public(), first);
        let path = folder.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(folder.path()), Err(ActorError::Configuration(_))));
    }

    #[test]
    fn a_damaged_identity_is_an_error_and_not_a_new_one() {
        let folder = tempfile::TempDir::new().unwrap();
        load_or_create(folder.path()).unwrap();
        fs::write(folder.path().join(KEY_FILE), b"junk").unwrap();
        let error = load_or_create(folder.path()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
