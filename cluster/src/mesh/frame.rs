//! What travels on a stream between two processes. Pure.
//!
//! ```text
//! length u32 │ kind u8 │ …                                        all numbers big endian
//!   1 tell      sequence u64 │ deadline u64 │ epoch u64 │ name │ trace context │ body
//!   2 ask       the same, to the role
//!   3 inspect   the same, to its inspector
//!   4 answer    sequence u64 │ `Answer`
//!   5 returned  sequence u64 │ `Answer`: a told message that was not taken, and why
//!   6 credit    messages u32: so many told ones left the mailbox
//!   7 ping
//!   8 post      number in the outbox u64 │ as ask
//! ```
//! The name is a length byte and text, the trace context a length byte and its 25 bytes or none. Who sends is known from the
//! link, so it is not repeated. Released programs speak this too: `vectors.rs` holds it to bytes, and how it may grow is in
//! docs/crates/cluster.md.

use alys_proto::Refused;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::header::{Stamp, Trace};

/// The largest body plus its stamp.
pub(crate) const MAX_FRAME_BYTES: usize = 24 * 1024 * 1024;

/// Bytes of a frame's length.
const PREFIX: usize = 4;

/// Longest text that a length byte can announce.
const LONGEST_NAME: usize = 255;

const TELL: u8 = 1;
const ASK: u8 = 2;
const INSPECT: u8 = 3;
const ANSWER: u8 = 4;
const RETURNED: u8 = 5;
const CREDIT: u8 = 6;
const PING: u8 = 7;
const POST: u8 = 8;

/// How a request wants to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nobody waits.
    Tell,
    /// The role answers.
    Ask,
    /// The inspector answers.
    Inspect,
    /// The role acknowledges when it has handled it.
    Post,
}

/// A request as it arrives. Its body is a part of the bytes that were read, not a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) manner: Manner,
    pub(crate) stamp: Stamp,
    pub(crate) name: &'a str,
    pub(crate) body: Bytes,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Request(Request<'a>),
    Answer {
        sequence: u64,
        answer: Bytes,
    },
    Returned {
        sequence: u64,
        answer: Bytes,
    },
    Credit {
        messages: u32,
    },
    Ping,
    /// Of a newer program: counted and passed over.
    Unknown,
}

/// The bytes are no frame: the stream cannot be trusted any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed frame")]
pub(crate) struct Malformed;

/// How far the whole frames in `bytes` reach, and how much a frame that has only begun will have.
///
/// # Errors
/// A frame announces more than it may have: its length.
pub(crate) fn whole(bytes: &[u8]) -> Result<(usize, usize), usize> {
    let mut end = 0usize;
    while let Some(length) = bytes.get(end..).and_then(|rest| rest.first_chunk::<PREFIX>()) {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(length);
        }
        let frame = length.saturating_add(PREFIX);
        if bytes.len().saturating_sub(end) < frame {
            return Ok((end, frame));
        }
        end = end.saturating_add(frame);
    }
    Ok((end, 0))
}

/// Frames that came together.
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) frames: usize,
    /// So many of them are told.
    pub(crate) told: u32,
}

/// Bytes that hold only whole frames in parts of at most so many frames. Each part counts by itself who still needs it: when
/// the frames of one are let go, nobody waits for who makes or lets go those of another.
pub(crate) fn parts(mut chunk: Bytes, most: usize) -> impl Iterator<Item = Part> {
    std::iter::from_fn(move || {
        let (mut end, mut frames, mut told) = (0usize, 0usize, 0u32);
        for _ in 0..most {
            let Some((length, [kind, ..])) = chunk.get(end..).and_then(|rest| rest.split_first_chunk::<PREFIX>()) else { break };
            (frames, told) = (frames.saturating_add(1), told.saturating_add(u32::from(*kind == TELL)));
            end = end.saturating_add(PREFIX).saturating_add(usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX));
        }
        // A frame of no bytes at the very end has no kind, and is found malformed.
        let end = if end == 0 { chunk.len() } else { end.min(chunk.len()) };
        (end > 0).then(|| Part { bytes: Bytes::from_owner(chunk.split_to(end)), frames: frames.max(1), told })
    })
}

/// The frames of bytes that hold only whole ones.
pub(crate) fn frames(chunk: &Bytes) -> impl Iterator<Item = Result<Frame<'_>, Malformed>> {
    let mut rest: &[u8] = chunk;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<PREFIX>()?;
        let (frame, next) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        rest = next;
        Some(Frame::decode(chunk, frame))
    })
}

impl<'a> Frame<'a> {
    /// Reads what stands behind a length in `chunk`.
    fn decode(chunk: &'a Bytes, mut frame: &'a [u8]) -> Result<Self, Malformed> {
        let kind = frame.try_get_u8().map_err(|_| Malformed)?;
        let number = |frame: &mut &[u8]| frame.try_get_u64().map_err(|_| Malformed);
        Ok(match kind {
            TELL => Self::Request(request(Manner::Tell, chunk, frame)?),
            ASK => Self::Request(request(Manner::Ask, chunk, frame)?),
            INSPECT => Self::Request(request(Manner::Inspect, chunk, frame)?),
            POST => Self::Request(request(Manner::Post, chunk, frame)?),
            ANSWER => Self::Answer { sequence: number(&mut frame)?, answer: chunk.slice_ref(frame) },
            RETURNED => Self::Returned { sequence: number(&mut frame)?, answer: chunk.slice_ref(frame) },
            CREDIT => Self::Credit { messages: frame.try_get_u32().map_err(|_| Malformed)? },
            PING => Self::Ping,
            _ => Self::Unknown,
        })
    }
}

