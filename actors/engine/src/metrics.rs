//! The engine role's own metrics.

use documented::DocumentedFields;
use serde::Serialize;

/// What the engine role shows beside the shell's metrics.
#[derive(Clone, Copy, Debug, Default, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Height of the committed head.
    pub(crate) height: u64,
    /// Time of the committed head, Unix time in seconds.
    pub(crate) head_timestamp_seconds: u64,
    /// Gas that the head used.
    pub(crate) head_gas_used: u64,
    /// Gas that the head could have used.
    pub(crate) head_gas_limit: u64,
    /// Base fee of the head, in wei per gas.
    pub(crate) head_base_fee_wei: u64,
    /// Executed blocks that are not committed.
    pub(crate) executed_blocks: usize,
    /// Executed blocks that fell out before they were committed; they are executed again when they are needed.
    pub(crate) executed_dropped_total: u64,
    /// Transactions in the pool that can be in the next block.
    pub(crate) pool_pending: usize,
    /// Transactions in the pool that wait for an earlier one.
    pub(crate) pool_queued: usize,
    /// Transactions that the pool may hold.
    pub(crate) pool_capacity: usize,
    /// Transactions of our own wallets that gossip was not told of because too many waited.
    pub(crate) transactions_untold_total: u64,
}
