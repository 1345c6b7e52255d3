//! The network role's own metrics.

use documented::DocumentedFields;
use serde::Serialize;

use crate::core::State;
use crate::io::Unfinished;

/// What the network role shows beside the shell's metrics.
#[derive(Clone, Copy, Debug, Default, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Peers of this chain that are connected.
    peers: usize,
    /// Connections, also those that have not said which chain they are of.
    connected: usize,
    /// Peers that are banned now.
    banned: usize,
    /// Bootnodes that are configured.
    bootnodes: usize,
    /// Final blocks of ours that at least one peer got.
    blocks_published_total: u64,
    /// Proven blocks from peers, each once.
    blocks_received_total: u64,
    /// Height of the last proven block from a peer.
    last_received_height: u64,
    /// Consensus messages passed to chain.
    consensus_received_total: u64,
    /// Gossiped transactions that were pooled.
    transactions_received_total: u64,
    /// Gossip of ours that nobody was there for.
    unpublished_total: u64,
    /// Messages dropped without blame: known, stale, too early, or more than can be checked now.
    ignored_total: u64,
    /// Messages refused as garbage.
    rejected_total: u64,
    /// Messages, requests and streams above a peer's rate.
    flooded_total: u64,
    /// Requests that came, and answers that were read, too slowly.
    slow_total: u64,
    /// Bytes of gossip in frames that are not whole.
    unfinished_bytes: usize,
    /// Streams ended because a frame of gossip was not whole in time.
    unfinished_ended_total: u64,
    /// Ranges sent to peers.
    ranges_served_total: u64,
    /// Bans of peers, since the start.
    bans_total: u64,
}

impl Metrics {
    pub(crate) fn of(state: &State, unfinished: &Unfinished, bootnodes: usize) -> Self {
        let (peers, connected) = state.connected();
        let counters = state.counters();
        Self {
            peers,
            connected,
            banned: state.banned(),
            bootnodes,
            blocks_published_total: counters.blocks_published,
            blocks_received_total: counters.blocks_received,
            last_received_height: counters.last_received_height,
            consensus_received_total: counters.consensus_received,
            transactions_received_total: counters.transactions_received,
            unpublished_total: counters.unpublished,
            ignored_total: counters.ignored,
            rejected_total: counters.rejected,
            flooded_total: counters.flooded,
            slow_total: counters.slow,
            unfinished_bytes: unfinished.bytes(),
            unfinished_ended_total: unfinished.ended(),
            ranges_served_total: counters.ranges_served,
            bans_total: counters.bans,
        }
    }
}
