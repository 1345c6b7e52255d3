//! What can be wrong with the disk or the file, told apart by what somebody has to do about it.

use std::io;
use std::path::Path;

use alys_cluster::ActorError;

use crate::core::form::Hash;

/// A fault of the disk or the database. None of them leaves a half-written transaction behind.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The disk or the quota is full.
    #[error("no space is left on the disk")]
    NoSpace(#[source] Option<io::Error>),
    /// The file or folder may not be read or written.
    #[error("permission denied")]
    Permission(#[source] io::Error),
    /// Another process has it open.
    #[error("another process has the database open")]
    Locked,
    /// Written by a later build.
    #[error("the database has schema {found}, this build knows up to {known}")]
    NewerSchema {
        /// In the file.
        found: u64,
        /// Of this build.
        known: u64,
    },
    /// Written by an earlier build, and nobody may lead it up here.
    #[error("the database has schema {found}, this build works with {known}")]
    OlderSchema {
        /// In the file.
        found: u64,
        /// Of this build.
        known: u64,
    },
    /// Of another chain.
    #[error(
        "the database belongs to chain {found_id} with genesis {found}, the specification says chain {wanted_id} with genesis {wanted}"
    )]
    OtherChain {
        /// Chain id in the file.
        found_id: u64,
        /// Genesis in the file.
        found: Hash,
        /// Chain id of the specification.
        wanted_id: u64,
        /// Genesis of the specification.
        wanted: Hash,
    },
    /// The content is not what was written.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Anything else the operating system refuses.
    #[error("the disk failed")]
    Io(#[source] io::Error),
}

impl Fault {
    /// What the role ends with, and what to do. `path` is the database file.
    pub fn to_actor_error(&self, path: &Path) -> ActorError {
        let path = path.display();
        let cause = self.chain();
        match self {
            Self::NoSpace(_) => ActorError::Temporary(format!(
                "{path}: {cause}. Nothing acknowledged is lost; free space or enlarge the disk, the role then starts again by itself"
            )),
            Self::Permission(_) => ActorError::Configuration(format!(
                "{path}: {cause}. Give the user that runs alys read and write access to the file and its folder"
            )),
            Self::Locked => ActorError::Temporary(format!(
                "{path}: {cause}. Stop the other alys that uses this data_dir, or set another data_dir"
            )),
            Self::NewerSchema { .. } => ActorError::Configuration(format!(
                "{path}: {cause}. Run the alys version that wrote it, or restore a backup of this version"
            )),
            Self::OlderSchema { .. } => ActorError::Configuration(format!(
                "{path}: {cause}. Start the storage role on it once, which leads it up and keeps a copy"
            )),
            Self::OtherChain { .. } => ActorError::Configuration(format!(
                "{path}: {cause}. Set the data_dir of this chain, or the specification of that one"
            )),
            Self::Damaged(_) => ActorError::Broken(format!(
                "{path}: {cause}. Keep the file, restore a backup; a full node may also remove it and sync again, a validator must not: its votes are in it"
            )),
            Self::Io(_) => {
                ActorError::Broken(format!("{path}: {cause}. Check the disk and the kernel log before starting again"))
            }
        }
    }

    /// What the role ends with when it finds the fault at its start: a damaged file is as damaged at the next one.
    pub fn at_start(&self, path: &Path) -> ActorError {
        match (self, self.to_actor_error(path)) {
            (Self::Damaged(_), ActorError::Broken(advice)) => ActorError::Configuration(advice),
            (_, error) => error,
        }
    }

    /// The message with its cause.
    pub(crate) fn chain(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    /// Tells apart what the operating system says.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(Some(error)),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission(error),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(cause) => Self::from_io(cause),
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Locked,
            // What is left says that the bytes are not a database of our shape, or that an earlier error was not the last.
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<redb::StorageError> for Fault {
    fn from(error: redb::StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::TableError> for Fault {
    fn from(error: redb::TableError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::TransactionError> for Fault {
    fn from(error: redb::TransactionError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::CommitError> for Fault {
    fn from(error: redb::CommitError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::DatabaseError> for Fault {
    fn from(error: redb::DatabaseError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<prost::DecodeError> for Fault {
    fn from(error: prost::DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}
