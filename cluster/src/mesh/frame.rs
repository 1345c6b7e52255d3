//! What travels on a stream between two processes. Pure.
//!
//! ```text
//! length u32 │ kind u8 │ …                                        all numbers big endian
//!   1 tell      sequence u64 │ deadline u64 │ epoch u64 │ name │ traceparent │ body
//!   2 ask       the same, to the role
//!   3 inspect   the same, to its inspector
//!   4 answer    sequence u64 │ `Answer`
//!   5 returned  sequence u64 │ `Answer`: a told message that was not taken, and why
//!   6 credit    messages u32: so many told ones left the mailbox
//!   7 ping
//!   8 post      number in the outbox u64 │ as ask
//! ```
//! `name` and `traceparent` are a length byte and text. Who sends is known from the link, so it is not repeated.

use alys_proto::Refused;
use bytes::{Buf as _, BufMut as _, Bytes};

/// The largest body plus its stamp.
pub(crate) const MAX_FRAME_BYTES: usize = 24 * 1024 * 1024;

/// Longest text that a length byte can announce.
const LONGEST_TEXT: usize = 255;

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

/// What is stamped on every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts the sender's messages; with its incarnation the message id.
    pub(crate) sequence: u64,
    /// Absolute, Unix milliseconds; 0: none.
    pub(crate) deadline: u64,
    /// Lease epoch of the sender's role; 0: holds none.
    pub(crate) epoch: u64,
    /// Number in the outbox of the sender's role; 0 unless posted.
    pub(crate) posted: u64,
    /// W3C trace context; empty: none.
    pub(crate) traceparent: String,
}

/// A request as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) manner: Manner,
    pub(crate) stamp: Stamp,
    pub(crate) name: String,
    pub(crate) body: Bytes,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Request(Request),
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

impl Frame {
    /// Reads what stood behind the length.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let kind = bytes.try_get_u8().map_err(|_| Malformed)?;
        let number = |bytes: &mut Bytes| bytes.try_get_u64().map_err(|_| Malformed);
        Ok(match kind {
            TELL => Self::Request(request(Manner::Tell, bytes)?),
            ASK => Self::Request(request(Manner::Ask, bytes)?),
            INSPECT => Self::Request(request(Manner::Inspect, bytes)?),
            POST => Self::Request(request(Manner::Post, bytes)?),
            ANSWER => Self::Answer { sequence: number(&mut bytes)?, answer: bytes },
            RETURNED => Self::Returned { sequence: number(&mut bytes)?, answer: bytes },
            CREDIT => Self::Credit { messages: bytes.try_get_u32().map_err(|_| Malformed)? },
            PING => Self::Ping,
            _ => Self::Unknown,
        })
    }
}

fn request(manner: Manner, mut bytes: Bytes) -> Result<Request, Malformed> {
    let mut number = || bytes.try_get_u64().map_err(|_| Malformed);
    let posted = if manner == Manner::Post { number()? } else { 0 };
    let (sequence, deadline, epoch) = (number()?, number()?, number()?);
    let name = text(&mut bytes)?;
    let traceparent = text(&mut bytes)?;
    Ok(Request { manner, stamp: Stamp { sequence, deadline, epoch, posted, traceparent }, name, body: bytes })
}

fn text(bytes: &mut Bytes) -> Result<String, Malformed> {
    let length = usize::from(bytes.try_get_u8().map_err(|_| Malformed)?);
    if bytes.len() < length {
        return Err(Malformed);
    }
    let text = bytes.split_to(length);
    std::str::from_utf8(&text).map(str::to_owned).map_err(|_| Malformed)
}

/// A request with its length, ready to be written.
///
/// # Errors
/// It is larger than a frame may be.
pub(crate) fn encode_request(manner: Manner, stamp: &Stamp, name: &str, body: &[u8]) -> Result<Vec<u8>, Refused> {
    const FIXED: usize = 1 + 3 * 8 + 2;
    // A trace context has 55 bytes; a longer one is not ours and is left out.
    let traceparent = Some(stamp.traceparent.as_str()).filter(|text| text.len() <= LONGEST_TEXT).unwrap_or_default();
    let fixed = if manner == Manner::Post { FIXED.saturating_add(8) } else { FIXED };
    let length = fixed.saturating_add(name.len()).saturating_add(traceparent.len()).saturating_add(body.len());
    let kind = match manner {
        Manner::Tell => TELL,
        Manner::Ask => ASK,
        Manner::Inspect => INSPECT,
        Manner::Post => POST,
    };
    let mut frame = begin(length, kind).filter(|_| name.len() <= LONGEST_TEXT).ok_or_else(|| {
        Refused::Malformed(format!("{name} has {length} bytes on the wire; a frame may have {MAX_FRAME_BYTES}"))
    })?;
    if manner == Manner::Post {
        frame.put_u64(stamp.posted);
    }
    frame.put_u64(stamp.sequence);
    frame.put_u64(stamp.deadline);
    frame.put_u64(stamp.epoch);
    for text in [name, traceparent] {
        frame.put_u8(u8::try_from(text.len()).unwrap_or(0));
        frame.put_slice(text.as_bytes());
    }
    frame.put_slice(body);
    Ok(frame)
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
    let mut frame = Vec::with_capacity(length.saturating_add(4));
    frame.put_u32(announced);
    frame.put_u8(kind);
    Some(frame)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn behind_length(frame: &[u8]) -> Bytes {
        let (length, rest) = frame.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, rest.len());
        Bytes::copy_from_slice(rest)
    }

    proptest! {
        #[test]
        fn requests_come_back(
            sequence: u64, deadline: u64, epoch: u64, posted: u64, name in "[A-Za-z]{0,40}", traceparent in "[0-9a-f-]{0,55}", body: Vec<u8>,
        ) {
            for manner in [Manner::Tell, Manner::Ask, Manner::Inspect, Manner::Post] {
                let posted = if manner == Manner::Post { posted } else { 0 };
                let stamp = Stamp { sequence, deadline, epoch, posted, traceparent: traceparent.clone() };
                let frame = encode_request(manner, &stamp, &name, &body).unwrap();
                let expected = Request { manner, stamp: stamp.clone(), name: name.clone(), body: body.clone().into() };
                prop_assert_eq!(Frame::decode(behind_length(&frame)), Ok(Frame::Request(expected)));
            }
        }

        #[test]
        fn foreign_bytes_are_refused_or_passed_over(bytes: Vec<u8>) {
            let _never_panics = Frame::decode(bytes.into());
        }
    }

    #[test]
    fn the_small_frames_come_back() {
        let answer = Bytes::from_static(b"x");
        for (bytes, expected) in [
            (encode_answer(7, b"x"), Frame::Answer { sequence: 7, answer: answer.clone() }),
            (encode_returned(8, b"x"), Frame::Returned { sequence: 8, answer }),
            (encode_credit(9), Frame::Credit { messages: 9 }),
            (encode_ping(), Frame::Ping),
        ] {
            assert_eq!(Frame::decode(behind_length(&bytes)), Ok(expected));
        }
        assert_eq!(Frame::decode(Bytes::from_static(&[200, 1, 2])), Ok(Frame::Unknown), "of a newer program");
        assert_eq!(Frame::decode(Bytes::new()), Err(Malformed));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_sent() {
        let body = vec![0; MAX_FRAME_BYTES];
        assert!(encode_request(Manner::Ask, &Stamp::default(), "A", &body).is_err());
        assert!(encode_answer(1, &body).len() < 200, "the asker learns why");
    }
}
