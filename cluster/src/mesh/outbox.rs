//! What waits to be written to one stream. Pure.
//!
//! | frame | peer's credit | goes |
//! |---|---|---|
//! | answer, returned, credit, ping | any | out at once: they end waits, so they never wait themselves |
//! | request | left, nothing waits | out, in the order of the calls; a told one uses up one credit |
//! | told request | used up | waits, and every later request behind it |
//! | request | above the bound in bytes | refused as busy |
//!
//! Credit is what keeps a slow receiver from growing either side: at most a window of told messages of one sender are under
//! way or in the receiver's mailbox (`window.rs`), beside an eighth of the mailbox whose credit is returned when they come.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BytesMut};

/// Bytes that may wait for one peer on one stream: one message of the largest size and as much again.
const MAX_BYTES: usize = 48 * 1024 * 1024;

/// Frames stand together in segments of this size, so that what waits neither moves nor needs twice its room while it grows,
/// and one write takes hundreds of small ones.
const SEGMENT_BYTES: usize = 64 * 1024;

/// The first segment of an empty queue: most often one message is all that comes.
const FIRST_BYTES: usize = 4 * 1024;

/// A larger frame has a segment of its own size: a segment's unused end is smaller than this.
const ALONE_BYTES: usize = SEGMENT_BYTES / 8;

