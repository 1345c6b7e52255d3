//! A backup: a folder with a database of its own and a manifest, written from one snapshot while the role goes on.
//!
//! It is made under another name and renamed when it is on disk to its last byte: a folder with the name that was asked for
//! is a whole backup.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use alys_blocks::ChainSpec;
use alys_cluster::guard::guard;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _};
use sha2::{Digest as _, Sha256};

use super::copy::copy_tables;
use super::fault::Fault;
use super::migrate::beside;
use super::open::{DATABASE_FILE, Store, check_meta, check_space, number, optional_number, sync_folder};
use super::tables::{BLOCKS, META, META_CHAIN_ID, META_FLOOR, META_GENESIS, META_SCHEMA, SCHEMA};
use crate::config::Config;
use crate::core::backup::{FORMAT, MANIFEST_FILE, Manifest};
use crate::core::commit::ChainId;

pub use super::copy::Meter;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// A backup never replaces anything.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// It has to be somewhere.
    #[error("{0} is no absolute path in a folder that is there")]
    NoFolder(PathBuf),
    /// Storage stops.
    #[error("it was stopped")]
    Cancelled,
    /// Of the disk that is read or written.
    #[error(transparent)]
    Disk(#[from] Fault),
}

impl BackupFault {
    /// With its cause.
    pub fn text(&self) -> String {
        match self {
            Self::Disk(fault) => fault.chain(),
            other => other.to_string(),
        }
    }
}

/// Whether a backup can begin there: nothing is there, and the disk has room for another file of `bytes` and keeps
/// `min_free_space`. The disk may be the database's own.
fn check_place(folder: &Path, bytes: u64, min_free_space: u64) -> Result<(), BackupFault> {
    let parent = folder.parent().filter(|parent| folder.is_absolute() && parent.is_dir());
    let Some(parent) = parent else { return Err(BackupFault::NoFolder(folder.to_owned())) };
    // A link that leads nowhere is something too.
    if fs::symlink_metadata(folder).is_ok() {
        return Err(BackupFault::Exists(folder.to_owned()));
    }
    Ok(check_space(parent, bytes.saturating_add(min_free_space))?)
}

/// Backs up the database of `config`, which nobody has open, to a new folder.
pub fn of_closed(config: &Config, spec: &ChainSpec, folder: &Path, meter: &Meter) -> Result<Manifest, BackupFault> {
    let path = config.data_dir.join(DATABASE_FILE);
    let bytes = fs::metadata(&path).map_err(Fault::from_io)?.len();
    check_place(folder, bytes, config.min_free_space)?;
    // The library panics on some altered files.
    let written = guard(|| {
        let db = Database::open(&path).map_err(Fault::from)?;
        let found = check_meta(&db, ChainId::of(spec))?;
        if found < SCHEMA {
            return Err(BackupFault::Disk(Fault::OlderSchema { found, known: SCHEMA }));
        }
        let snapshot = db.begin_read().map_err(Fault::from)?;
        write(&snapshot, folder, meter)
    });
    written.unwrap_or_else(|panic| Err(Fault::Damaged(panic).into()))
}

impl Store {
    /// Backs up what is committed now to a new folder.
    pub(crate) fn backup(&self, folder: &Path, meter: &Meter) -> Result<Manifest, BackupFault> {
        let snapshot = self.db.begin_read().map_err(Fault::from)?;
        guard(|| write(&snapshot, folder, meter)).unwrap_or_else(|panic| Err(Fault::Damaged(panic).into()))
    }

    /// Whether a backup can begin there.
    pub(crate) fn check_backup_place(&self, folder: &Path) -> Result<(), BackupFault> {
        let bytes = fs::metadata(&self.path).map_err(Fault::from_io)?.len();
        check_place(folder, bytes, self.min_free_space)
    }
}

/// Writes a snapshot to a new folder.
fn write(snapshot: &ReadTransaction, folder: &Path, meter: &Meter) -> Result<Manifest, BackupFault> {
    let unfinished = beside(folder, "unfinished");
    remove_folder(&unfinished)?;
    let written = write_unfinished(snapshot, &unfinished, meter).and_then(|manifest| {
        // Renaming to an empty folder would succeed.
        if fs::symlink_metadata(folder).is_ok() {
            return Err(BackupFault::Exists(folder.to_owned()));
        }
        fs::rename(&unfinished, folder).map_err(Fault::from_io)?;
        sync_folder(folder.parent().unwrap_or(Path::new(".")))?;
        Ok(manifest)
    });
    if written.is_err() {
        // What cannot be removed is removed by the next one of this name.
        let _left = remove_folder(&unfinished);
    }
    written
}

fn remove_folder(folder: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Fault::from_io(error)),
        _ => Ok(()),
    }
}

fn write_unfinished(snapshot: &ReadTransaction, folder: &Path, meter: &Meter) -> Result<Manifest, BackupFault> {
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(Fault::from_io)?;
    let file = folder.join(DATABASE_FILE);
    let db = Database::create(&file).map_err(Fault::from)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(Fault::from_io)?;
    copy_tables(snapshot, &db, meter)?;
    db.close().map_err(Fault::from)?;
    if meter.is_cancelled() {
        return Err(BackupFault::Cancelled);
    }
    let (bytes, sha256) = digest(&file)?;
    let manifest = describe(snapshot, bytes, sha256)?;
    let text = serde_json::to_string_pretty(&manifest).map_err(|cause| Fault::Io(cause.into()))?;
    let mut file = fs::File::create_new(folder.join(MANIFEST_FILE)).map_err(Fault::from_io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Fault::from_io)?;
    sync_folder(folder)?;
    Ok(manifest)
}

fn describe(snapshot: &ReadTransaction, bytes: u64, sha256: String) -> Result<Manifest, Fault> {
    let meta = snapshot.open_table(META)?;
    let genesis = meta.get(META_GENESIS)?.map(|row| hex::encode(row.value())).unwrap_or_default();
    let head = snapshot.open_table(BLOCKS)?.last()?.map(|(height, row)| (height.value(), hex::encode(row.value().0)));
    let (head_height, head_hash) = head.unwrap_or_default();
    Ok(Manifest {
        format: FORMAT,
        schema: number(&meta, META_SCHEMA)?,
        chain_id: number(&meta, META_CHAIN_ID)?,
        genesis,
        head_height,
        head_hash,
        pruned_below: optional_number(&meta, META_FLOOR)?.unwrap_or(0),
        created_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        bytes,
        sha256,
    })
}

/// Size and SHA-256 of a file, which is on disk afterwards.
fn digest(path: &Path) -> Result<(u64, String), Fault> {
    let mut file = fs::File::open(path).map_err(Fault::from_io)?;
    file.sync_all().map_err(Fault::from_io)?;
    pour(&mut file, &mut std::io::sink())
}

/// Reads to the end and writes what was read: how much it was and its SHA-256.
pub(super) fn pour(from: &mut fs::File, to: &mut impl std::io::Write) -> Result<(u64, String), Fault> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    let mut bytes = 0u64;
    loop {
        let read = from.read(&mut buffer).map_err(Fault::from_io)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        hasher.update(part);
        to.write_all(part).map_err(Fault::from_io)?;
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    Ok((bytes, hex::encode(hasher.finalize())))
}
