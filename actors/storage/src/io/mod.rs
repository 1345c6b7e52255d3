//! The only door to the disk: one redb database.

mod backup;
mod check;
mod copy;
mod fault;
mod leases;
pub(crate) mod letters;
pub(crate) mod migrate;
mod open;
pub(crate) mod outbox;
mod prune;
mod read;
mod restore;
mod tables;
mod write;
mod writer;

pub use backup::{BackupFault, Meter, of_closed as backup};
pub use check::{check, check_backup};
pub use fault::Fault;
pub(crate) use open::{DATABASE_FILE, Store};
pub(crate) use read::ReadRefusal;
pub use restore::{How, RestoreFault, Restored, restore};
pub(crate) use writer::{Job, Progress, Writer};
