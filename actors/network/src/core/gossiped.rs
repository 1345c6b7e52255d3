//! Gossip of others: what is forwarded, told, dropped, blamed.
//!
//! | message | verdict |
//! |---|---|
//! | of a peer without handshake, above its rate, known, stale, more than we can check | ignore |
//! | not decodable, too long, not proven | reject, and the sender is punished |
//! | a proven block that is new | accept, tell chain |
//! | consensus, not signed by a validator | reject, and the sender is punished |
//! | consensus, of a height that is over or far | ignore |
//! | consensus, signed by a validator | accept, tell chain |
//! | transaction | accept when the engine has pooled it, else ignore |

use alys_blocks::{Spoken, SpokenFault};
use alys_proto::common::CommittedBlock;
use libp2p::PeerId;

use super::effect::{Effect, Verdict};
use super::gossip;
use super::input::{GossipId, Pooling, Topic, Way};
use super::limits::{FAR_HEIGHTS, MAX_CONSENSUS_MESSAGE_BYTES, MAX_HEARING, MAX_OFFERED, MAX_VALIDATING, STALE_BLOCKS};
use super::peers::Doing;
use super::state::State;

impl State {
    pub(super) fn gossip(&mut self, peer: PeerId, id: GossipId, topic: Topic, data: Vec<u8>) -> Vec<Effect> {
        let now = self.now;
        let Some(known) = self.peers.get_mut(&peer).filter(|known| known.is_ready()) else {
            return self.ignore(peer, id);
        };
        if !known.may(Doing::Gossip(topic), now) {
            let mut effects = self.ignore(peer, id);
            effects.extend(self.flooded(peer));
            return effects;
        }
        match topic {
            Topic::Blocks => self.gossiped_block(peer, id, &data),
            Topic::Consensus => self.gossiped_consensus(peer, id, data),
            Topic::Transactions => self.gossiped_transaction(peer, id, data),
        }
    }

    pub(super) fn gossiped_block(&mut self, peer: PeerId, id: GossipId, data: &[u8]) -> Vec<Effect> {
        let Ok(block) = gossip::decode_block(data) else { return self.reject(peer, id) };
        let stale = block.height.saturating_add(STALE_BLOCKS) < self.us.head();
        if stale || self.seen.contains(&block.hash) || self.checking >= MAX_VALIDATING {
            return self.ignore(peer, id);
        }
        self.checking = self.checking.saturating_add(1);
        vec![Effect::CheckBlock { peer, way: Way::Gossip(id), block }]
    }

    pub(super) fn block_checked(
        &mut self,
        peer: PeerId,
        way: Way,
        outcome: Result<CommittedBlock, gossip::GossipFault>,
    ) -> Vec<Effect> {
        self.checking = self.checking.saturating_sub(1);
        let Way::Gossip(id) = way else { return self.head_shown(peer, outcome) };
        let Ok(block) = outcome else { return self.reject(peer, id) };
        if let Some(head) = self.peers.get_mut(&peer).and_then(|known| known.head.as_mut()) {
            *head = block.height.max(*head);
        }
        if !self.seen.insert(block.hash.clone()) {
            // Two certificates for one block were on their way at once; one of them is enough.
            return self.ignore(peer, id);
        }
        self.counters.blocks_received = self.counters.blocks_received.saturating_add(1);
        self.counters.last_received_height = block.height;
        vec![Effect::Judge { peer, id, verdict: Verdict::Accept }, Effect::BlockReceived { block, peer }]
    }

    pub(super) fn gossiped_consensus(&mut self, peer: PeerId, id: GossipId, message: Vec<u8>) -> Vec<Effect> {
        if message.is_empty() || message.len() > MAX_CONSENSUS_MESSAGE_BYTES {
            return self.reject(peer, id);
        }
        let Ok(spoken) = Spoken::decode(&message) else { return self.reject(peer, id) };
        let head = self.us.head();
        let is_over = spoken.height <= head && head > 0;
        if is_over || spoken.height > head.saturating_add(FAR_HEIGHTS) || self.hearing >= MAX_HEARING {
            return self.ignore(peer, id);
        }
        self.hearing = self.hearing.saturating_add(1);
        vec![Effect::CheckSpoken { peer, id, spoken }]
    }

    pub(super) fn spoken_checked(&mut self, peer: PeerId, id: GossipId, outcome: Result<Vec<u8>, SpokenFault>) -> Vec<Effect> {
        self.hearing = self.hearing.saturating_sub(1);
        let Ok(message) = outcome else { return self.reject(peer, id) };
        self.counters.consensus_received = self.counters.consensus_received.saturating_add(1);
        vec![Effect::Judge { peer, id, verdict: Verdict::Accept }, Effect::ConsensusReceived { message, peer }]
    }

    pub(super) fn gossiped_transaction(&mut self, peer: PeerId, id: GossipId, transaction: Vec<u8>) -> Vec<Effect> {
        if !gossip::may_be_transaction(&transaction) {
            return self.reject(peer, id);
        }
        if self.offered >= MAX_OFFERED {
            return self.ignore(peer, id);
        }
        self.offered = self.offered.saturating_add(1);
        vec![Effect::OfferTransaction { peer, id, transaction }]
    }

    pub(super) fn transaction_offered(&mut self, peer: PeerId, id: GossipId, outcome: Pooling) -> Vec<Effect> {
        self.offered = self.offered.saturating_sub(1);
        if outcome != Pooling::Pooled {
            return self.ignore(peer, id);
        }
        self.counters.transactions_received = self.counters.transactions_received.saturating_add(1);
        vec![Effect::Judge { peer, id, verdict: Verdict::Accept }]
    }

    pub(super) fn ignore(&mut self, peer: PeerId, id: GossipId) -> Vec<Effect> {
        self.counters.ignored = self.counters.ignored.saturating_add(1);
        vec![Effect::Judge { peer, id, verdict: Verdict::Ignore }]
    }

    pub(super) fn reject(&mut self, peer: PeerId, id: GossipId) -> Vec<Effect> {
        let mut effects = vec![Effect::Judge { peer, id, verdict: Verdict::Reject }];
        effects.extend(self.malformed(peer));
        effects
    }
}
