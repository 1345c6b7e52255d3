//! The storage role's own metrics. Writes go on behind the handlers, so they are read when they are asked for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use alys_cluster::RoleMetrics;
use alys_cluster::metrics::{Figure, Histogram};
use documented::DocumentedFields;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::core::limits::MAX_QUEUED_READS;
use crate::io::Progress;

/// From a page in memory to a disk that stalls.
const COMMIT_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What the storage role shows beside the shell's metrics.
#[derive(Clone, Debug, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Height of the last committed block.
    head_height: u64,
    /// Blocks below are pruned; 0: nothing is.
    pruned_below: u64,
    /// Requests written.
    writes_total: u64,
    /// Transactions they took: fewer than requests when many wait.
    transactions_total: u64,
    /// Requests refused with a reason.
    refused_total: u64,
    /// Other blocks offered for a committed height. Never zero again without a person.
    conflicts_total: u64,
    /// Time of a transaction until it is on disk, in seconds.
    commit_seconds: Histogram,
    /// Reads that wait or run.
    reads_waiting: usize,
    /// Size of the database file.
    database_bytes: u64,
    /// Free space on its disk.
    disk_free_bytes: u64,
    /// Size of its disk.
    disk_size_bytes: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            head_height: 0,
            pruned_below: 0,
            writes_total: 0,
            transactions_total: 0,
            refused_total: 0,
            conflicts_total: 0,
            commit_seconds: commits(),
            reads_waiting: 0,
            database_bytes: 0,
            disk_free_bytes: 0,
            disk_size_bytes: 0,
        }
    }
}

/// Where the figures come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) progress: Arc<Progress>,
    pub(crate) waiting_reads: Arc<Semaphore>,
    pub(crate) database: PathBuf,
}

impl RoleMetrics for Source {
    fn figures(&self) -> Vec<Figure> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let progress = &self.progress;
        let (disk_free_bytes, disk_size_bytes) = rustix::fs::statvfs(&self.database)
            .map_or((0, 0), |disk| (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)));
        let metrics = Metrics {
            head_height: read(&progress.head),
            pruned_below: read(&progress.pruned_below),
            writes_total: read(&progress.writes),
            transactions_total: read(&progress.transactions),
            refused_total: read(&progress.refused),
            conflicts_total: read(&progress.conflicts),
            commit_seconds: progress.commits.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            reads_waiting: MAX_QUEUED_READS.saturating_sub(self.waiting_reads.available_permits()),
            database_bytes: std::fs::metadata(&self.database).map_or(0, |file| file.len()),
            disk_free_bytes,
            disk_size_bytes,
        };
        metrics.figures()
    }
}

/// An empty distribution of transaction times.
pub(crate) fn commits() -> Histogram {
    Histogram::new(COMMIT_SECONDS)
}
