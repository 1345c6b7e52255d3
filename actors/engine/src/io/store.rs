//! Opening the database, and what can be wrong with it.
//!
//! | what is found | answer |
//! |---|---|
//! | no file | a new database with genesis, which is there whole or not at all |
//! | not a database, damaged, cut off | `Damaged`: restore it or remove it and replay |
//! | genesis of another specification | `OtherChain` |
//! | another layout | `OtherSchema` |
//! | in use | `InUse` |
//! | no space, no permission | `Disk`; [`StoreError::is_full`] tells them apart |

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use alloy_primitives::B256;
use alys_cluster::guard::guard;
use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableError};

use super::snapshot::Snapshot;
use super::{commit, tables};
use crate::core::block::ExecutedBlock;
use crate::core::state::StateError;

/// How the database is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Memory for cached pages.
    pub cache_bytes: usize,
    /// Keep what is needed to reopen at once after a crash, for a second fsync per commit.
    pub quick_repair: bool,
}

/// Name of the file in the engine's folder.
const FILE: &str = "engine.redb";
/// Its name until it is whole.
const UNFINISHED: &str = "engine.redb.new";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Contents make no sense.
    #[error(
        "the engine's database {0} is damaged ({1}): restore it from a backup, or move it away and the engine builds it again from the stored blocks"
    )]
    Damaged(PathBuf, String),
    /// Another genesis.
    #[error(
        "the engine's database {path} belongs to another chain (genesis {found}, this chain has {expected}): set another data folder, or move it away"
    )]
    OtherChain {
        /// The file.
        path: PathBuf,
        /// Genesis hash in it.
        found: B256,
        /// Genesis hash of the specification.
        expected: B256,
    },
    /// Another layout.
    #[error(
        "the engine's database {path} has layout {found}, this version reads {expected}: use the matching version, or move it away and the engine builds it again from the stored blocks"
    )]
    OtherSchema {
        /// The file.
        path: PathBuf,
        /// Layout in it.
        found: u64,
        /// Layout of this build.
        expected: u64,
    },
    /// Another process has it.
    #[error(
        "the engine's database {0} is in use: another engine is running with the same data folder; stop it or set another folder"
    )]
    InUse(PathBuf),
    /// The file system says no.
    #[error("the engine's database {0} cannot be used: {1}; check space and permissions of the disk")]
    Disk(PathBuf, #[source] std::io::Error),
    /// A write failed; nothing of it is there.
    #[error("writing the engine's database failed: {0}; check space and health of the disk")]
    Write(#[source] redb::Error),
    /// A read failed.
    #[error(
        "the engine's database cannot be read ({0}): restore it from a backup, or move it away and the engine builds it again from the stored blocks"
    )]
    State(#[from] StateError),
}

impl StoreError {
    /// Wraps a failed write.
    pub(super) fn write(cause: impl Into<redb::Error>) -> Self {
        Self::Write(cause.into())
    }

    /// Whether the disk is full: it works again once somebody makes room.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Write(redb::Error::Io(cause)) | Self::Disk(_, cause) => {
                matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// Whether starting again with the same configuration cannot help.
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Damaged(..) | Self::OtherChain { .. } | Self::OtherSchema { .. } | Self::InUse(_) | Self::Disk(..))
    }
}

/// The open database and its latest snapshot.
#[derive(Debug)]
pub struct Store {
    database: Database,
    options: Options,
    latest: Arc<RwLock<Arc<Snapshot>>>,
}

impl Store {
    /// Opens the database in a folder; makes it, with `genesis`, when it is not there.
    ///
    /// # Errors
    /// See the module's table.
    pub fn open(folder: &Path, options: Options, genesis: &ExecutedBlock) -> Result<Self, StoreError> {
        // The library panics on some altered files.
        guard(|| Self::open_or_create(folder, options, genesis))
            .unwrap_or_else(|panic| Err(StoreError::Damaged(folder.join(FILE), panic)))
    }

