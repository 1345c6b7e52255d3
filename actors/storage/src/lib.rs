//! The storage role: the only disk of a cluster that matters. Blocks, certificates, the peg ledger's facts, the
//! consensus WAL and the documents of the other roles live in one redb database, owned by one process.
//!
//! In: `storage.proto`. Out: only answers; storage asks nobody.
//!
//! - Writes pass through one writer thread, which puts as many waiting requests into one transaction as [`core::limits`]
//!   allows: one fsync answers them all. A refused request changes nothing and does not disturb the others.
//! - Reads run in parallel on snapshots, on blocking threads, as many at once as [`Config::max_reads`].
//! - A backup is written from a snapshot while all goes on ([`StartBackup`](alys_proto::storage::StartBackup)); what nobody has
//!   open is checked, backed up and restored by [`check`], [`backup`] and [`restore`].
//! - On restart everything acknowledged is there and nothing half-written is: head, block and ledger move together.

mod actor;
mod backups;
mod config;
pub mod core;
mod io;
mod metrics;
#[cfg(test)]
mod tests;

pub use crate::core::backup::Manifest;
pub use crate::core::check::{ADVICE, Damage, Part, Report};
pub use actor::{Local, StorageActor};
pub use config::Config;
pub use io::{BackupFault, Fault, How, Meter, RestoreFault, Restored, backup, check, check_backup, restore};
pub use metrics::Metrics;
