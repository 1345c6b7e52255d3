//! Network's core with two peers, driven by bytes: each event is one byte of kind, one of peer, two of length, and a body.

use std::collections::BTreeSet;

use alys_blocks::CommittedRules;
use alys_network::core::bootnodes::Backoff;
use alys_network::core::handshake::Us;
use alys_network::core::input::Pooling;
use alys_network::core::{Effect, GossipId, Input, Settings, State, Token, Topic, gossip};
use alys_proto::network::Handshake;
use alys_proto::storage::{Blocks, GetBlocks};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use prost::Message;

use crate::fixture::spec;

/// Events of one course: the rest is not read.
const MOST: usize = 64;
/// What the core may still wait for after a course in which every question of its own was answered at once.
const ANSWERS: usize = 2 * MOST;

/// Runs it.
pub(crate) fn run(mut bytes: &[u8]) {
    let mut course = Course::new();
    for _ in 0..MOST {
        let [kind, who, length @ ..] = bytes else { break };
        let Some((length, rest)) = length.split_first_chunk::<2>() else { break };
        let (body, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        course.event(*kind, *who, body);
        bytes = rest;
    }
    assert!(course.steps <= MOST * ANSWERS, "{} steps for {MOST} events", course.steps);
}

struct Course {
    state: State,
    rules: CommittedRules,
    peers: [PeerId; 2],
    asked: BTreeSet<Token>,
    now: u64,
    number: u64,
    steps: usize,
}

impl Course {
    fn new() -> Self {
        let peer = |seed| Keypair::ed25519_from_bytes([seed; 32]).unwrap().public().to_peer_id();
        let settings = Settings {
            local: peer(1),
            bootnodes: Vec::new(),
            backoff: Backoff { shortest: 500, longest: 30_000 },
            handshake_timeout: 10_000,
            discovery: true,
        };
        let spec = spec();
        Self {
            state: State::new(settings, Us::new(&spec)),
            rules: CommittedRules::of(&spec),
            peers: [peer(2), peer(3)],
            asked: BTreeSet::new(),
            now: 0,
            number: 0,
            steps: 0,
        }
    }

    fn event(&mut self, kind: u8, who: u8, body: &[u8]) {
        self.number += 1;
        let peer = self.peers[usize::from(who & 1)];
        let topic = match who >> 1 & 3 {
            0 => Topic::Blocks,
            1 => Topic::Consensus,
            _ => Topic::Transactions,
        };
        let input = match kind % 12 {
            0 => {
                self.now += u64::from(who) * 100;
                Input::Tick { now: self.now, random: self.number }
            }
            1 => Input::Connected { peer, address: "/ip4/127.0.0.1/tcp/1".parse().unwrap(), outbound: who & 2 == 0 },
            2 => Input::Disconnected { peer },
            3 => match Handshake::decode(body) {
                Ok(handshake) if who & 2 == 0 => Input::HandshakeAsked { peer, handshake, answer: self.number },
                Ok(handshake) => Input::HandshakeAnswered { peer, handshake },
                Err(_) => Input::Malformed { peer },
            },
            // One that is of our chain, with any head.
            4 => {
                let ours = Us::new(&spec()).handshake();
                let handshake = Handshake { head_height: who.into(), head_hash: body.to_vec(), ..ours };
                Input::HandshakeAnswered { peer, handshake }
            }
            5 => match GetBlocks::decode(body) {
                Ok(request) => Input::BlocksAsked { peer, request, answer: self.number },
                Err(_) => Input::Malformed { peer },
            },
            6 => Input::Gossip { peer, id: GossipId(body.iter().take(20).copied().collect()), topic, data: body.to_vec() },
            7 => {
                let agent = String::from_utf8_lossy(body).into_owned();
                let addresses = Multiaddr::try_from(body.to_vec()).into_iter().collect();
                Input::Identified { peer, agent, addresses }
            }
            8 => Input::Download { number: self.number, from_height: who.into(), count: 8, at: self.now },
            9 => match (self.asked.pop_first(), Blocks::decode(body)) {
                (Some(token), Ok(blocks)) => Input::BlocksAnswered { token, blocks: blocks.blocks, at: self.now },
                (Some(token), Err(cause)) => Input::DownloadFailed { token, reason: cause.to_string(), at: self.now },
                (None, _) => return,
            },
            10 => Input::Reported { peer, reason: "a bad range".into() },
            _ => Input::HeadKnown { height: who.into(), hash: body.to_vec() },
        };
        self.step(input);
    }

    /// With what follows at once: the checks that network does off its thread, as it does them.
    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.steps += 1;
            for effect in self.state.step(input) {
                inputs.extend(self.perform(effect));
            }
        }
        let (ready, known) = self.state.connected();
        assert!(ready <= known && known <= self.peers.len());
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::CheckBlock { peer, way, block } => {
                let outcome = gossip::check_block(&self.rules, &block).map(|_| block);
                Some(Input::BlockChecked { peer, way, outcome })
            }
            Effect::CheckSpoken { peer, id, spoken } => {
                let outcome = self.rules.check_spoken(&spoken).map(|()| spoken.message);
                Some(Input::SpokenChecked { peer, id, outcome })
            }
            Effect::OfferTransaction { peer, id, .. } => Some(Input::TransactionOffered { peer, id, outcome: Pooling::Refused }),
            Effect::Serve { answer, .. } => Some(Input::BlocksRead { answer, blocks: Ok(Vec::new()) }),
            Effect::RequestBlocks { token, .. } => {
                self.asked.insert(token);
                None
            }
            Effect::Disconnect { peer, .. } => Some(Input::Disconnected { peer }),
            _ => None,
        }
    }
}