    fn open_or_create(folder: &Path, options: Options, genesis: &ExecutedBlock) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        std::fs::create_dir_all(folder).map_err(|cause| StoreError::Disk(path.clone(), cause))?;
        if !path.try_exists().map_err(|cause| StoreError::Disk(path.clone(), cause))? {
            create(folder, &path, genesis)?;
        }
        let opened = redb::Builder::new().set_cache_size(options.cache_bytes).create(&path);
        let database = opened.map_err(|cause| open_error(&path, cause))?;
        match stored_identity(&database).map_err(|cause| StoreError::Damaged(path.clone(), cause.to_string()))? {
            None => initialise(&database, genesis)?,
            Some((found, _)) if found != tables::SCHEMA => {
                return Err(StoreError::OtherSchema { path, found, expected: tables::SCHEMA });
            }
            Some((_, found)) if found != genesis.hash => {
                return Err(StoreError::OtherChain { path, found, expected: genesis.hash });
            }
            Some(_) => {}
        }
        let snapshot = Snapshot::open(&database, None).map_err(|cause| StoreError::Damaged(path, cause.to_string()))?;
        Ok(Self { database, options, latest: Arc::new(RwLock::new(Arc::new(snapshot))) })
    }

    /// The state after the last commit.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        read(&self.latest)
    }

    /// Where readers find the latest snapshot.
    pub fn latest(&self) -> Arc<RwLock<Arc<Snapshot>>> {
        Arc::clone(&self.latest)
    }

    /// Writes a block that builds on the head, and makes it head for readers too.
    ///
    /// # Errors
    /// The store cannot be written; the head is as before.
    pub fn commit(&self, block: &ExecutedBlock) -> Result<(), StoreError> {
        commit::commit(&self.database, self.options.quick_repair, block)?;
        let snapshot = Arc::new(Snapshot::open(&self.database, Some(block.view()))?);
        *self.latest.write().unwrap_or_else(std::sync::PoisonError::into_inner) = snapshot;
        Ok(())
    }
}

/// The latest snapshot. A lock that a panicking thread left behind still holds a whole snapshot.
pub(super) fn read(latest: &RwLock<Arc<Snapshot>>) -> Arc<Snapshot> {
    Arc::clone(&latest.read().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Beside its place and moved there when it is whole: a file without a database in it is never a crash of ours.
fn create(folder: &Path, path: &Path, genesis: &ExecutedBlock) -> Result<(), StoreError> {
    let disk = |cause| StoreError::Disk(path.to_owned(), cause);
    let unfinished = folder.join(UNFINISHED);
    match std::fs::remove_file(&unfinished) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(disk(cause)),
        _ => {}
    }
    let database = Database::create(&unfinished).map_err(|cause| open_error(&unfinished, cause))?;
    initialise(&database, genesis)?;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(disk)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk)
}

fn open_error(path: &Path, cause: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match cause {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path),
        DatabaseError::Storage(StorageError::Io(cause)) if !is_damage(&cause) => StoreError::Disk(path, cause),
        other => StoreError::Damaged(path, other.to_string()),
    }
}

/// What the library makes of bytes that make no sense, or are not there.
fn is_damage(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

/// Schema and genesis of a database, `None` when it is new.
fn stored_identity(database: &Database) -> Result<Option<(u64, B256)>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(tables::META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(cause) => return Err(cause.into()),
    };
    let cut = || redb::Error::Corrupted("the meta table is incomplete".into());
    let schema = meta.get("schema")?.ok_or_else(cut)?;
    let genesis = meta.get("genesis")?.ok_or_else(cut)?;
    let schema = schema.value().try_into().map(u64::from_be_bytes).map_err(|_| cut())?;
    Ok(Some((schema, B256::try_from(genesis.value()).map_err(|_| cut())?)))
}

fn initialise(database: &Database, genesis: &ExecutedBlock) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(StoreError::write)?;
    {
        let mut meta = transaction.open_table(tables::META).map_err(StoreError::write)?;
        meta.insert("schema", tables::SCHEMA.to_be_bytes().as_slice()).map_err(StoreError::write)?;
        meta.insert("genesis", genesis.hash.as_slice()).map_err(StoreError::write)?;
    }
    commit::write(&transaction, genesis)?;
    transaction.commit().map_err(StoreError::write)
}
