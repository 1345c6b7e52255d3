//! What unfinished gossip may hold. libp2p reads a frame into memory until it is whole, however long that takes, so sixty
//! peers with the beginning of a large one each would hold a gigabyte for nothing. Under all protocols, where bytes leave the
//! multiplexer, we see how far the frame of a gossip stream has come:
//!
//! | the frame | then |
//! |---|---|
//! | is not whole after [`Limits::patience`] | its stream ends; who opens another one is blamed for that |
//! | is above [`Limits::free`], and all of them together hold [`Limits::room`] | it is read on when others are whole or have ended |

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::StreamMuxer;
use libp2p::core::muxing::StreamMuxerEvent;
use tokio::time::{Instant, Sleep, sleep_until};

/// How much, and how long.
#[derive(Clone, Copy, Debug)]
struct Limits {
    patience: Duration,
    free: usize,
    room: usize,
}

const LIMITS: Limits = Limits {
    // The largest frame at 512 KiB/s, as for an answer.
    patience: Duration::from_secs(26),
    // Votes, transactions and usual blocks are read in any case: 192 connections with 64 KiB each are 12 MiB.
    free: 64 * 1024,
    // Five of the largest frames at once.
    room: 64 << 20,
};

/// How soon to look whether there is room.
const LOOK: Duration = Duration::from_millis(50);

/// How the name of gossip's protocol begins, whatever its version.
const GOSSIP: &[u8] = b"/meshsub/";

/// What all unfinished frames hold together.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished(Arc<Held>);

#[derive(Debug)]
struct Held {
    limits: Limits,
    bytes: AtomicUsize,
    ended: AtomicU64,
}

impl Default for Unfinished {
    fn default() -> Self {
        Self::within(LIMITS)
    }
}

impl Unfinished {
    fn within(limits: Limits) -> Self {
        Self(Arc::new(Held { limits, bytes: AtomicUsize::new(0), ended: AtomicU64::new(0) }))
    }

    /// Bytes held now.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Streams that were ended, since the start.
    pub(crate) fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// The streams of a connection, held to it.
    pub(crate) fn hold<M>(&self, muxer: M) -> Connection<M> {
        Connection { muxer, unfinished: self.clone() }
    }
}

/// A connection whose incoming streams are looked at.
pub(crate) struct Connection<M> {
    muxer: M,
    unfinished: Unfinished,
}

impl<M> StreamMuxer for Connection<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = Looked<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.muxer).poll_inbound(cx))?;
        Poll::Ready(Ok(Looked { stream, look: Some(Look::new(self.unfinished.clone())) }))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.muxer).poll_outbound(cx))?;
        Poll::Ready(Ok(Looked { stream, look: None }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.muxer).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

/// A stream, looked at when the peer has opened it.
pub(crate) struct Looked<S> {
    stream: S,
    look: Option<Look>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Looked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(look) = &mut self.look {
            ready!(look.may_read(cx))?;
        }
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let (Some(look), Some(bytes)) = (&mut self.look, buffer.get(..read)) {
            look.take(bytes);
        }
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Looked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

struct Look {
    frames: Frames,
    unfinished: Unfinished,
    /// Of the frame under way, counted in `unfinished`.
    held: usize,
    /// When the frame under way has to be whole, and who wakes the reader then or earlier.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Look {
    fn new(unfinished: Unfinished) -> Self {
        Self { frames: Frames::default(), unfinished, held: 0, timer: None }
    }

    fn may_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((end, timer)) = &mut self.timer else { return Poll::Ready(Ok(())) };
        let now = Instant::now();
        if now >= *end {
            self.unfinished.0.ended.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "a frame of gossip is not finished")));
        }
        let Limits { free, room, .. } = self.unfinished.0.limits;
        let must_wait = self.held >= free && self.unfinished.bytes() >= room;
        let next = if must_wait { (*end).min(now + LOOK) } else { *end };
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        if must_wait { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn take(&mut self, bytes: &[u8]) {
        let before = self.frames.whole;
        self.frames.take(bytes);
        let held = if self.frames.are_gossip { self.frames.held } else { 0 };
        self.hold(held);
        if held == 0 {
            self.timer = None;
        } else if self.timer.is_none() || self.frames.whole != before {
            let end = Instant::now() + self.unfinished.0.limits.patience;
            self.timer = Some((end, Box::pin(sleep_until(end))));
        }
    }

    fn hold(&mut self, bytes: usize) {
        self.unfinished.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.unfinished.0.bytes.fetch_sub(self.held, Ordering::Relaxed);
        self.held = bytes;
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// How far the frame under way has come: a length of seven bits a byte, and so many bytes. Gossip has this form, and so has
/// the choice of a protocol before it, in which the peer names gossip. On streams of another form this sees nonsense, and
/// nothing follows from it.
#[derive(Debug, Default)]
struct Frames {
    length: usize,
    shift: u32,
    left: usize,
    /// Bytes of the frame under way that are here.
    held: usize,
    begins: [u8; GOSSIP.len()],
    /// Frames that are whole.
    whole: u64,
    are_gossip: bool,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                let (part, behind) = bytes.split_at(here);
                self.keep_beginning(part);
                self.held = self.held.saturating_add(here);
                self.left = self.left.saturating_sub(here);
                bytes = behind;
            } else {
                bytes = rest;
                let digit = usize::from(first & 0x7f).checked_shl(self.shift).unwrap_or(0);
                self.length |= digit;
                self.shift = self.shift.saturating_add(7);
                if first & 0x80 != 0 {
                    continue;
                }
                self.left = std::mem::take(&mut self.length);
                self.shift = 0;
            }
            if self.left == 0 {
                self.are_gossip |= self.held > GOSSIP.len() && self.begins == GOSSIP;
                self.held = 0;
                self.whole = self.whole.saturating_add(1);
            }
        }
    }

    fn keep_beginning(&mut self, part: &[u8]) {
        let room = self.begins.get_mut(self.held..).unwrap_or_default();
        room.iter_mut().zip(part).for_each(|(place, byte)| *place = *byte);
    }
}

#[cfg(test)]
#[path = "unfinished_tests.rs"]
mod tests;
