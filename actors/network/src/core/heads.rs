//! Heads of peers. A handshake only claims one, so whoever claims more than we have is asked for that block. Its certificate
//! proves it, and then it goes the way of gossip: chain commits it, or learns how far it is behind. So a node that missed the
//! last block catches up although nobody makes another.

use alys_proto::common::CommittedBlock;
use alys_proto::storage::GetBlocks;
use libp2p::PeerId;

use super::effect::Effect;
use super::gossip::GossipFault;
use super::input::{Token, Way};
use super::limits::{BAD_RANGE_PENALTY, MAX_HEADS, MAX_VALIDATING};
use super::ranges::UnderWay;
use super::state::State;

impl State {
    /// A peer of our chain claims this head.
    pub(super) fn ask_for_head(&mut self, peer: PeerId, height: u64) -> Vec<Effect> {
        let token = Token::Head(peer);
        let under_way = self.downloads.keys().filter(|token| matches!(token, Token::Head(_))).count();
        if height <= self.us.head() || self.downloads.contains_key(&token) || under_way >= MAX_HEADS {
            return Vec::new();
        }
        let request = GetBlocks { from_height: height, limit: 1 };
        self.downloads.insert(token, UnderWay { peer, request, since: self.now });
        vec![Effect::RequestBlocks { token, peer, request }]
    }

    /// It has come.
    pub(super) fn check_head(&mut self, peer: PeerId, blocks: Vec<CommittedBlock>) -> Vec<Effect> {
        if self.checking >= MAX_VALIDATING {
            return Vec::new();
        }
        let check = |block| {
            self.checking = self.checking.saturating_add(1);
            Effect::CheckBlock { peer, way: Way::Head, block }
        };
        blocks.into_iter().take(1).map(check).collect()
    }

    /// It proves itself, or not. Told also when gossip has brought it before: chain may have been away then.
    pub(super) fn head_shown(&mut self, peer: PeerId, outcome: Result<CommittedBlock, GossipFault>) -> Vec<Effect> {
        match outcome {
            Ok(block) if block.height > self.us.head() => vec![Effect::BlockReceived { block, peer }],
            Ok(_meanwhile_ours) => Vec::new(),
            Err(fault) => self.punish(peer, BAD_RANGE_PENALTY, &format!("its head is not proven: {fault}")),
        }
    }
}
