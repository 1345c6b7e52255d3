//! The state of network and its one transition.
//!
//! | peer | may gossip, ask, be asked |
//! |---|---|
//! | connected, no handshake yet | no: ignored, answered `refused`; disconnected after [`Settings::handshake_timeout`] |
//! | handshake of another chain | no: told why, disconnected, left alone for a minute |
//! | handshake of ours | yes, within its rates |
//! | penalty used up | banned for ten minutes |

use std::collections::BTreeMap;

use alys_proto::common::CommittedBlock;
use alys_proto::network::{self, Handshake, PeerResponse, peer_response::Response};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::bootnodes::{Backoff, Bootnodes};
use super::effect::Effect;
use super::gossip;
use super::handshake::Us;
use super::input::{AnswerId, Input, Millis, Token, Topic};
use super::limits::{
    BAN_MILLIS, BAN_PENALTY, FLOOD_PENALTY, FORGED_RANGE_PENALTY, GARBAGE_PENALTY, HANDSHAKE_AGAIN_MILLIS, MAX_AGENT_CHARS,
    MAX_SEEN, SILENCE_PENALTY, SLOW_PENALTY, WRONG_CHAIN_MILLIS,
};
use super::peers::{Ban, Conduct, Doing, Peer};
use super::ranges::UnderWay;
use super::reach::reachable;
use super::seen::Seen;

/// What does not change while the role runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who we are to peers.
    pub local: PeerId,
    /// Nodes to keep a connection with.
    pub bootnodes: Vec<Multiaddr>,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long a peer may take to show its chain.
    pub handshake_timeout: Millis,
    /// Whether nodes that we meet are remembered for others.
    pub discovery: bool,
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Final blocks of ours that at least one peer got.
    pub blocks_published: u64,
    /// Proven blocks from peers, each once.
    pub blocks_received: u64,
    /// Consensus messages passed to chain.
    pub consensus_received: u64,
    /// Gossiped transactions that were pooled.
    pub transactions_received: u64,
    /// Gossip of ours that nobody was there for.
    pub unpublished: u64,
    /// Messages dropped without blame: known, stale, too early, or more than we can check now.
    pub ignored: u64,
    /// Messages refused as garbage.
    pub rejected: u64,
    /// Messages, requests and streams above a peer's rate.
    pub flooded: u64,
    /// Requests that came, and answers that were read, too slowly.
    pub slow: u64,
    /// Ranges sent to peers.
    pub ranges_served: u64,
    /// Bans.
    pub bans: u64,
    /// Height of the last proven block from a peer.
    pub last_received_height: u64,
}

/// Network without its sockets.
#[derive(Debug)]
pub struct State {
    pub(super) settings: Settings,
    pub(super) us: Us,
    pub(super) now: Millis,
    pub(super) random: u64,
    pub(super) greeted_at: Millis,
    pub(super) listening: Vec<Multiaddr>,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) conduct: Conduct,
    pub(super) bootnodes: Bootnodes,
    pub(super) seen: Seen<Vec<u8>>,
    pub(super) checking: usize,
    pub(super) hearing: usize,
    pub(super) offered: usize,
    pub(super) serving: BTreeMap<AnswerId, PeerId>,
    pub(super) downloads: BTreeMap<Token, UnderWay>,
    pub(super) counters: Counters,
}

