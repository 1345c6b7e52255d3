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

use bytes::{Buf as _, BytesMut};

/// Told messages of one sender that may be under way: half of a mailbox of the usual capacity, so that one sender alone never
/// overflows it, and enough for millions a second on a link with a round trip of 100 µs.
pub(crate) const WINDOW: u32 = 512;

/// Bytes that may wait for one peer on one stream: one message of the largest size and as much again.
const MAX_BYTES: usize = 48 * 1024 * 1024;

/// A buffer that grew above this is given back when it is empty.
const KEPT_BYTES: usize = 1024 * 1024;

/// The queue of one stream. Frames stand in it as they will be written, one behind the other.
#[derive(Debug)]
pub(crate) struct Outbox {
    ready: BytesMut,
    waiting: BytesMut,
    /// Of each frame that waits: whether it is told, and its bytes.
    frames: VecDeque<(bool, usize)>,
    credit: u32,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Default for Outbox {
    fn default() -> Self {
        Self { ready: BytesMut::new(), waiting: BytesMut::new(), frames: VecDeque::new(), credit: WINDOW }
    }
}

impl Outbox {
    /// Queues a request of so many bytes, which `put` appends.
    pub(crate) fn request(&mut self, told: bool, bytes: usize, put: impl FnOnce(&mut BytesMut)) -> Result<(), Full> {
        if self.bytes() > 0 && self.bytes().saturating_add(bytes) > MAX_BYTES {
            return Err(Full);
        }
        if self.frames.is_empty() && self.pays(told) {
            put(&mut self.ready);
        } else {
            put(&mut self.waiting);
            self.frames.push_back((told, bytes));
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
        let mut end = 0usize;
        while let Some((told, bytes)) = self.frames.front().copied()
            && self.pays(told)
        {
            self.frames.pop_front();
            end = end.saturating_add(bytes);
        }
        let end = end.min(self.waiting.len());
        self.ready.extend_from_slice(&self.waiting[..end]);
        self.waiting.advance(end);
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_BYTES {
            self.waiting = BytesMut::new();
        }
    }

    /// Takes all that may be written now, in exchange for a written buffer.
    pub(crate) fn take(&mut self, mut written: BytesMut) -> BytesMut {
        written.clear();
        if written.capacity() > KEPT_BYTES {
            written = BytesMut::new();
        }
        std::mem::replace(&mut self.ready, written)
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Bytes that wait.
    fn bytes(&self) -> usize {
        self.ready.len().saturating_add(self.waiting.len())
    }

    /// Told messages that still wait.
    pub(crate) fn left(&self) -> u64 {
        let told = self.frames.iter().filter(|(told, _)| *told).count();
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

    fn put(outbox: &mut Outbox, told: bool, frame: &[u8]) -> Result<(), Full> {
        outbox.request(told, frame.len(), |out| out.extend_from_slice(frame))
    }

    fn take(outbox: &mut Outbox) -> Vec<u8> {
        outbox.take(BytesMut::new()).to_vec()
    }

    fn spent() -> Outbox {
        let mut outbox = Outbox::default();
        for _ in 0..WINDOW {
            put(&mut outbox, true, b"t").unwrap();
        }
        take(&mut outbox);
        outbox
    }

    #[test]
    fn told_messages_wait_for_credit_and_nothing_overtakes_but_answers() {
        let mut outbox = spent();
        put(&mut outbox, true, b"1").unwrap();
        put(&mut outbox, false, b"22").unwrap();
        put(&mut outbox, true, b"3").unwrap();
        outbox.at_once(b"a");
        assert_eq!((take(&mut outbox), outbox.left()), (b"a".to_vec(), 2));
        outbox.grant(1);
        assert_eq!(take(&mut outbox), b"122");
        outbox.grant(5);
        assert_eq!((take(&mut outbox), outbox.left()), (b"3".to_vec(), 0));
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn memory_is_bounded_but_one_message_always_fits() {
        let mut outbox = spent();
        put(&mut outbox, true, &vec![0; MAX_BYTES + 1]).unwrap();
        assert_eq!(put(&mut outbox, false, &[0]), Err(Full));
        outbox.at_once(&[0]);
        outbox.grant(1);
        take(&mut outbox);
        put(&mut outbox, false, &[0]).unwrap();
        assert!(outbox.waiting.capacity() <= KEPT_BYTES, "what one large message needed is given back");
    }

    #[test]
    fn a_peer_cannot_grant_itself_a_larger_window() {
        let mut outbox = Outbox::default();
        outbox.grant(u32::MAX);
        assert_eq!(outbox.credit, WINDOW);
    }
}
