//! The sync role's own metrics.

use std::time::Duration;

use documented::DocumentedFields;
use serde::Serialize;

use crate::core::{Phase, State};

/// What the sync role shows beside the shell's metrics.
#[derive(Clone, Copy, Debug, Default, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Height of our head as far as sync knows.
    local_height: u64,
    /// Height that it wants to reach; 0: nobody has asked for one.
    target_height: u64,
    /// Blocks between the two; 0 when there is nothing to do, and on workers that do not lead.
    lag_blocks: u64,
    /// Whether it is on its way to a target.
    syncing: bool,
    /// Whether it has stopped for good because somebody has another committed block at a height of ours.
    forked: bool,
    /// Whether this worker cuts the missing range into pieces and imports them.
    leads: bool,
    /// Workers of the team, this one included.
    workers: usize,
    /// Pieces that workers fetch.
    pieces_out: usize,
    /// Pieces that were fetched and wait for an earlier one.
    pieces_waiting: usize,
    /// Blocks by which our head came nearer to the target, a second, over the last half minute; absent without a target.
    blocks_per_second: Option<f64>,
    /// Failures since the last success.
    failures: u32,
    /// Blocks that this worker fetched.
    fetched_blocks_total: u64,
    /// Blocks that chain took from sync.
    imported_blocks_total: u64,
    /// Blocks that peers took from us.
    served_blocks_total: u64,
}

/// What the shell knows beside the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) leads: bool,
    pub(crate) workers: usize,
    pub(crate) target_height: u64,
    /// In thousandths.
    pub(crate) blocks_per_second: Option<u64>,
    pub(crate) failures: u32,
    pub(crate) fetched_blocks: u64,
}

impl Metrics {
    pub(crate) fn of(state: &State, work: Work) -> Self {
        let (imported_blocks_total, served_blocks_total) = state.counted();
        let (pieces_out, pieces_waiting) = state.pieces();
        Self {
            local_height: state.local(),
            target_height: work.target_height,
            lag_blocks: if state.is_syncing() { state.target().saturating_sub(state.local()) } else { 0 },
            syncing: state.is_syncing(),
            forked: state.phase() == Phase::Forked,
            leads: work.leads,
            workers: work.workers,
            pieces_out,
            pieces_waiting,
            blocks_per_second: work.blocks_per_second.map(|rate| Duration::from_millis(rate).as_secs_f64()),
            failures: work.failures,
            fetched_blocks_total: work.fetched_blocks,
            imported_blocks_total,
            served_blocks_total,
        }
    }
}
