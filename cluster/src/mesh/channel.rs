//! One stream between two processes: requests of both sides, answers by number, batches of whatever waits.
//!
//! A writer task takes everything that waits in one go, so the more is under way the fewer system calls a message costs, and
//! a message that comes alone is written at once. A reader task hands requests to this process's doors and answers to
//! whoever waits for them.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use alys_proto::Refused;
use alys_proto::wire::encode_answer as encode_result;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::frame::{self, Frame, Manner, Part, Request};
use super::outbox::{Full, Outbox, Segments};
use super::room::{Place, Room};
use super::window::Windows;
use crate::header::Stamp;

/// One read takes so much: two system calls a message without it. Messages that wait in the mailbox are parts of what was
/// read, so this is also what a small one may keep in memory until its neighbours are handled.
const READ_BYTES: usize = 64 * 1024;

/// So many frames of what was read are handed on together: few enough to stay in the nearest cache on their way, and that
/// whoever handles them begins before the last is there.
const TOGETHER: usize = 128;

/// With less room than this a new buffer is begun.
const LEAST_ROOM: usize = READ_BYTES / 4;

/// Questions of lane bulk that one sender may have under way: the window through which large ranges are pulled.
const BULK_WINDOW: usize = 16;

/// The sending half of a stream, and the questions that wait for answers on it.
pub(crate) struct Channel {
    desk: Mutex<Desk>,
    written: Notify,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    owed: AtomicU32,
    /// So much is returned at once.
    portion: u32,
    window: Option<Arc<Semaphore>>,
    losses: Arc<Losses>,
    room: Room,
    gone: AtomicBool,
}

/// What waits to be written, and who writes it.
struct Desk {
    outbox: Outbox,
    /// Stands here while there is nothing to write, unless the task of the stream is about to look anyway: one that wakes
    /// itself wakes another thread too, which then finds nothing to do.
    sleeper: Option<Waker>,
    writing: bool,
}

impl Desk {
    /// Nothing waits and nothing is being written.
    fn is_idle(&self) -> bool {
        self.outbox.is_idle() && !self.writing
    }
}

/// What was lost on the links of this process, by how.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Told messages that a peer did not take.
    pub(crate) returned: AtomicU64,
    /// Told messages that waited when their link ended.
    pub(crate) cut_off: AtomicU64,
    /// Frames that were none, or of an unknown kind.
    pub(crate) malformed: AtomicU64,
}

/// Takes its question off the list when nobody waits for the answer any more.
struct Waits<'a> {
    channel: &'a Channel,
    sequence: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.channel.waiting().remove(&self.sequence);
    }
}

/// Told messages that came together. Their credit is returned when they have found a mailbox with much room, or else when all
/// of them have left it, however.
struct Portion {
    channel: Arc<Channel>,
    messages: u32,
    returned: AtomicBool,
}

impl Portion {
    fn settle(&self) {
        if !self.returned.load(Ordering::Relaxed) && !self.returned.swap(true, Ordering::AcqRel) {
            self.channel.owe(self.messages);
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.settle();
    }
}

/// The part of one of them.
pub(crate) struct Credit {
    portion: Arc<Portion>,
    sequence: u64,
}

impl Credit {
    /// Tells the sender that its message was not taken.
    pub(crate) fn refuse(&self, refused: Refused) {
        self.portion.channel.at_once(&frame::encode_returned(self.sequence, &encode_result(Err(refused))));
    }

    /// Lets the sender send as many more as came together with the message: there is room.
    pub(crate) fn settle(&self) {
        self.portion.settle();
    }
}

/// How a request that arrived is answered.
pub(crate) enum Origin {
    /// Somebody waits for this.
    Asked(Answering),
    /// Nobody waits, but the sender learns when it is not taken.
    Told(Credit),
}

/// Where the answer to a question goes.
pub(crate) struct Answering {
    channel: Arc<Channel>,
    sequence: u64,
}

impl Answering {
    pub(crate) fn answer(self, answer: Result<Vec<u8>, Refused>) {
        self.channel.at_once(&frame::encode_answer(self.sequence, &encode_result(answer)));
    }
}

/// Requests that came together, in their order, read as they are taken.
pub(crate) type Requests<'r, 'a> = &'r mut (dyn Iterator<Item = (Request<'a>, Origin)> + 'r);

