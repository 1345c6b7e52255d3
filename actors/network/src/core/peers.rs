//! Who is connected, how each behaves, and who is banned.

use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId};

use super::input::{Millis, Topic};
use super::limits::{BAN_PENALTY, FORGIVEN_PER_SECOND, MAX_REMEMBERED};
use super::speed::Speed;

/// What a peer does that is limited in rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// Gossips.
    Gossip(Topic),
    /// Asks us something.
    Request,
    /// Opens a stream, of whatever protocol.
    Stream,
}

impl Doing {
    /// (per second, at once). Blocks come once a slot; a round has two votes of each of at most 256 validators. A stream is
    /// opened for a request, and rarely by libp2p itself.
    const fn rate(self) -> (u64, u64) {
        match self {
            Self::Gossip(Topic::Blocks) => (8, 64),
            Self::Gossip(Topic::Consensus) => (1_024, 4_096),
            Self::Gossip(Topic::Transactions) => (512, 2_048),
            Self::Request => (8, 32),
            Self::Stream => (32, 128),
        }
    }
}

/// A connected peer.
#[derive(Debug)]
pub struct Peer {
    /// Where it is.
    pub address: Multiaddr,
    /// We dialled it.
    pub outbound: bool,
    /// What it runs; empty until it said so.
    pub agent: String,
    /// Where it says that it listens.
    pub listens: Vec<Multiaddr>,
    /// When it connected.
    pub since: Millis,
    /// Ranges that it was asked for.
    pub asked: u64,
    /// How fast it answers them.
    pub speed: Speed,
    /// Of the last ping, microseconds.
    pub round_trip: u64,
    /// Height of its head, once it has shown to be of our chain.
    pub head: Option<u64>,
    used: BTreeMap<Doing, (Millis, u64)>,
}

impl Peer {
    /// A peer that has not shown what it is.
    pub fn new(address: Multiaddr, outbound: bool, since: Millis) -> Self {
        Self {
            address,
            outbound,
            agent: String::new(),
            listens: Vec::new(),
            since,
            asked: 0,
            speed: Speed::default(),
            round_trip: 0,
            head: None,
            used: BTreeMap::new(),
        }
    }

    /// Whether its handshake was good.
    pub const fn is_ready(&self) -> bool {
        self.head.is_some()
    }

    /// Takes one of what the peer may do at `now`; false when it has used all.
    pub fn may(&mut self, doing: Doing, now: Millis) -> bool {
        let (per_second, at_once) = doing.rate();
        let (since, left) = self.used.entry(doing).or_insert((now, at_once));
        let seconds = now.saturating_sub(*since) / 1_000;
        if seconds > 0 {
            *left = left.saturating_add(seconds.saturating_mul(per_second)).min(at_once);
            *since = since.saturating_add(seconds.saturating_mul(1_000));
        }
        match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
}

/// What is remembered of peers beyond their connection. Bounded: the entry that matters least goes first.
#[derive(Debug, Default)]
pub struct Conduct {
    penalties: BTreeMap<PeerId, u32>,
    bans: BTreeMap<PeerId, Ban>,
}

/// A peer that may not come back yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it may.
    pub until: Millis,
    /// Why.
    pub reason: String,
}

impl Conduct {
    /// Adds to a peer's penalty; true when it has reached a ban.
    pub fn punish(&mut self, peer: PeerId, penalty: u32) -> bool {
        if self.penalties.len() >= MAX_REMEMBERED && !self.penalties.contains_key(&peer) {
            let mildest = self.penalties.iter().min_by_key(|(_, penalty)| **penalty).map(|(peer, _)| *peer);
            mildest.and_then(|peer| self.penalties.remove(&peer));
        }
        let total = self.penalties.entry(peer).or_default();
        *total = total.saturating_add(penalty);
        *total >= BAN_PENALTY
    }

    /// What a peer has used of what it may do wrong.
    pub fn penalty(&self, peer: &PeerId) -> u32 {
        self.penalties.get(peer).copied().unwrap_or(0)
    }

    /// Who is banned.
    pub fn bans(&self) -> impl Iterator<Item = (&PeerId, &Ban)> {
        self.bans.iter()
    }

    /// Bans a peer. Returns who had to be let go for it.
    pub fn ban(&mut self, peer: PeerId, ban: Ban) -> Option<PeerId> {
        let full = self.bans.len() >= MAX_REMEMBERED && !self.bans.contains_key(&peer);
        let soonest = if full { self.bans.iter().min_by_key(|(_, ban)| ban.until).map(|(peer, _)| *peer) } else { None };
        let released = soonest.filter(|peer| self.bans.remove(peer).is_some());
        self.penalties.remove(&peer);
        self.bans.insert(peer, ban);
        released
    }

    /// Whether a peer is banned.
    pub fn is_banned(&self, peer: &PeerId) -> bool {
        self.bans.contains_key(peer)
    }

    /// How many are banned.
    pub fn banned(&self) -> usize {
        self.bans.len()
    }

    /// Time went on by `seconds`: forgives, and returns whose ban is over.
    pub fn forgive(&mut self, now: Millis, seconds: u32) -> Vec<PeerId> {
        let forgiven = seconds.saturating_mul(FORGIVEN_PER_SECOND);
        self.penalties.retain(|_, penalty| {
            *penalty = penalty.saturating_sub(forgiven);
            *penalty > 0
        });
        let over: Vec<_> = self.bans.iter().filter(|(_, ban)| ban.until <= now).map(|(peer, _)| *peer).collect();
        for peer in &over {
            self.bans.remove(peer);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_burst_is_bounded_and_refills_with_time() {
        let mut peer = Peer::new("/ip4/127.0.0.1/tcp/1".parse().unwrap(), true, 0);
        let mut burst =
            |now| std::iter::repeat_with(|| peer.may(Doing::Request, now)).take(100).filter(|allowed| *allowed).count();
        assert_eq!(burst(0), 32);
        assert_eq!(burst(999), 0);
        assert_eq!(burst(2_000), 16);
        assert_eq!(burst(1_000_000), 32);
    }

    #[test]
    fn penalties_add_up_to_a_ban_and_are_forgiven() {
        let peer = PeerId::random();
        let mut conduct = Conduct::default();
        assert!(!conduct.punish(peer, 60));
        assert!(conduct.forgive(0, 30).is_empty());
        assert!(!conduct.punish(peer, 60));
        assert!(conduct.punish(peer, 60));
        assert_eq!(conduct.penalty(&peer), 3 * 60 - 30);
        assert_eq!(conduct.ban(peer, Ban { until: 500, reason: "why".into() }), None);
        assert_eq!(conduct.bans().map(|(_, ban)| ban.reason.as_str()).collect::<Vec<_>>(), ["why"]);
        assert!(conduct.is_banned(&peer) && conduct.forgive(499, 1).is_empty());
        assert_eq!(conduct.forgive(500, 1), [peer]);
        assert!(!conduct.is_banned(&peer));
    }

    #[test]
    fn memory_of_strangers_is_bounded() {
        let mut conduct = Conduct::default();
        for _ in 0..MAX_REMEMBERED + 10 {
            conduct.punish(PeerId::random(), 1);
            conduct.ban(PeerId::random(), Ban { until: 5, reason: String::new() });
        }
        assert!(conduct.penalties.len() <= MAX_REMEMBERED && conduct.banned() <= MAX_REMEMBERED);
    }
}
