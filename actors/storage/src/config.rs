//! What an operator may set about storage.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Configuration of the storage role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the database; made when absent, readable by its owner only.
    pub data_dir: PathBuf,
    /// Memory for cached pages, bytes.
    pub cache_size: u64,
    /// Reads that run at once.
    pub max_reads: u32,
    /// Free bytes below which the role does not start: a commit copies pages before it frees any.
    pub min_free_space: u64,
    /// Keep what is needed to reopen at once after a crash, however large the database. Costs a second fsync per
    /// transaction; without it a reopen after a crash reads the whole file.
    pub quick_repair: bool,
    /// Verify every page's checksum at every start. Reads the whole file.
    pub check_on_open: bool,
    /// What need not be kept.
    pub prune: Prune,
}

/// What of old blocks may go. Off by default: a pruned node cannot build the engine's state anew, and serves neither peers that
/// sync nor governance nodes that replay from below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prune {
    /// Keep the newest so many blocks whole, at least [`MIN_KEEP`], and on a chain with merged mining all that work has not
    /// settled; of older ones only hashes and ledger facts. Absent: keep all.
    ///
    /// [`MIN_KEEP`]: crate::core::limits::MIN_KEEP
    pub keep: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data/storage"),
            cache_size: 32 << 20,
            max_reads: 4,
            min_free_space: 64 << 20,
            quick_repair: true,
            check_on_open: false,
            prune: Prune::default(),
        }
    }
}
