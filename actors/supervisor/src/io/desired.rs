//! The file that keeps [`Desired`]: written whole beside the old one, synced, then moved over it.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use crate::core::desired::Desired;

/// Reads it; nothing was ordered when there is no file.
///
/// # Errors
/// It cannot be read, or is not what we wrote.
pub fn read(path: &Path) -> std::io::Result<Desired> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Desired::default()),
        Err(cause) => Err(cause),
    }
}

/// Writes it. When this returns it survives a crash of the machine.
///
/// # Errors
/// The disk is full, or the folder cannot be written.
pub fn write(path: &Path, desired: &Desired) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec_pretty(desired)?)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_proto::Role;

    use super::*;
    use crate::core::input::Input;
    use crate::supervision::{RoleName, Supervision};

    #[test]
    fn orders_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("supervisor.desired");
        assert_eq!(read(&path).unwrap(), Desired::default());
        let mut desired = Desired::default();
        desired.note(&Input::DrainAsked { name: "bridge".into() });
        assert!(desired.drained.contains("bridge"));
        desired.instances.insert(RoleName(Role::Sync), 3);
        write(&path, &desired).unwrap();
        assert_eq!(read(&path).unwrap(), desired);
        assert_eq!(desired.count(&Supervision::default(), Role::Sync), 3);
        desired.note(&Input::ResumeAsked { name: "bridge".into() });
        assert!(desired.drained.is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).is_err());
    }
}
