//! How a typed message becomes bytes and back, and how every question gets an answer.
//!
//! | what happened to the message | the asker gets |
//! |---|---|
//! | handled | the reply |
//! | the role could not do it | `Failed` with its reason |
//! | mailbox full | `Busy` |
//! | role not ready, draining, or handler died | `NotReady` |
//! | name not in the receiver's inbox | `Unknown` |
//! | body does not decode | `Malformed` |
//! | deadline passed before or while it ran | `TooLate` (outcome unknown if it had started) |
//! | sender may not send it | `Unauthorised` |
//! | sender's lease epoch is stale | `Fenced` |
//! | no live instance of the role | `Unreachable` |

use std::marker::PhantomData;

use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::cluster::refusal::Kind;
use crate::cluster::{Answer, Refusal, answer};
use crate::{BackpressureStrategy, Delivery, Lane};

/// Why a message was not answered with its reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The mailbox is full: try again later.
    #[error("busy: {0}")]
    Busy(String),
    /// The role is starting, draining or restarting.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The receiver knows no such message.
    #[error("unknown message {0}")]
    Unknown(String),
    /// The body does not decode, or breaks the message's contract.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The sender's role may not send this.
    #[error("not authorised: {0}")]
    Unauthorised(String),
    /// The deadline passed. If the work had started its outcome is unknown.
    #[error("too late: {0}")]
    TooLate(String),
    /// The sender's lease is stale: it must stop acting.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The role tried and could not.
    #[error("{0}")]
    Failed(String),
    /// No live instance of the role is known here.
    #[error("{0} is unreachable")]
    Unreachable(String),
}

impl Refused {
    /// Whether the same message may succeed later without anything else changing.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::NotReady(_) | Self::TooLate(_) | Self::Unreachable(_))
    }
}

/// What the .proto says of one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name, which is the name on the wire.
    pub name: &'static str,
    /// Nobody waits for an answer.
    pub told: bool,
    /// The mailbox lane it waits in.
    pub lane: Lane,
    /// What a full mailbox does with it.
    pub backpressure: BackpressureStrategy,
    /// Longest time that its handler may work without a sign of progress, where the .proto says one.
    pub longest: Option<std::time::Duration>,
    /// Whether it survives the death of its receiver.
    pub delivery: Delivery,
    /// Taken also from a sender whose lease is not current.
    pub unfenced: bool,
}

/// Everything that can enter one service, decoded. Implemented by the generated `Inbox` enums only.
pub trait Inbox: Sized + Send + 'static {
    /// The role's name, or `cluster` for the inspector that all roles have.
    const SERVICE: &'static str;
    /// Its methods, in the order of the .proto.
    const METHODS: &'static [Method];

    /// Decodes a message. What cannot be decoded is refused through `port` before this returns.
    fn decode(name: &str, body: &[u8], port: Option<ReplyPort>) -> Result<Self, Refused>;
    /// The method's name.
    fn name(&self) -> &'static str;
    /// The message as text, for people; fields marked secret are redacted.
    fn describe(name: &str, body: &[u8]) -> String;

    /// What the .proto says of a method.
    fn method(name: &str) -> Option<&'static Method> {
        Self::METHODS.iter().find(|method| method.name == name)
    }
}

/// A message that service `I` is asked; somebody waits for the reply.
pub trait Ask<I: Inbox>: Message + Default + std::fmt::Debug + 'static {
    /// The reply's type.
    type Reply: Message + Default + 'static;
    /// The method's name.
    const NAME: &'static str;
    /// The lane it travels and waits in.
    const LANE: Lane;
}

/// A message that service `I` is told; nobody waits.
pub trait Tell<I: Inbox>: Message + Default + std::fmt::Debug + 'static {
    /// The method's name.
    const NAME: &'static str;
    /// The lane it travels and waits in.
    const LANE: Lane;
}

/// A message that is kept until its receiver has handled it: `delivery = AT_LEAST_ONCE` in the .proto.
pub trait Post<I: Inbox>: Tell<I> {}

/// Where the bytes of an answer go. Called once.
pub type ReplyPort = Box<dyn FnOnce(Result<Vec<u8>, Refused>) + Send>;

/// The typed end of a question. Dropping it unanswered refuses with `NotReady`, so no asker hangs on a handler that died.
pub struct Reply<T> {
    port: Option<ReplyPort>,
    reply: PhantomData<fn(T)>,
}

impl<T: Message> Reply<T> {
    /// Wraps a port.
    pub fn new(port: ReplyPort) -> Self {
        Self { port: Some(port), reply: PhantomData }
    }

    /// Answers.
    pub fn send(self, reply: T) {
        self.answer(Ok(reply));
    }

    /// Refuses.
    pub fn refuse(self, refused: Refused) {
        self.answer(Err(refused));
    }

