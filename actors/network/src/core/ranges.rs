//! Ranges of blocks: served to peers, fetched from peers.

use alys_proto::common::CommittedBlock;
use alys_proto::network::peer_response::Response;
use alys_proto::storage::{Blocks, GetBlocks};
use libp2p::PeerId;

use super::effect::Effect;
use super::input::{AnswerId, Token};
use super::limits::{BAD_RANGE_PENALTY, MAX_DOWNLOADS, MAX_RANGE, MAX_SERVING, MAX_SERVING_EACH};
use super::peers::Doing;
use super::state::{State, response};

impl State {
    pub(super) fn refuse(&mut self, peer: PeerId, answer: AnswerId, why: &str) -> Vec<Effect> {
        let mut effects = vec![Effect::Answer { answer, response: response(Response::Refused(why.to_owned())) }];
        effects.extend(self.flooded(peer));
        effects
    }

    pub(super) fn blocks_asked(&mut self, peer: PeerId, request: GetBlocks, answer: AnswerId) -> Vec<Effect> {
        let now = self.now;
        let Some(known) = self.peers.get_mut(&peer).filter(|known| known.is_ready()) else {
            return self.refuse(peer, answer, "the handshake comes first");
        };
        if !known.may(Doing::Request, now) {
            return self.refuse(peer, answer, "too many requests");
        }
        let own = self.serving.values().filter(|served| **served == peer).count();
        if self.serving.len() >= MAX_SERVING || own >= MAX_SERVING_EACH {
            return vec![Effect::Answer { answer, response: response(Response::Refused("busy".into())) }];
        }
        self.serving.insert(answer, peer);
        vec![Effect::Serve { answer, request: GetBlocks { limit: request.limit.min(MAX_RANGE), ..request } }]
    }

    pub(super) fn blocks_read(&mut self, answer: AnswerId, blocks: Result<Vec<CommittedBlock>, String>) -> Vec<Effect> {
        // The place is free when the peer has read the answer, which is held until then.
        if !self.serving.contains_key(&answer) {
            return Vec::new();
        }
        let response = match blocks {
            Ok(mut blocks) => {
                blocks.iter_mut().for_each(|block| block.burns.clear());
                self.counters.ranges_served = self.counters.ranges_served.saturating_add(1);
                response(Response::Blocks(Blocks { blocks }))
            }
            Err(reason) => response(Response::Refused(reason)),
        };
        vec![Effect::Answer { answer, response }]
    }

    pub(super) fn answer_ended(&mut self, peer: PeerId, answer: AnswerId, too_slow: bool) -> Vec<Effect> {
        self.serving.remove(&answer);
        if too_slow { self.slow(peer) } else { Vec::new() }
    }

    pub(super) fn download(&mut self, number: u64, from_height: u64, count: u32) -> Vec<Effect> {
        let fail = |reason: String| vec![Effect::Downloaded { number, outcome: Err(reason) }];
        if self.downloads.keys().filter(|token| matches!(token, Token::Range(_))).count() >= MAX_DOWNLOADS {
            return fail(format!("{MAX_DOWNLOADS} downloads are under way"));
        }
        let busy = |peer: &PeerId| self.downloads.values().filter(|(other, _)| other == peer).count();
        let able = self.peers.iter().filter(|(_, peer)| peer.head.is_some_and(|head| head >= from_height));
        // Whoever has least to do; of these, whoever was asked least.
        let Some(peer) = able.min_by_key(|(id, peer)| (busy(id), peer.asked)).map(|(id, _)| *id) else {
            return fail(format!("no peer has block {from_height}"));
        };
        if let Some(chosen) = self.peers.get_mut(&peer) {
            chosen.asked = chosen.asked.saturating_add(1);
        }
        let (token, request) = (Token::Range(number), GetBlocks { from_height, limit: count.clamp(1, MAX_RANGE) });
        self.downloads.insert(token, (peer, request));
        vec![Effect::RequestBlocks { token, peer, request }]
    }

    pub(super) fn blocks_answered(&mut self, token: Token, blocks: Vec<CommittedBlock>) -> Vec<Effect> {
        let Some((peer, request)) = self.downloads.remove(&token) else { return Vec::new() };
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let consecutive = blocks.iter().zip(request.from_height..).all(|(block, height)| block.height == height);
        if blocks.is_empty() || blocks.len() > limit || !consecutive || blocks.iter().any(|block| !block.burns.is_empty()) {
            let mut effects = self.punish(peer, BAD_RANGE_PENALTY, "its range is not what was asked for");
            let reason = format!("{peer} did not send the blocks from {}", request.from_height);
            effects.extend(downloaded(token, Err(reason)));
            return effects;
        }
        match token {
            Token::Range(_) => downloaded(token, Ok((blocks, peer))),
            Token::Head(_) => self.check_head(peer, blocks),
        }
    }

    pub(super) fn download_failed(&mut self, token: Token, reason: String) -> Vec<Effect> {
        let Some((peer, _)) = self.downloads.remove(&token) else { return Vec::new() };
        downloaded(token, Err(format!("{peer}: {reason}")))
    }
}

/// Nobody waits for a peer's head: it is asked again when it is shown again.
fn downloaded(token: Token, outcome: Result<(Vec<CommittedBlock>, PeerId), String>) -> Vec<Effect> {
    match token {
        Token::Range(number) => vec![Effect::Downloaded { number, outcome }],
        Token::Head(_) => Vec::new(),
    }
}
