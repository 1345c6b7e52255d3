//! Ranges of blocks: served to peers, fetched from peers. Which peer is asked: [`super::speed`].

use std::collections::BTreeMap;

use alys_proto::Message as _;
use alys_proto::common::CommittedBlock;
use alys_proto::network::peer_response::Response;
use alys_proto::storage::{Blocks, GetBlocks};
use libp2p::PeerId;

use super::effect::Effect;
use super::input::{AnswerId, Millis, Token};
use super::limits::{BAD_RANGE_PENALTY, MAX_DOWNLOADS, MAX_RANGE, MAX_SERVING, MAX_SERVING_EACH};
use super::peers::Doing;
use super::state::{State, response};

/// A range that one peer was asked for.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) peer: PeerId,
    pub(super) request: GetBlocks,
    pub(super) since: Millis,
}

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

    pub(super) fn download(&mut self, number: u64, from_height: u64, count: u32, at: Millis) -> Vec<Effect> {
        let fail = |reason: String| vec![Effect::Downloaded { number, outcome: Err(reason) }];
        if self.downloads.keys().filter(|token| matches!(token, Token::Range(_))).count() >= MAX_DOWNLOADS {
            return fail(format!("{MAX_DOWNLOADS} downloads are under way"));
        }
        let request = GetBlocks { from_height, limit: count.clamp(1, MAX_RANGE) };
        let Some(peer) = self.soonest(&request, at) else {
            return fail(format!("no peer has block {from_height}"));
        };
        if let Some(chosen) = self.peers.get_mut(&peer) {
            chosen.asked = chosen.asked.saturating_add(1);
            chosen.speed.asked(at);
        }
        let token = Token::Range(number);
        self.downloads.insert(token, UnderWay { peer, request, since: at });
        vec![Effect::RequestBlocks { token, peer, request }]
    }

    /// Of the peers that have the range, the one that is expected to be done with it first.
    fn soonest(&self, request: &GetBlocks, at: Millis) -> Option<PeerId> {
        let mut under_way: BTreeMap<PeerId, u64> = BTreeMap::new();
        for download in self.downloads.values() {
            let blocks = under_way.entry(download.peer).or_default();
            *blocks = blocks.saturating_add(download.request.limit.into());
        }
        let able = self.peers.iter().filter(|(_, peer)| peer.head.is_some_and(|head| head >= request.from_height));
        let chosen = able.min_by_key(|(id, peer)| {
            let busy = under_way.get(id).copied().unwrap_or(0);
            (peer.speed.finish(at, busy, request.limit.into()), busy, peer.asked)
        });
        chosen.map(|(id, _)| *id)
    }

    pub(super) fn blocks_answered(&mut self, token: Token, blocks: Vec<CommittedBlock>, at: Millis) -> Vec<Effect> {
        let Some(UnderWay { peer, request, since }) = self.downloads.remove(&token) else { return Vec::new() };
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let consecutive = blocks.iter().zip(request.from_height..).all(|(block, height)| block.height == height);
        let is_bad =
            blocks.is_empty() || blocks.len() > limit || !consecutive || blocks.iter().any(|block| !block.burns.is_empty());
        self.measure(token, peer, since, at, if is_bad { None } else { Some(&blocks) });
        if is_bad {
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

    pub(super) fn download_failed(&mut self, token: Token, reason: &str, at: Millis) -> Vec<Effect> {
        let Some(UnderWay { peer, since, .. }) = self.downloads.remove(&token) else { return Vec::new() };
        self.measure(token, peer, since, at, None);
        downloaded(token, Err(format!("{peer}: {reason}")))
    }

    /// A head is one block, which says nothing of how fast many come.
    fn measure(&mut self, token: Token, peer: PeerId, since: Millis, at: Millis, blocks: Option<&[CommittedBlock]>) {
        let (Token::Range(_), Some(known)) = (token, self.peers.get_mut(&peer)) else { return };
        match blocks {
            Some(blocks) => {
                let bytes: usize = blocks.iter().map(|block| block.encoded_len()).sum();
                known.speed.answered(since, at, u64::try_from(bytes).unwrap_or(u64::MAX));
            }
            None => known.speed.failed(since, at),
        }
    }
}

/// Nobody waits for a peer's head: it is asked again when it is shown again.
fn downloaded(token: Token, outcome: Result<(Vec<CommittedBlock>, PeerId), String>) -> Vec<Effect> {
    match token {
        Token::Range(number) => vec![Effect::Downloaded { number, outcome }],
        Token::Head(_) => Vec::new(),
    }
}