fn request<'a>(manner: Manner, chunk: &'a Bytes, mut rest: &'a [u8]) -> Result<Request<'a>, Malformed> {
    let mut number = || rest.try_get_u64().map_err(|_| Malformed);
    let posted = if manner == Manner::Post { number()? } else { 0 };
    let (sequence, deadline, epoch) = (number()?, number()?, number()?);
    let name = std::str::from_utf8(part(&mut rest)?).map_err(|_| Malformed)?;
    let trace = match part(&mut rest)? {
        [] => None,
        bytes => Some(Trace::from_bytes(bytes.try_into().map_err(|_| Malformed)?)),
    };
    Ok(Request { manner, stamp: Stamp { sequence, deadline, epoch, posted, trace }, name, body: chunk.slice_ref(rest) })
}

/// What stands behind a length byte.
fn part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (length, behind) = rest.split_first().ok_or(Malformed)?;
    let (part, next) = behind.split_at_checked(usize::from(*length)).ok_or(Malformed)?;
    *rest = next;
    Ok(part)
}

/// Bytes of a request on the wire, its length included.
///
/// # Errors
/// It is larger than a frame may be.
pub(crate) fn request_bytes(manner: Manner, stamp: &Stamp, name: &str, body: usize) -> Result<usize, Refused> {
    const FIXED: usize = 1 + 3 * 8 + 2;
    let posted = if manner == Manner::Post { 8 } else { 0 };
    let trace = if stamp.trace.is_some() { Trace::BYTES } else { 0 };
    let length = [posted, trace, name.len(), body].into_iter().fold(FIXED, usize::saturating_add);
    if length > MAX_FRAME_BYTES || name.len() > LONGEST_NAME {
        let said = format!("{name} has {length} bytes on the wire; a frame may have {MAX_FRAME_BYTES}");
        return Err(Refused::Malformed(said));
    }
    Ok(length.saturating_add(PREFIX))
}

/// Appends a request of so many bytes, as [`request_bytes`] counts them; `put_body` appends its body.
pub(crate) fn put_request(
    out: &mut BytesMut,
    bytes: usize,
    manner: Manner,
    stamp: &Stamp,
    name: &str,
    put_body: impl FnOnce(&mut BytesMut),
) {
    let kind = match manner {
        Manner::Tell => TELL,
        Manner::Ask => ASK,
        Manner::Inspect => INSPECT,
        Manner::Post => POST,
    };
    out.reserve(bytes);
    let length = u32::try_from(bytes.saturating_sub(PREFIX)).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[kind]);
    if manner == Manner::Post {
        out.extend_from_slice(&stamp.posted.to_be_bytes());
    }
    // In one piece: most of what is done for a small message is to look whether there is room.
    let mut numbers = [0; 25];
    numbers[..8].copy_from_slice(&stamp.sequence.to_be_bytes());
    numbers[8..16].copy_from_slice(&stamp.deadline.to_be_bytes());
    numbers[16..24].copy_from_slice(&stamp.epoch.to_be_bytes());
    numbers[24] = u8::try_from(name.len()).unwrap_or(0);
    out.extend_from_slice(&numbers);
    out.extend_from_slice(name.as_bytes());
    match &stamp.trace {
        Some(trace) => {
            out.put_u8(u8::try_from(Trace::BYTES).unwrap_or(0));
            out.extend_from_slice(&trace.to_bytes());
        }
        None => out.extend_from_slice(&[0]),
    }
    put_body(out);
}

/// An answer to a question.
pub(crate) fn encode_answer(sequence: u64, answer: &[u8]) -> Vec<u8> {
    numbered(ANSWER, sequence, answer)
}

/// Tells that a told message was not taken.
pub(crate) fn encode_returned(sequence: u64, answer: &[u8]) -> Vec<u8> {
    numbered(RETURNED, sequence, answer)
}

fn numbered(kind: u8, sequence: u64, answer: &[u8]) -> Vec<u8> {
    let length = 9usize.saturating_add(answer.len());
    let Some(mut frame) = begin(length, kind) else {
        let large = Refused::Failed(format!("the answer has {length} bytes; a frame may have {MAX_FRAME_BYTES}"));
        return numbered(kind, sequence, &alys_proto::wire::encode_answer(Err(large)));
    };
    frame.put_u64(sequence);
    frame.put_slice(answer);
    frame
}

/// So many told messages have left the mailbox.
pub(crate) fn encode_credit(messages: u32) -> Vec<u8> {
    let mut frame = begin(5, CREDIT).unwrap_or_default();
    frame.put_u32(messages);
    frame
}

