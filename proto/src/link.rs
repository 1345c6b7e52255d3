//! One end of a numbered stream that survives reconnects: what is sent is kept until the other end has acknowledged it,
//! what arrives is acted on once and in order. Both ends of the governance session use it. Pure.
//!
//! | arrives | with number | so |
//! |---|---|---|
//! | the next | `acted + 1` | act on it |
//! | an old one | `<= acted` | drop: acted on before the reconnect |
//! | a later one | `> acted + 1` | a message was lost or reordered: drop the connection and resume |
//! | number 0 | | not part of the numbering (register, heartbeat, head changed) |
//!
//! A process that restarted remembers nothing of the numbers. Both ends name their incarnation when they register; where
//! the other end's changed, both directions start again at 1.

use std::collections::VecDeque;

/// Most messages that wait for an acknowledgement. The largest is a signature request with its PSBT (~200 KiB), so an
/// end that never acknowledges costs at most 50 MiB.
pub const MAX_UNACKNOWLEDGED: usize = 256;

/// One end of the stream; `T` is the payload that this end sends.
#[derive(Clone, Debug)]
pub struct Link<T> {
    peer: Option<u64>,
    next: u64,
    kept: VecDeque<(u64, T)>,
    acted: u64,
}

/// What to do with a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the next one (or not numbered): act on it.
    Act,
    /// It was acted on before.
    Again,
    /// Something between is missing.
    Gap {
        /// The number that should have come.
        expected: u64,
    },
}

/// The other end acknowledges what was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("acknowledged message {acknowledged}, but the last one sent was {sent}")]
pub struct ForgedAcknowledgement {
    /// What it claims to have acted on.
    pub acknowledged: u64,
    /// The highest number it can have seen.
    pub sent: u64,
}

/// Too many messages wait for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_UNACKNOWLEDGED} messages wait for an acknowledgement")]
pub struct LinkFull;

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self { peer: None, next: 1, kept: VecDeque::new(), acted: 0 }
    }
}

impl<T: Clone> Link<T> {
    /// The other end registered as this incarnation. `true`: it is not the one known before, so the numbers of both directions
    /// started again; what was kept is numbered from 1.
    pub fn meet(&mut self, incarnation: u64) -> bool {
        if self.peer == Some(incarnation) {
            return false;
        }
        self.peer = Some(incarnation);
        self.acted = 0;
        self.next = 1;
        for (number, _) in &mut self.kept {
            *number = self.next;
            self.next = self.next.saturating_add(1);
        }
        true
    }

    /// Forgets what was kept. Only right after [`Self::meet`] returned `true`.
    pub fn forget_kept(&mut self) {
        self.kept.clear();
        self.next = 1;
    }

    /// Numbers a message and keeps it until it is acknowledged.
    pub fn keep(&mut self, payload: T) -> Result<u64, LinkFull> {
        if self.kept.len() >= MAX_UNACKNOWLEDGED {
            return Err(LinkFull);
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.kept.push_back((number, payload));
        Ok(number)
    }

    /// What the other end has not acknowledged, in order: sent again after a reconnect.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &(u64, T)> {
        self.kept.iter()
    }

    /// The other end has acted on everything up to and including `number`.
    pub fn acknowledge(&mut self, number: u64) -> Result<(), ForgedAcknowledgement> {
        let sent = self.next.saturating_sub(1);
        if number > sent {
            return Err(ForgedAcknowledgement { acknowledged: number, sent });
        }
        while self.kept.front().is_some_and(|(kept, _)| *kept <= number) {
            self.kept.pop_front();
        }
        Ok(())
    }

    /// A message with this number arrived. After `Act` it counts as acted on.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        let expected = self.acted.saturating_add(1);
        if number == 0 {
            return Arrival::Act;
        }
        if number < expected {
            return Arrival::Again;
        }
        if number > expected {
            return Arrival::Gap { expected };
        }
        self.acted = number;
        Arrival::Act
    }

    /// The highest number acted on: what this end acknowledges.
    pub const fn acted(&self) -> u64 {
        self.acted
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn numbers(link: &Link<&'static str>) -> Vec<(u64, &'static str)> {
        link.unacknowledged().copied().collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_with_its_number() {
        let mut link = Link::default();
        link.meet(7);
        assert_eq!((link.keep("a"), link.keep("b"), link.keep("c")), (Ok(1), Ok(2), Ok(3)));
        link.acknowledge(2).unwrap();
        assert!(!link.meet(7));
        assert_eq!(numbers(&link), [(3, "c")]);
    }

    #[test]
    fn a_restarted_peer_gets_everything_from_one() {
        let mut link = Link::default();
        link.meet(7);
        link.keep("a").unwrap();
        link.keep("b").unwrap();
        link.acknowledge(1).unwrap();
        assert_eq!(link.arrive(1), Arrival::Act);
        assert!(link.meet(8));
        assert_eq!(numbers(&link), [(1, "b")]);
        assert_eq!((link.acted(), link.arrive(1)), (0, Arrival::Act));
    }

    #[test]
    fn each_number_is_acted_on_once_and_in_order() {
        let mut link = Link::<()>::default();
        let table = [
            (1, Arrival::Act),
            (1, Arrival::Again),
            (0, Arrival::Act),
            (3, Arrival::Gap { expected: 2 }),
            (2, Arrival::Act),
            (3, Arrival::Act),
            (2, Arrival::Again),
        ];
        for (number, expected) in table {
            assert_eq!(link.arrive(number), expected, "{number}");
        }
        assert_eq!(link.acted(), 3);
    }

    #[test]
    fn acknowledging_the_future_is_a_fault_and_a_full_link_says_so() {
        let mut link = Link::default();
        for _ in 0..MAX_UNACKNOWLEDGED {
            link.keep(()).unwrap();
        }
        assert_eq!(link.keep(()), Err(LinkFull));
        assert!(link.acknowledge(1_000).is_err());
        link.acknowledge(256).unwrap();
        assert_eq!(link.keep(()), Ok(257));
    }
}