impl State {
    /// Nobody is connected.
    pub fn new(settings: Settings, us: Us) -> Self {
        Self {
            bootnodes: Bootnodes::new(settings.bootnodes.clone(), settings.backoff),
            settings,
            us,
            now: 0,
            random: 0,
            greeted_at: 0,
            listening: Vec::new(),
            peers: BTreeMap::new(),
            conduct: Conduct::default(),
            seen: Seen::new(MAX_SEEN),
            checking: 0,
            hearing: 0,
            offered: 0,
            serving: BTreeMap::new(),
            downloads: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// What has been counted.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// How many peers are of our chain, and how many are connected at all.
    pub fn connected(&self) -> (usize, usize) {
        (self.peers.values().filter(|peer| peer.is_ready()).count(), self.peers.len())
    }

    /// How many peers are banned.
    pub fn banned(&self) -> usize {
        self.conduct.banned()
    }

    /// Where others find us: what their `bootnodes` hold.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.listening.iter().map(|address| address.clone().with(Protocol::P2p(self.settings.local))).collect()
    }

    /// Who is connected and of our chain, and who is banned.
    pub fn peers(&self) -> network::Peers {
        let view = |(id, peer): (&PeerId, &Peer)| {
            peer.head.map(|head_height| network::Peer {
                peer_id: id.to_string(),
                address: peer.address.to_string(),
                agent: peer.agent.clone(),
                outbound: peer.outbound,
                head_height,
                penalty: self.conduct.penalty(id),
                connected_millis: self.now.saturating_sub(peer.since),
                round_trip_micros: peer.round_trip,
                bytes_per_second: peer.speed.per_second(),
            })
        };
        let banned = |(id, ban): (&PeerId, &Ban)| network::BannedPeer {
            peer_id: id.to_string(),
            reason: ban.reason.clone(),
            left_millis: ban.until.saturating_sub(self.now),
        };
        network::Peers {
            local_peer_id: self.settings.local.to_string(),
            listen_addresses: self.listening.iter().map(ToString::to_string).collect(),
            peers: self.peers.iter().filter_map(view).collect(),
            banned: self.conduct.bans().map(banned).collect(),
        }
    }

    /// Something happened; what is to be done?
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Tick { now, random } => self.tick(now, random),
            Input::HeadKnown { height, hash } => self.advance(height, hash),
            Input::Finalized(block) => self.finalized(block),
            Input::Consensus(data) => vec![Effect::Publish { topic: Topic::Consensus, data }],
            Input::Transaction(data) => vec![Effect::Publish { topic: Topic::Transactions, data }],
            Input::Download { number, from_height, count, at } => self.download(number, from_height, count, at),
            Input::Reported { peer, reason } => self.punish(peer, FORGED_RANGE_PENALTY, &reason),
            Input::Listening(address) => self.listen(address),
            Input::NotListening(address) => self.unlisten(&address),
            Input::Connected { peer, address, outbound } => self.peer_connected(peer, address, outbound),
            Input::Disconnected { peer } => self.peer_disconnected(peer),
            Input::Identified { peer, agent, addresses } => self.identified(peer, &agent, addresses),
            Input::Pong { peer, micros } => self.pong(peer, micros),
            Input::HandshakeAsked { peer, handshake, answer } => self.handshake_asked(peer, &handshake, answer),
            Input::HandshakeAnswered { peer, handshake } => self.greet(peer, &handshake),
            Input::BlocksAsked { peer, request, answer } => self.blocks_asked(peer, request, answer),
            Input::BlocksRead { answer, blocks } => self.blocks_read(answer, blocks),
            Input::AnswerEnded { peer, answer, too_slow } => self.answer_ended(peer, answer, too_slow),
            Input::Malformed { peer } => self.malformed(peer),
            Input::Slow { peer } => self.slow(peer),
            Input::StreamOpened { peer } => self.stream_opened(peer),
            Input::Distrusted { peer } => self.punish(peer, BAN_PENALTY, "it gossips what is forged, too long or no message"),
            Input::BlocksAnswered { token, blocks, at } => self.blocks_answered(token, blocks, at),
            Input::DownloadFailed { token, reason, at } => self.download_failed(token, &reason, at),
            Input::Gossip { peer, id, topic, data } => self.gossip(peer, id, topic, data),
            Input::BlockChecked { peer, way, outcome } => self.block_checked(peer, way, outcome),
            Input::SpokenChecked { peer, id, outcome } => self.spoken_checked(peer, id, outcome),
            Input::TransactionOffered { peer, id, outcome } => self.transaction_offered(peer, id, outcome),
            Input::Published { topic, sent } => self.published(topic, sent),
        }
    }
}

