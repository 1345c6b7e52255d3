//! The sync role's own metrics.

use documented::DocumentedFields;
use serde::Serialize;

use crate::core::state::{Phase, State};

/// What the sync role shows beside the shell's metrics.
#[derive(Clone, Copy, Debug, Default, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Height of our head as far as sync knows.
    local_height: u64,
    /// Height that it wants to reach; 0: nobody has asked for one.
    target_height: u64,
    /// Blocks between the two; 0 when there is nothing to do.
    lag_blocks: u64,
    /// Whether it is on its way to a target.
    syncing: bool,
    /// Whether it has stopped for good because somebody has another committed block at a height of ours.
    forked: bool,
    /// Failures since the last success.
    failures: u32,
    /// Blocks that chain took from sync.
    imported_blocks_total: u64,
    /// Blocks that peers took from us.
    served_blocks_total: u64,
}

impl Metrics {
    pub(crate) fn of(state: &State) -> Self {
        let (imported_blocks_total, served_blocks_total) = state.counted();
        Self {
            local_height: state.local(),
            target_height: state.target(),
            lag_blocks: if state.is_syncing() { state.target().saturating_sub(state.local()) } else { 0 },
            syncing: state.is_syncing(),
            forked: state.phase() == Phase::Forked,
            failures: state.failures().0,
            imported_blocks_total,
            served_blocks_total,
        }
    }
}