/// A heartbeat.
pub(crate) fn encode_ping() -> Vec<u8> {
    begin(1, PING).unwrap_or_default()
}

fn begin(length: usize, kind: u8) -> Option<Vec<u8>> {
    let announced = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME_BYTES)?;
    let mut frame = Vec::with_capacity(length.saturating_add(PREFIX));
    frame.put_u32(announced);
    frame.put_u8(kind);
    Some(frame)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn encoded(manner: Manner, stamp: &Stamp, name: &str, body: &[u8]) -> BytesMut {
        let (mut out, bytes) = (BytesMut::new(), request_bytes(manner, stamp, name, body.len()).unwrap());
        put_request(&mut out, bytes, manner, stamp, name, |out| out.extend_from_slice(body));
        assert_eq!(out.len(), bytes, "as large as it was counted");
        out
    }

    proptest! {
        #[test]
        fn requests_come_back_from_one_chunk(
            sequence: u64, deadline: u64, epoch: u64, posted: u64, name in "[A-Za-z]{0,40}", traced: bool, trace: [u8; 16], body: Vec<u8>,
        ) {
            let trace = traced.then_some(Trace { trace_id: trace, span_id: [3; 8], flags: 1 });
            let (mut chunk, mut expected) = (BytesMut::new(), Vec::new());
            for manner in [Manner::Tell, Manner::Ask, Manner::Inspect, Manner::Post] {
                let posted = if manner == Manner::Post { posted } else { 0 };
                let stamp = Stamp { sequence, deadline, epoch, posted, trace };
                chunk.extend_from_slice(&encoded(manner, &stamp, &name, &body));
                expected.push(Ok(Frame::Request(Request { manner, stamp, name: &name, body: body.clone().into() })));
            }
            let length = chunk.len();
            prop_assert_eq!(whole(&chunk), Ok((length, 0)));
            prop_assert_eq!(whole(&chunk[..length - 1]).map(|(end, begun)| end + begun), Ok(length));
            let chunk = chunk.freeze();
            prop_assert_eq!(frames(&chunk).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn parts_are_whole_frames_in_their_order(bodies: Vec<Vec<u8>>, most in 1..9usize) {
            let mut chunk = BytesMut::new();
            for (number, body) in bodies.iter().enumerate() {
                let manner = if number % 3 == 0 { Manner::Ask } else { Manner::Tell };
                chunk.extend_from_slice(&encoded(manner, &Stamp::default(), "A", body));
            }
            let chunk = chunk.freeze();
            let mut expected = frames(&chunk);
            for part in parts(chunk.clone(), most) {
                let found: Vec<_> = frames(&part.bytes).collect();
                prop_assert!(!found.is_empty() && found.len() <= most && found.len() == part.frames);
                let is_told = |frame: &&Result<_, _>| matches!(frame, Ok(Frame::Request(Request { manner: Manner::Tell, .. })));
                prop_assert_eq!(found.iter().filter(is_told).count(), usize::try_from(part.told).unwrap());
                prop_assert_eq!(expected.by_ref().take(found.len()).collect::<Vec<_>>(), found);
            }
            prop_assert_eq!(expected.next(), None);
        }

        #[test]
        fn foreign_bytes_are_refused_or_passed_over(bytes: Vec<u8>, cut in 0..64usize) {
            let end = whole(&bytes).map_or(0, |(end, _)| end);
            frames(&Bytes::copy_from_slice(&bytes[..end])).for_each(drop);
            parts(Bytes::copy_from_slice(&bytes), cut).for_each(drop);
            let _never_panics = Frame::decode(&Bytes::copy_from_slice(&bytes), &[]);
            frames(&Bytes::copy_from_slice(&bytes[..bytes.len().min(cut)])).for_each(drop);
        }
    }

    #[test]
    fn the_small_frames_come_back() {
        let answer = Bytes::from_static(b"x");
        let chunk = [encode_answer(7, b"x"), encode_returned(8, b"x"), encode_credit(9), encode_ping()].concat().into();
        let expected = [
            Frame::Answer { sequence: 7, answer: answer.clone() },
            Frame::Returned { sequence: 8, answer },
            Frame::Credit { messages: 9 },
            Frame::Ping,
        ];
        assert!(frames(&chunk).eq(expected.into_iter().map(Ok)));
        let newer = Bytes::from_static(&[0, 0, 0, 3, 200, 1, 2]);
        assert_eq!(frames(&newer).next(), Some(Ok(Frame::Unknown)), "of a newer program");
        assert_eq!(frames(&Bytes::from_static(&[0; 4])).next(), Some(Err(Malformed)));
        assert_eq!(whole(&[0xff; 8]), Err(0xffff_ffff));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_sent() {
        let body = vec![0; MAX_FRAME_BYTES];
        assert!(request_bytes(Manner::Ask, &Stamp::default(), "A", body.len()).is_err());
        assert!(request_bytes(Manner::Ask, &Stamp::default(), &"A".repeat(256), 0).is_err());
        assert!(encode_answer(1, &body).len() < 200, "the asker learns why");
    }
}