/// Time, our head, our own gossip.
impl State {
    fn tick(&mut self, now: Millis, random: u64) -> Vec<Effect> {
        let seconds = u32::try_from((now / 1_000).saturating_sub(self.now / 1_000)).unwrap_or(u32::MAX);
        (self.now, self.random) = (now, random);
        let mut effects: Vec<_> =
            self.conduct.forgive(now, seconds).into_iter().map(|peer| Effect::Ban { peer, banned: false }).collect();
        let deadline = self.settings.handshake_timeout;
        let silent = |peer: &Peer| !peer.is_ready() && now.saturating_sub(peer.since) >= deadline;
        let silent: Vec<PeerId> = self.peers.iter().filter(|(_, peer)| silent(peer)).map(|(peer, _)| *peer).collect();
        for peer in silent {
            let reason = "it did not say what chain it is of";
            effects.extend(self.punish(peer, SILENCE_PENALTY, reason));
            effects.push(Effect::Disconnect { peer, reason: reason.into() });
        }
        if now.saturating_sub(self.greeted_at) >= HANDSHAKE_AGAIN_MILLIS {
            self.greeted_at = now;
            let handshake = self.us.handshake();
            let ready = self.peers.iter().filter(|(_, peer)| peer.is_ready());
            effects.extend(ready.map(|(peer, _)| Effect::Handshake { peer: *peer, handshake: handshake.clone() }));
        }
        effects.extend(self.bootnodes.due(now, random).into_iter().map(Effect::Dial));
        effects
    }

    fn advance(&mut self, height: u64, hash: Vec<u8>) -> Vec<Effect> {
        self.us.advance(height, hash);
        Vec::new()
    }

    fn finalized(&mut self, block: CommittedBlock) -> Vec<Effect> {
        self.us.advance(block.height, block.hash.clone());
        if !self.seen.insert(block.hash.clone()) {
            // It came from a peer, and was forwarded to the others then.
            return Vec::new();
        }
        vec![Effect::Publish { topic: Topic::Blocks, data: gossip::encode_block(block) }]
    }

    const fn published(&mut self, topic: Topic, sent: bool) -> Vec<Effect> {
        match (topic, sent) {
            (Topic::Blocks, true) => self.counters.blocks_published = self.counters.blocks_published.saturating_add(1),
            (_, false) => self.counters.unpublished = self.counters.unpublished.saturating_add(1),
            _ => {}
        }
        Vec::new()
    }

    fn listen(&mut self, address: Multiaddr) -> Vec<Effect> {
        if !self.listening.contains(&address) {
            self.listening.push(address);
        }
        Vec::new()
    }

    fn unlisten(&mut self, address: &Multiaddr) -> Vec<Effect> {
        self.listening.retain(|known| known != address);
        Vec::new()
    }
}

/// Peers: coming, going, showing who they are.
impl State {
    fn peer_connected(&mut self, peer: PeerId, address: Multiaddr, outbound: bool) -> Vec<Effect> {
        if self.conduct.is_banned(&peer) {
            return vec![Effect::Disconnect { peer, reason: "it is banned".into() }];
        }
        self.bootnodes.connected(peer, outbound.then_some(&address));
        if self.peers.contains_key(&peer) {
            return Vec::new();
        }
        self.peers.insert(peer, Peer::new(address, outbound, self.now));
        vec![Effect::Handshake { peer, handshake: self.us.handshake() }]
    }

    fn peer_disconnected(&mut self, peer: PeerId) -> Vec<Effect> {
        self.peers.remove(&peer);
        self.bootnodes.disconnected(peer, self.now, self.random);
        Vec::new()
    }