/// What arrives goes here.
pub(crate) trait Door: Send + Sync + 'static {
    /// Takes them all.
    fn requests(&self, requests: Requests<'_, '_>);
    /// Anything at all: the peer lives.
    fn heard(&self);
}

impl Channel {
    /// A stream that is not connected yet; what is sent already waits.
    pub(crate) fn new(bulk: bool, windows: Windows, losses: Arc<Losses>, room: Room) -> Arc<Self> {
        Arc::new(Self {
            desk: Mutex::new(Desk { outbox: Outbox::new(windows.out), sleeper: None, writing: false }),
            written: Notify::new(),
            waiting: Mutex::default(),
            owed: AtomicU32::new(0),
            portion: windows.portion(),
            window: bulk.then(|| Arc::new(Semaphore::new(BULK_WINDOW))),
            losses,
            room,
            gone: AtomicBool::new(false),
        })
    }

    /// Sends a question and waits for its answer, however long that takes: the caller has the deadline.
    pub(crate) async fn ask(&self, manner: Manner, stamp: &Stamp, name: &str, body: &[u8]) -> Result<Bytes, Refused> {
        let _in_window = match &self.window {
            // Never closed: the caller's deadline ends the wait.
            Some(window) => window.acquire().await.ok(),
            None => None,
        };
        let (sender, answer) = oneshot::channel();
        let sequence = stamp.sequence;
        self.waiting().insert(sequence, sender);
        let _waits = Waits { channel: self, sequence };
        self.request(manner, stamp, name, body.len(), |out| out.extend_from_slice(body))?;
        answer.await.map_err(|_gone| Refused::Unreachable(format!("it went away while {name} was under way")))
    }

    /// Sends what nobody waits for: `put_body` appends a body of so many bytes.
    pub(crate) fn tell(
        &self,
        stamp: &Stamp,
        name: &str,
        body: usize,
        put_body: impl FnOnce(&mut BytesMut),
    ) -> Result<(), Refused> {
        self.request(Manner::Tell, stamp, name, body, put_body)
    }

    fn request(
        &self,
        manner: Manner,
        stamp: &Stamp,
        name: &str,
        body: usize,
        put_body: impl FnOnce(&mut BytesMut),
    ) -> Result<(), Refused> {
        let bytes = frame::request_bytes(manner, stamp, name, body)?;
        let put = |out: &mut BytesMut| frame::put_request(out, bytes, manner, stamp, name, put_body);
        let queued = self.change(|outbox| outbox.request(manner == Manner::Tell, bytes, put));
        queued.map_err(|Full| Refused::Busy("too much waits to be sent to it".into()))?;
        // Checked behind the queueing: either `end` finds the message, or this finds the end.
        if self.gone.load(Ordering::Acquire) {
            return Err(Refused::Unreachable("it has gone".into()));
        }
        Ok(())
    }

    /// Sends what never waits.
    pub(crate) fn at_once(&self, frame: &[u8]) {
        if !self.gone.load(Ordering::Acquire) {
            self.change(|outbox| outbox.at_once(frame));
        }
    }

    /// Changes the outbox, and wakes the writer when it sleeps and there is something to write.
    fn change<R>(&self, change: impl FnOnce(&mut Outbox) -> R) -> R {
        let mut desk = self.desk();
        let changed = change(&mut desk.outbox);
        let sleeper = if desk.outbox.is_idle() { None } else { desk.sleeper.take() };
        drop(desk);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        changed
    }

    /// Questions under way: how loaded the peer is, seen from here.
    pub(crate) fn under_way(&self) -> usize {
        self.waiting().len()
    }

    /// The stream is gone: everybody who waits learns it.
    pub(crate) fn end(&self) {
        self.gone.store(true, Ordering::Release);
        self.waiting().clear();
        let lost = self.desk().outbox.clear();
        self.losses.cut_off.fetch_add(lost, Ordering::Relaxed);
        self.written.notify_waiters();
    }

    /// Waits until all that could be written is with the kernel.
    pub(crate) async fn flushed(&self) {
        loop {
            let written = self.written.notified();
            let idle = self.desk().is_idle();
            if idle || self.gone.load(Ordering::Acquire) {
                return;
            }
            written.await;
        }
    }

