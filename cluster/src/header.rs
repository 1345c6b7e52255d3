//! What is known of a message beside its body: who sends it, as its link proves, and what the sender stamped on it.
//! Small and without a heap, because every message has one; [`cluster::Header`] is its form in files and for people.

use std::fmt;
use std::str::FromStr;

use alys_proto::{Role, SCHEMA, cluster};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::identity::{Identity, Incarnation};

/// Header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's role; `Unspecified` for a role's own messages.
    pub sender: Role,
    /// The sender's start.
    pub incarnation: Incarnation,
    pub(crate) stamp: Stamp,
}

/// What is stamped on every message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts the sender's messages; behind its incarnation the message id.
    pub(crate) sequence: u64,
    /// Absolute, Unix milliseconds; 0: none.
    pub(crate) deadline: u64,
    /// Lease epoch of the sender's role; 0: holds none.
    pub(crate) epoch: u64,
    /// Number in the outbox of the sender's role; 0 unless posted.
    pub(crate) posted: u64,
    /// The span that it was sent in.
    pub(crate) trace: Option<Trace>,
}

/// W3C trace context, version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) flags: u8,
}

impl Default for Header {
    fn default() -> Self {
        Self::OWN
    }
}

impl Header {
    /// Of a role's own messages.
    pub(crate) const OWN: Self = Self {
        sender: Role::Unspecified,
        incarnation: Incarnation(0),
        stamp: Stamp { sequence: 0, deadline: 0, epoch: 0, posted: 0, trace: None },
    };

    pub(crate) const fn new(sender: &Identity, stamp: Stamp) -> Self {
        Self { sender: sender.role, incarnation: sender.incarnation, stamp }
    }

    /// Lease epoch of the sender's role; 0: it holds none.
    pub const fn epoch(&self) -> u64 {
        self.stamp.epoch
    }

    /// The same under another lease.
    pub(crate) const fn with_epoch(self, epoch: u64) -> Self {
        Self { stamp: Stamp { epoch, ..self.stamp }, ..self }
    }

    /// The sender's incarnation and the message's number; empty for a role's own messages.
    pub(crate) fn message_id(&self) -> Vec<u8> {
        if self.sender == Role::Unspecified {
            return Vec::new();
        }
        [self.incarnation.0.to_be_bytes(), self.stamp.sequence.to_be_bytes()].concat()
    }
}

impl From<Header> for cluster::Header {
    fn from(header: Header) -> Self {
        Self {
            message_id: header.message_id(),
            sender: header.sender.into(),
            incarnation: header.incarnation.to_bytes(),
            traceparent: header.stamp.trace.map(|trace| trace.to_string()).unwrap_or_default(),
            deadline_unix_millis: header.stamp.deadline,
            schema: SCHEMA,
            epoch: header.stamp.epoch,
            posted: header.stamp.posted,
        }
    }
}

impl From<&cluster::Header> for Header {
    /// What is missing or malformed in a file counts as none.
    fn from(header: &cluster::Header) -> Self {
        let number = header.message_id.get(8..).and_then(|bytes| bytes.try_into().ok());
        let stamp = Stamp {
            sequence: number.map_or(0, u64::from_be_bytes),
            deadline: header.deadline_unix_millis,
            epoch: header.epoch,
            posted: header.posted,
            trace: header.traceparent.parse().ok(),
        };
        let incarnation = Incarnation::from_bytes(&header.incarnation).unwrap_or(Incarnation(0));
        Self { sender: header.sender(), incarnation, stamp }
    }
}

impl Trace {
    /// Bytes on the wire.
    pub(crate) const BYTES: usize = 25;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [self.flags; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&bytes[..16]);
        span_id.copy_from_slice(&bytes[16..24]);
        Self { trace_id, span_id, flags: bytes[24] }
    }

    /// Of a span; `None`: it has no valid one.
    pub(crate) fn of(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        })
    }

    /// As the span of another process.
    pub(crate) fn context(self) -> SpanContext {
        let (trace_id, span_id) = (TraceId::from_bytes(self.trace_id), SpanId::from_bytes(self.span_id));
        SpanContext::new(trace_id, span_id, TraceFlags::new(self.flags), true, TraceState::default())
    }
}

/// As `traceparent` of the W3C.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex::encode(self.trace_id), hex::encode(self.span_id), self.flags)
    }
}

/// The text is no `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no W3C trace context")]
pub(crate) struct NoTrace;

impl FromStr for Trace {
    type Err = NoTrace;

    fn from_str(text: &str) -> Result<Self, NoTrace> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(NoTrace);
        if part()? != "00" {
            return Err(NoTrace);
        }
        let (mut trace_id, mut span_id, mut flags) = ([0; 16], [0; 8], [0; 1]);
        for bytes in [&mut trace_id[..], &mut span_id[..], &mut flags[..]] {
            hex::decode_to_slice(part()?, bytes).map_err(|_| NoTrace)?;
        }
        Ok(Self { trace_id, span_id, flags: flags[0] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The example of the W3C recommendation "Trace Context", section 3.2.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn trace_context_keeps_its_form() {
        let trace: Trace = EXAMPLE.parse().unwrap();
        assert_eq!(trace.to_string(), EXAMPLE);
        assert_eq!(Trace::from_bytes(&trace.to_bytes()), trace);
        assert_eq!(Trace::of(&trace.context()), Some(trace));
        for bad in ["", "00", "00-zz", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4b-00-01"] {
            assert_eq!(bad.parse::<Trace>(), Err(NoTrace), "{bad}");
        }
    }

    #[test]
    fn headers_come_back_from_files() {
        let stamp = Stamp { sequence: 7, deadline: 9, epoch: 3, posted: 4, trace: EXAMPLE.parse().ok() };
        let header = Header::new(&Identity::new(Role::Bridge, "bridge"), stamp);
        assert_eq!(Header::from(&cluster::Header::from(header)), header);
        assert_eq!(Header::from(&cluster::Header::default()), Header::default());
    }
}