    /// Answers or refuses.
    pub fn answer(mut self, answer: Result<T, Refused>) {
        if let Some(port) = self.port.take() {
            port(answer.map(|reply| reply.encode_to_vec()));
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(port) = self.port.take() {
            port(Err(Refused::NotReady("the handler ended without an answer".into())));
        }
    }
}

/// Decodes a message that nobody waits for. Used by the generated code.
pub fn decode_told<M: Message + Default>(body: &[u8], port: Option<ReplyPort>) -> Result<M, Refused> {
    let decoded = M::decode(body).map_err(|cause| Refused::Malformed(cause.to_string()));
    match (decoded, port) {
        (Ok(message), None) => Ok(message),
        (Ok(message), Some(port)) => {
            // Asked although the .proto says told: the work is done, the empty answer says it was taken.
            port(Ok(Vec::new()));
            Ok(message)
        }
        (Err(refused), port) => Err(refuse(port, refused)),
    }
}

/// Decodes a message together with its reply port. Used by the generated code.
pub fn decode_asked<M, R>(body: &[u8], port: Option<ReplyPort>) -> Result<(M, Reply<R>), Refused>
where
    M: Message + Default,
    R: Message,
{
    let Some(port) = port else {
        return Err(Refused::Malformed("a question without a reply port".into()));
    };
    match M::decode(body) {
        Ok(message) => Ok((message, Reply::new(port))),
        Err(cause) => Err(refuse(Some(port), Refused::Malformed(cause.to_string()))),
    }
}

/// Sends a refusal to whoever waits, and returns it.
pub fn refuse(port: Option<ReplyPort>, refused: Refused) -> Refused {
    if let Some(port) = port {
        port(Err(refused.clone()));
    }
    refused
}

/// Which message it is, whoever repeats it under whatever id: SHA-256 over service, method and body, each behind its length.
pub fn digest(service: &str, method: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [service.as_bytes(), method.as_bytes(), body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Encodes what a port was called with, as it travels.
pub fn encode_answer(result: Result<Vec<u8>, Refused>) -> Vec<u8> {
    let answer = match result {
        Ok(reply) => answer::Answer::Reply(reply),
        Err(refused) => answer::Answer::Refusal(to_refusal(refused)),
    };
    Answer { answer: Some(answer) }.encode_to_vec()
}

/// Decodes an answer to the reply it carries.
pub fn decode_answer<R: Message + Default>(bytes: &[u8]) -> Result<R, Refused> {
    let malformed = |cause: prost::DecodeError| Refused::Malformed(format!("answer: {cause}"));
    match Answer::decode(bytes).map_err(malformed)?.answer {
        Some(answer::Answer::Reply(reply)) => R::decode(reply.as_slice()).map_err(malformed),
        Some(answer::Answer::Refusal(refusal)) => Err(from_refusal(refusal)),
        None => Err(Refused::Malformed("empty answer".into())),
    }
}

fn to_refusal(refused: Refused) -> Refusal {
    let (kind, reason) = match refused {
        Refused::Busy(reason) => (Kind::Busy, reason),
        Refused::NotReady(reason) | Refused::Unreachable(reason) => (Kind::NotReady, reason),
        Refused::Unknown(name) => (Kind::Unknown, name),
        Refused::Malformed(reason) => (Kind::Malformed, reason),
        Refused::Unauthorised(reason) => (Kind::Unauthorised, reason),
        Refused::TooLate(reason) => (Kind::TooLate, reason),
        Refused::Fenced(reason) => (Kind::Fenced, reason),
        Refused::Failed(reason) => (Kind::Failed, reason),
    };
    Refusal { kind: kind.into(), reason }
}

fn from_refusal(refusal: Refusal) -> Refused {
    let kind = refusal.kind();
    let reason = refusal.reason;
    match kind {
        Kind::Busy => Refused::Busy(reason),
        Kind::NotReady => Refused::NotReady(reason),
        Kind::Unknown => Refused::Unknown(reason),
        Kind::Malformed => Refused::Malformed(reason),
        Kind::Unauthorised => Refused::Unauthorised(reason),
        Kind::TooLate => Refused::TooLate(reason),
        Kind::Fenced => Refused::Fenced(reason),
        Kind::Unspecified | Kind::Failed => Refused::Failed(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::storage;

    fn port() -> (ReplyPort, mpsc::Receiver<Result<Vec<u8>, Refused>>) {
        let (sender, receiver) = mpsc::channel();
        (Box::new(move |answer| sender.send(answer).expect("the test waits")), receiver)
    }

    #[test]
    fn a_question_reaches_its_variant_and_its_answer_returns() {
        let (port, answered) = port();
        let decoded = storage::Inbox::decode("GetHead", &storage::GetHead {}.encode_to_vec(), Some(port)).expect("own message");
        let storage::Inbox::GetHead(_, reply) = decoded else { panic!("wrong variant") };
        reply.send(storage::Head { height: 7, hash: vec![1; 32] });
        let bytes = encode_answer(answered.recv().expect("answered"));
        assert_eq!(decode_answer::<storage::Head>(&bytes).expect("a reply").height, 7);
    }

    #[test]
    fn nothing_is_lost_in_silence() {
        let (first, answered) = port();
        assert!(storage::Inbox::decode("NoSuch", &[], Some(first)).is_err());
        assert_eq!(answered.recv().expect("answered"), Err(Refused::Unknown("NoSuch".into())));

        let (second, answered) = port();
        assert!(storage::Inbox::decode("GetBlocks", &[0xff], Some(second)).is_err());
        assert!(matches!(answered.recv().expect("answered"), Err(Refused::Malformed(_))));

        let (third, answered) = port();
        drop(storage::Inbox::decode("GetHead", &[], Some(third)));
        assert!(matches!(answered.recv().expect("answered"), Err(Refused::NotReady(_))));
    }

    #[test]
    fn a_digest_tells_apart_where_one_part_ends_and_the_next_begins() {
        assert_eq!(digest("a", "b", b"c"), digest("a", "b", b"c"));
        assert_ne!(digest("a", "b", b"c"), digest("ab", "", b"c"));
        assert_ne!(digest("a", "b", b"c"), digest("a", "bc", b""));
    }

    #[test]
    fn options_of_the_proto_reach_the_inbox() {
        let method = storage::Inbox::method("AppendWal").expect("declared");
        assert_eq!((method.lane, method.backpressure), (Lane::Control, BackpressureStrategy::NeverDrop));
        let longest = |name| storage::Inbox::method(name).expect("declared").longest.map(|longest| longest.as_secs());
        assert_eq!((longest("AppendWal"), longest("GetHead")), (Some(30), None));
    }
}