/// The queue of one stream. Frames stand in it as they will be written, one behind the other.
#[derive(Debug)]
pub(crate) struct Outbox {
    ready: Segments,
    waiting: Segments,
    /// Of each told frame that waits: its bytes and those of what was asked behind it. The first that waits is a told one.
    groups: VecDeque<usize>,
    window: u32,
    credit: u32,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Outbox {
    /// To a peer that may be told so many messages before it returns credit.
    pub(crate) fn new(window: u32) -> Self {
        let (ready, waiting) = (Segments::default(), Segments::default());
        Self { ready, waiting, groups: VecDeque::new(), window, credit: window }
    }

    /// Queues a request of so many bytes, which `put` appends.
    pub(crate) fn request(&mut self, told: bool, bytes: usize, put: impl FnOnce(&mut BytesMut)) -> Result<(), Full> {
        if self.bytes() > 0 && self.bytes().saturating_add(bytes) > MAX_BYTES {
            return Err(Full);
        }
        if self.groups.is_empty() && self.pays(told) {
            self.ready.put(bytes, put);
            return Ok(());
        }
        match self.groups.back_mut() {
            Some(last) if !told => *last = last.saturating_add(bytes),
            _ => self.groups.push_back(bytes),
        }
        self.waiting.put(bytes, put);
        Ok(())
    }

    /// Queues what never waits.
    pub(crate) fn at_once(&mut self, frame: &[u8]) {
        self.ready.put(frame.len(), |out| out.extend_from_slice(frame));
    }

    /// The receiver has room for so many told messages more.
    pub(crate) fn grant(&mut self, messages: u32) {
        // More than was ever sent would be a peer's fault; the window bounds what it can gain by it.
        self.credit = self.credit.saturating_add(messages).min(self.window);
        let mut bytes = 0usize;
        while !self.groups.is_empty() && self.pays(true) {
            bytes = bytes.saturating_add(self.groups.pop_front().unwrap_or_default());
        }
        self.waiting.give(bytes, &mut self.ready);
    }

    /// Takes all that may be written now.
    pub(crate) fn take(&mut self) -> Segments {
        std::mem::take(&mut self.ready)
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.bytes == 0
    }

    /// Bytes that wait.
    const fn bytes(&self) -> usize {
        self.ready.bytes.saturating_add(self.waiting.bytes)
    }

    /// Empties it; how many told messages still waited for credit.
    pub(crate) fn clear(&mut self) -> u64 {
        let left = std::mem::replace(self, Self::new(self.window)).groups.len();
        u64::try_from(left).unwrap_or(u64::MAX)
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

/// Bytes one behind the other, in pieces that stay where they are.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    queue: VecDeque<BytesMut>,
    bytes: usize,
}

impl Segments {
    /// Appends so many bytes.
    fn put(&mut self, bytes: usize, put: impl FnOnce(&mut BytesMut)) {
        let fits = |last: &BytesMut| last.capacity().saturating_sub(last.len()) >= bytes;
        if !self.queue.back().is_some_and(fits) {
            let capacity = match bytes {
                large if large > ALONE_BYTES => large,
                small if self.queue.is_empty() => small.max(FIRST_BYTES),
                _ => SEGMENT_BYTES,
            };
            self.queue.push_back(BytesMut::with_capacity(capacity));
        }
        if let Some(last) = self.queue.back_mut() {
            put(last);
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Moves the first so many bytes behind those of another.
    fn give(&mut self, mut bytes: usize, to: &mut Self) {
        while bytes > 0
            && let Some(first) = self.queue.front_mut()
        {
            let moved = first.split_to(bytes.min(first.len()));
            if first.is_empty() {
                self.queue.pop_front();
            }
            bytes = bytes.saturating_sub(moved.len());
            self.bytes = self.bytes.saturating_sub(moved.len());
            to.bytes = to.bytes.saturating_add(moved.len());
            to.queue.push_back(moved);
        }
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&[], |first| first)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.queue);
        filled.map(|(slice, segment)| *slice = IoSlice::new(segment)).count()
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while written > 0
            && let Some(first) = self.queue.front_mut()
        {
            let part = written.min(first.len());
            first.advance(part);
            if first.is_empty() {
                self.queue.pop_front();
            }
            written = written.saturating_sub(part);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const WINDOW: u32 = 512;

    fn put(outbox: &mut Outbox, told: bool, frame: &[u8]) -> Result<(), Full> {
        outbox.request(told, frame.len(), |out| out.extend_from_slice(frame))
    }

    fn take(outbox: &mut Outbox) -> Vec<u8> {
        let mut taken = outbox.take();
        let (bytes, mut written) = (taken.bytes, Vec::new());
        while taken.has_remaining() {
            // As a socket does: some, whatever was offered.
            let mut slices = [IoSlice::new(&[]); 3];
            let offered = taken.chunks_vectored(&mut slices);
            let some: Vec<u8> = slices[..offered].iter().flat_map(|slice| slice.iter().copied()).take(100_000).collect();
            taken.advance(some.len());
            written.extend(some);
        }
        assert_eq!(written.len(), bytes);
        written
    }

    fn spent() -> Outbox {
        let mut outbox = Outbox::new(WINDOW);
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
        assert_eq!((take(&mut outbox), outbox.groups.len()), (b"a".to_vec(), 2));
        outbox.grant(1);
        assert_eq!(take(&mut outbox), b"122");
        outbox.grant(5);
        assert_eq!((take(&mut outbox), outbox.groups.len()), (b"3".to_vec(), 0));
        assert_eq!((outbox.bytes(), outbox.credit), (0, 4));
    }

    /// In whatever portions credit comes and wherever segments end.
    #[test]
    fn frames_leave_in_the_order_of_the_calls_and_none_before_its_credit() {
        let mut outbox = spent();
        let mut expected = Vec::new();
        for number in 0..40_000usize {
            let told = number % 7 != 3;
            // Some have a segment of their own.
            let size = if number % 1_000 == 0 { ALONE_BYTES + 1 } else { number % 40 + 1 };
            let frame = vec![u8::try_from(number % 251).unwrap(); size];
            put(&mut outbox, told, &frame).unwrap();
            expected.push((told, frame));
        }
        let mut expected = expected.into_iter().peekable();
        for portion in (1..=WINDOW).cycle().step_by(37) {
            outbox.grant(portion);
            let (mut due, mut left) = (Vec::new(), portion);
            while let Some((told, frame)) = expected.next_if(|(told, _)| !told || left > 0) {
                left -= u32::from(told);
                due.extend(frame);
            }
            assert!(take(&mut outbox) == due, "other frames than {portion} told ones and what was asked behind them");
            if expected.peek().is_none() {
                break;
            }
        }
        assert_eq!((outbox.bytes(), outbox.groups.len()), (0, 0));
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
    }

    /// Of any size that a frame has.
    #[test]
    fn what_waits_needs_hardly_more_room_than_its_bytes() {
        for size in [150, ALONE_BYTES - 1, ALONE_BYTES, ALONE_BYTES + 1, SEGMENT_BYTES / 2, SEGMENT_BYTES + 1] {
            let (mut outbox, frame) = (spent(), vec![0; size]);
            while put(&mut outbox, true, &frame).is_ok() {}
            let room: usize = outbox.waiting.queue.iter().map(BytesMut::capacity).sum();
            assert!(outbox.bytes() > MAX_BYTES - size && room < MAX_BYTES + MAX_BYTES / 7, "{room} for frames of {size}");
        }
    }

    #[test]
    fn a_peer_cannot_grant_itself_a_larger_window() {
        let mut outbox = Outbox::new(WINDOW);
        outbox.grant(u32::MAX);
        assert_eq!(outbox.credit, WINDOW);
    }
}