    /// Writes until the stream fails. Polled behind [`Self::read`], by the same task.
    pub(crate) async fn write<W: AsyncWrite + Unpin>(&self, mut stream: W) -> io::Result<()> {
        loop {
            let mut batch = poll_fn(|cx| self.poll_take(cx)).await;
            stream.write_all_buf(&mut batch).await?;
            stream.flush().await?;
        }
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Segments> {
        let mut desk = self.desk();
        desk.writing = !desk.outbox.is_idle();
        if desk.writing {
            return Poll::Ready(desk.outbox.take());
        }
        desk.sleeper = Some(cx.waker().clone());
        drop(desk);
        self.written.notify_waiters();
        Poll::Pending
    }

    /// Reads until the stream ends or fails, or the peer sends what is no frame. What is queued meanwhile wakes nobody, because
    /// the writer is polled next.
    pub(crate) async fn read<R: AsyncRead + Unpin>(self: &Arc<Self>, mut stream: R, door: &dyn Door) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let mut place: Option<Place<'_>> = None;
        loop {
            let read = stream.read_buf(&mut buffer);
            let count = if let Some(place) = &place { place.in_time(read).await? } else { read.await? };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            door.heard();
            self.desk().sleeper = None;
            let (end, begun) = frame::whole(&buffer).map_err(|length| self.foul(&format!("a frame of {length} bytes")))?;
            if end > 0 {
                for part in frame::parts(buffer.split_to(end).freeze(), TOGETHER) {
                    self.arrive(&part, door)?;
                }
                place = None;
            }
            if place.is_none() {
                place = self.room.enter(begun).await;
            }
            let missing = begun.saturating_sub(buffer.len());
            if buffer.capacity().saturating_sub(buffer.len()) < missing.max(LEAST_ROOM) {
                buffer.reserve(missing.max(READ_BYTES));
            }
        }
    }

    /// Takes in what came together.
    fn arrive(self: &Arc<Self>, part: &Part, door: &dyn Door) -> io::Result<()> {
        let portion = Arc::new(Portion { channel: self.clone(), messages: part.told, returned: AtomicBool::new(false) });
        let mut malformed = None;
        let frames = frame::frames(&part.bytes).take(part.frames);
        let frames = frames.map_while(|frame| frame.map_err(|found| malformed = Some(found)).ok());
        let mut requests = frames.filter_map(|frame| match frame {
            Frame::Request(request) => {
                let sequence = request.stamp.sequence;
                let origin = match request.manner {
                    Manner::Tell => Origin::Told(Credit { portion: portion.clone(), sequence }),
                    Manner::Ask | Manner::Inspect | Manner::Post => Origin::Asked(Answering { channel: self.clone(), sequence }),
                };
                Some((request, origin))
            }
            other => {
                self.take(other);
                None
            }
        });
        door.requests(&mut requests);
        malformed.map_or(Ok(()), |found| Err(self.foul(&found.to_string())))
    }

    /// So many told messages of the peer have left the mailbox.
    fn owe(&self, messages: u32) {
        let owed = self.owed.fetch_add(messages, Ordering::AcqRel).saturating_add(messages);
        if owed >= self.portion {
            let portion = self.owed.swap(0, Ordering::AcqRel);
            if portion > 0 {
                self.at_once(&frame::encode_credit(portion));
            }
        }
    }

    /// What is no request.
    fn take(&self, frame: Frame<'_>) {
        match frame {
            Frame::Answer { sequence, answer } => {
                // Nobody waits any more: its deadline was earlier.
                if let Some(sender) = self.waiting().remove(&sequence) {
                    let _too_late = sender.send(answer);
                }
            }
            Frame::Returned { .. } => {
                self.losses.returned.fetch_add(1, Ordering::Relaxed);
            }
            Frame::Credit { messages } => self.change(|outbox| outbox.grant(messages)),
            Frame::Request(_) | Frame::Ping => {}
            Frame::Unknown => {
                self.losses.malformed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn foul(&self, what: &str) -> io::Error {
        self.losses.malformed.fetch_add(1, Ordering::Relaxed);
        io::Error::new(io::ErrorKind::InvalidData, format!("the peer sent {what}"))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // No code under these locks panics half-way through a change.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Bytes>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