    fn identified(&mut self, peer: PeerId, agent: &str, addresses: Vec<Multiaddr>) -> Vec<Effect> {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.agent = agent.chars().filter(|letter| !letter.is_control()).take(MAX_AGENT_CHARS).collect();
            known.listens = reachable(&known.address, addresses);
        }
        self.routable(peer)
    }

    /// What is known of where a peer of our chain listens.
    fn routable(&self, peer: PeerId) -> Vec<Effect> {
        let Some(known) = self.peers.get(&peer).filter(|known| self.settings.discovery && known.is_ready()) else {
            return Vec::new();
        };
        known.listens.iter().map(|address| Effect::Routable { peer, address: address.clone() }).collect()
    }

    fn pong(&mut self, peer: PeerId, micros: u64) -> Vec<Effect> {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.round_trip = micros;
        }
        Vec::new()
    }

    fn handshake_asked(&mut self, peer: PeerId, theirs: &Handshake, answer: AnswerId) -> Vec<Effect> {
        let allowed = self.peers.get_mut(&peer).is_some_and(|known| known.may(Doing::Request, self.now));
        if !allowed {
            return self.refuse(peer, answer, "too many requests");
        }
        // Answered also when the peer is of another chain, so that its operator learns why.
        let mut effects = vec![Effect::Answer { answer, response: response(Response::Handshake(self.us.handshake())) }];
        effects.extend(self.greet(peer, theirs));
        effects
    }

    fn greet(&mut self, peer: PeerId, theirs: &Handshake) -> Vec<Effect> {
        match self.us.check(theirs) {
            Ok(()) => {
                let is_new = self.peers.get(&peer).is_some_and(|known| !known.is_ready());
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.head = Some(theirs.head_height);
                    self.bootnodes.greeted(peer);
                }
                let mut effects = self.ask_for_head(peer, theirs.head_height);
                if is_new {
                    effects.extend(self.routable(peer));
                }
                effects
            }
            Err(incompatible) => self.ban(peer, WRONG_CHAIN_MILLIS, incompatible.to_string()),
        }
    }

    pub(super) fn punish(&mut self, peer: PeerId, penalty: u32, reason: &str) -> Vec<Effect> {
        // What a banned peer has sent before may still arrive.
        let is_enough = !self.conduct.is_banned(&peer) && self.conduct.punish(peer, penalty);
        if is_enough { self.ban(peer, BAN_MILLIS, reason.to_owned()) } else { Vec::new() }
    }

    fn ban(&mut self, peer: PeerId, millis: Millis, reason: String) -> Vec<Effect> {
        self.counters.bans = self.counters.bans.saturating_add(1);
        let released = self.conduct.ban(peer, Ban { until: self.now.saturating_add(millis), reason: reason.clone() });
        let mut effects: Vec<_> = released.into_iter().map(|peer| Effect::Ban { peer, banned: false }).collect();
        effects.push(Effect::Ban { peer, banned: true });
        effects.push(Effect::Disconnect { peer, reason });
        effects
    }

    pub(super) fn malformed(&mut self, peer: PeerId) -> Vec<Effect> {
        self.counters.rejected = self.counters.rejected.saturating_add(1);
        self.punish(peer, GARBAGE_PENALTY, "it sends garbage")
    }

    pub(super) fn slow(&mut self, peer: PeerId) -> Vec<Effect> {
        self.counters.slow = self.counters.slow.saturating_add(1);
        self.punish(peer, SLOW_PENALTY, "it is too slow on purpose")
    }

    fn stream_opened(&mut self, peer: PeerId) -> Vec<Effect> {
        let too_many = self.peers.get_mut(&peer).is_some_and(|known| !known.may(Doing::Stream, self.now));
        if too_many { self.flooded(peer) } else { Vec::new() }
    }

    pub(super) fn flooded(&mut self, peer: PeerId) -> Vec<Effect> {
        self.counters.flooded = self.counters.flooded.saturating_add(1);
        self.punish(peer, FLOOD_PENALTY, "it sends too much")
    }
}

/// Wraps a response.
pub(super) const fn response(response: Response) -> PeerResponse {
    PeerResponse { response: Some(response) }
}
