//! The chain role's own metrics.

use std::time::Duration;

use alys_cluster::metrics::{Histogram, Labelled};
use alys_peg::Violations;
use documented::DocumentedFields;
use serde::Serialize;

use crate::core::{State, Status};

/// Slots are seconds long; a block that takes longer than one was voted on in several rounds.
const LATENCY_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

/// What the chain role shows beside the shell's metrics.
#[derive(Clone, Debug, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Height of the last committed block.
    height: u64,
    /// Slot of the last committed block.
    slot: u64,
    /// Length of a slot, in seconds.
    slot_seconds: f64,
    /// When the last block was committed here, Unix time in seconds; 0 before the first since the start.
    committed_timestamp_seconds: f64,
    /// From the start of a block's slot to its commit here, in seconds.
    commit_latency_seconds: Histogram,
    /// Slots in which no block was committed, since the start.
    missed_slots_total: u64,
    /// Round that is under way, 0 is the first; absent on a full node.
    round: Option<u32>,
    /// Whether this node proposes and votes.
    producing: bool,
    /// Whether everything stopped because going on could lose money or sign two things in one place.
    halted: bool,
    /// Validators seen to sign two things in one place, since the start.
    equivocations_total: u64,
    /// Committed blocks that this validator proposed, since the start.
    proposed_blocks_total: u64,
    /// Claims that wait to be put into a block.
    pending_claims: usize,
    /// Whether the federation has paused the peg.
    peg_paused: bool,
    /// Height of the Bitcoin block that new claims are judged against; absent until bridge has told.
    bitcoin_height: Option<u32>,
    /// A height that somebody has and we do not; 0: none is known.
    sync_target: u64,
    /// Height of the last block that work has settled; absent without merged mining, like all of the following about work.
    settled_height: Option<u64>,
    /// Committed blocks that wait for work.
    blocks_since_work: Option<u64>,
    /// Compact target of the next bundle, as a number.
    work_bits: Option<u32>,
    /// Whether the next block needs a bundle: without one no block is made.
    waits_for_work: Option<bool>,
    /// Bundles of work in the chain.
    work_bundles: Option<u64>,
    /// Proofs of miners that were refused here, since the start.
    refused_proofs_total: Option<u64>,
    /// Messages of other validators that were of no use.
    refused_messages_total: u64,
    /// Found broken here: in a block built here, or in one that two thirds committed.
    invariant_violations_total: Labelled,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            height: 0,
            slot: 0,
            slot_seconds: 0.0,
            committed_timestamp_seconds: 0.0,
            commit_latency_seconds: latencies(),
            missed_slots_total: 0,
            round: None,
            producing: false,
            halted: false,
            equivocations_total: 0,
            proposed_blocks_total: 0,
            pending_claims: 0,
            peg_paused: false,
            bitcoin_height: None,
            sync_target: 0,
            settled_height: None,
            blocks_since_work: None,
            work_bits: None,
            waits_for_work: None,
            work_bundles: None,
            refused_proofs_total: None,
            refused_messages_total: 0,
            invariant_violations_total: Labelled::new("invariant", Violations::default().by_name()),
        }
    }
}

impl Metrics {
    pub(crate) fn of(state: &State, status: &Status, refused_messages: u64) -> Self {
        Self {
            height: status.height,
            slot: status.slot,
            slot_seconds: Duration::from_millis(state.slot_millis()).as_secs_f64(),
            committed_timestamp_seconds: Duration::from_millis(status.committed_unix_millis).as_secs_f64(),
            commit_latency_seconds: state.latencies().clone(),
            missed_slots_total: status.missed_slots,
            round: status.round,
            producing: status.producing,
            halted: status.halted.is_some(),
            equivocations_total: status.equivocations,
            proposed_blocks_total: status.proposed,
            pending_claims: status.pending_claims,
            peg_paused: status.peg_paused.is_some(),
            bitcoin_height: status.bitcoin.map(|view| view.height),
            sync_target: status.sync_target,
            settled_height: status.work.map(|work| work.settled_height),
            blocks_since_work: status.work.map(|work| work.unsettled),
            work_bits: status.work.map(|work| work.bits),
            waits_for_work: status.work.map(|work| work.wanted),
            work_bundles: status.work.map(|work| work.bundles),
            refused_proofs_total: status.work.map(|work| work.refused_proofs),
            refused_messages_total: refused_messages,
            invariant_violations_total: Labelled::new("invariant", state.violations().by_name()),
        }
    }
}

/// An empty distribution of latencies.
pub(crate) fn latencies() -> Histogram {
    Histogram::new(LATENCY_SECONDS)
}
