//! What waits to be written to one stream. Pure.
//!
//! | frame | peer's credit | goes |
//! |---|---|---|
//! | answer, returned, credit, ping | any | out at once: they end waits, so they never wait themselves |
//! | request | left, nothing waits | out, in the order of the calls; a told one uses up one credit |
//! | told request | used up | waits, and every later request behind it |
//! | request | above the bound in bytes | refused as busy |
//!
//! Credit is what keeps a slow receiver from growing either side: at most [`WINDOW`] told messages of one sender are
//! under way or in the receiver's mailbox.

use std::collections::VecDeque;

/// Told messages of one sender that may be under way: half of a mailbox of the usual capacity, so that one sender alone never
/// overflows it, and enough for millions a second on a link with a round trip of 100 µs.
pub(crate) const WINDOW: u32 = 512;

/// Bytes that may wait for one peer on one stream: one message of the largest size and as much again.
const MAX_BYTES: usize = 48 * 1024 * 1024;

/// The queue of one stream.
#[derive(Debug)]
pub(crate) struct Outbox {
    ready: Vec<u8>,
    waiting: VecDeque<(bool, Vec<u8>)>,
    waiting_bytes: usize,
    credit: u32,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Default for Outbox {
    fn default() -> Self {
        Self { ready: Vec::new(), waiting: VecDeque::new(), waiting_bytes: 0, credit: WINDOW }
    }
}

impl Outbox {
    /// Queues a request.
    pub(crate) fn request(&mut self, told: bool, frame: Vec<u8>) -> Result<(), Full> {
        if self.bytes() > 0 && self.bytes().saturating_add(frame.len()) > MAX_BYTES {
            return Err(Full);
        }
        if self.waiting.is_empty() && self.pays(told) {
            self.ready.extend_from_slice(&frame);
        } else {
            self.waiting_bytes = self.waiting_bytes.saturating_add(frame.len());
            self.waiting.push_back((told, frame));
        }
        Ok(())
    }

    /// Queues what never waits.
    pub(crate) fn at_once(&mut self, frame: &[u8]) {
        self.ready.extend_from_slice(frame);
    }

    /// The receiver has disposed of so many told messages.
    pub(crate) fn grant(&mut self, messages: u32) {
        // More than was ever sent would be a peer's fault; the window bounds what it can gain by it.
        self.credit = self.credit.saturating_add(messages).min(WINDOW);
        while let Some((told, _)) = self.waiting.front()
            && self.pays(*told)
            && let Some((_, frame)) = self.waiting.pop_front()
        {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(frame.len());
            self.ready.extend_from_slice(&frame);
        }
    }

    /// Takes all that may be written now, in exchange for an empty buffer.
    pub(crate) fn take(&mut self, empty: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.ready, empty)
    }

    /// Whether there is something to write.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Bytes that wait.
    fn bytes(&self) -> usize {
        self.ready.len().saturating_add(self.waiting_bytes)
    }

    /// Told messages that still wait.
    pub(crate) fn left(&self) -> u64 {
        let told = self.waiting.iter().filter(|(told, _)| *told).count();
        u64::try_from(told).unwrap_or(u64::MAX)
    }

    const fn pays(&mut self, told: bool) -> bool {
        if !told {
            return true;
        }
        let left = self.credit.checked_sub(1);
        if let Some(left) = left {
            self.credit = left;
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn spent() -> Outbox {
        let mut outbox = Outbox::default();
        for _ in 0..WINDOW {
            outbox.request(true, vec![b't']).unwrap();
        }
        outbox.take(Vec::new());
        outbox
    }

    #[test]
    fn told_messages_wait_for_credit_and_nothing_overtakes_but_answers() {
        let mut outbox = spent();
        outbox.request(true, vec![b'1']).unwrap();
        outbox.request(false, vec![b'2']).unwrap();
        outbox.request(true, vec![b'3']).unwrap();
        outbox.at_once(b"a");
        assert_eq!(outbox.take(Vec::new()), b"a");
        outbox.grant(1);
        assert_eq!(outbox.take(Vec::new()), b"12");
        outbox.grant(5);
        assert_eq!(outbox.take(Vec::new()), b"3");
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn memory_is_bounded_but_one_message_always_fits() {
        let mut outbox = spent();
        outbox.request(true, vec![0; MAX_BYTES + 1]).unwrap();
        assert_eq!(outbox.request(false, vec![0]), Err(Full));
        outbox.at_once(&[0]);
        outbox.grant(1);
        outbox.take(Vec::new());
        outbox.request(false, vec![0]).unwrap();
    }

    #[test]
    fn a_peer_cannot_grant_itself_a_larger_window() {
        let mut outbox = Outbox::default();
        outbox.grant(u32::MAX);
        assert_eq!(outbox.credit, WINDOW);
    }
}
