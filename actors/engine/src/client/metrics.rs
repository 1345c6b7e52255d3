//! Metrics of the engine role when an execution client does the work.

use documented::DocumentedFields;
use serde::Serialize;

/// What the role shows beside the shell's metrics.
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
    /// Transactions of our own wallets that gossip was not told of because too many waited.
    pub(crate) transactions_untold_total: u64,
    /// 1 while the execution client answers, else 0.
    pub(crate) client_answers: u8,
    /// Calls that the execution client did not answer, or not in a way that can be used.
    pub(crate) client_failures_total: u64,
}
