//! When to dial which bootnode. The wait doubles with every attempt that did not end in a handshake, up to a bound, and
//! is cut at random to between half and all of it, so that nodes that lost each other together do not return together.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::input::Millis;

/// Shortest and longest wait, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub shortest: Millis,
    /// However often it failed.
    pub longest: Millis,
}

impl Backoff {
    /// The wait after `attempts` attempts.
    pub fn delay(&self, attempts: u32, random: u64) -> Millis {
        let factor = 1u64.checked_shl(attempts.min(63)).unwrap_or(u64::MAX);
        let full = self.shortest.saturating_mul(factor).min(self.longest);
        let half = full / 2;
        full.saturating_sub(random.checked_rem(half.saturating_add(1)).unwrap_or(0))
    }
}

/// A node that we keep a connection with.
#[derive(Debug)]
struct Bootnode {
    address: Multiaddr,
    peer: Option<PeerId>,
    connected: bool,
    attempts: u32,
    next: Millis,
}

/// All of them.
#[derive(Debug)]
pub struct Bootnodes {
    nodes: Vec<Bootnode>,
    backoff: Backoff,
}

/// The peer id at the end of an address.
pub fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

fn without_peer(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
}

impl Bootnodes {
    /// None is connected; all are due at once.
    pub fn new(addresses: Vec<Multiaddr>, backoff: Backoff) -> Self {
        let node = |address: Multiaddr| Bootnode { peer: peer_of(&address), address, connected: false, attempts: 0, next: 0 };
        Self { nodes: addresses.into_iter().map(node).collect(), backoff }
    }

    /// The addresses to dial now.
    pub fn due(&mut self, now: Millis, random: u64) -> Vec<Multiaddr> {
        let backoff = self.backoff;
        let due = self.nodes.iter_mut().filter(|node| !node.connected && node.next <= now);
        due.map(|node| {
            node.next = now.saturating_add(backoff.delay(node.attempts, random));
            node.attempts = node.attempts.saturating_add(1);
            node.address.clone()
        })
        .collect()
    }

    /// A connection with a peer is up; `dialled` is where, if we dialled.
    pub fn connected(&mut self, peer: PeerId, dialled: Option<&Multiaddr>) {
        let dialled = dialled.map(without_peer);
        for node in &mut self.nodes {
            let same = node.peer == Some(peer) || (dialled.is_some() && dialled.as_ref() == Some(&without_peer(&node.address)));
            if same {
                node.peer = Some(peer);
                node.connected = true;
            }
        }
    }

    /// The peer is of our chain: the next wait is the shortest again.
    pub fn greeted(&mut self, peer: PeerId) {
        self.of(peer).for_each(|node| node.attempts = 0);
    }

    /// The last connection with a peer is gone.
    pub fn disconnected(&mut self, peer: PeerId, now: Millis, random: u64) {
        let backoff = self.backoff;
        self.of(peer).for_each(|node| {
            node.connected = false;
            node.next = now.saturating_add(backoff.delay(node.attempts, random));
        });
    }

    fn of(&mut self, peer: PeerId) -> impl Iterator<Item = &mut Bootnode> {
        self.nodes.iter_mut().filter(move |node| node.peer == Some(peer))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BACKOFF: Backoff = Backoff { shortest: 1_000, longest: 60_000 };

    #[test]
    fn waits_double_to_a_bound_and_lose_at_most_half() {
        for (attempts, full) in [(0, 1_000), (1, 2_000), (5, 32_000), (6, 60_000), (63, 60_000), (u32::MAX, 60_000)] {
            assert_eq!(BACKOFF.delay(attempts, 0), full, "{attempts}");
            for random in [1, 77_777, u64::MAX] {
                let delay = BACKOFF.delay(attempts, random);
                assert!(delay >= full / 2 && delay <= full, "{attempts} {random}: {delay}");
            }
        }
    }

    #[test]
    fn a_bootnode_is_dialled_until_it_is_connected_and_again_after() {
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/9".parse().unwrap();
        let peer = PeerId::random();
        let mut nodes = Bootnodes::new(vec![address.clone()], BACKOFF);
        assert_eq!(nodes.due(0, 0), std::slice::from_ref(&address));
        assert!(nodes.due(999, 0).is_empty());
        assert_eq!(nodes.due(1_000, 0).len(), 1);
        assert!(nodes.due(2_999, 0).is_empty());
        nodes.connected(peer, Some(&address.clone().with(Protocol::P2p(peer))));
        assert!(nodes.due(1_000_000, 0).is_empty());
        nodes.greeted(peer);
        nodes.disconnected(peer, 1_000_000, 0);
        assert!(nodes.due(1_000_999, 0).is_empty());
        assert_eq!(nodes.due(1_001_000, 0).len(), 1);
    }
}
