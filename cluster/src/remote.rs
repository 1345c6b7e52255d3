//! A role as others see it: an address that follows restarts, with a deadline on every question.

use std::iter::{Once, once};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alys_proto::cluster;
use alys_proto::storage::{self, PostMessage, PostedMessage};
use alys_proto::wire::{decode_answer, encode_answer};
use alys_proto::{Ask, Inbox, Lane, Post, Refused, Role, Tell};
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::executor::Activity;
use crate::header::{Header, Stamp};
use crate::identity::{Identity, unix_millis};
use crate::lease::Lease;
use crate::mesh::Manner;
use crate::port::{Answer, Deliver, Incoming};
use crate::registry::{Policy, Registry, Target};
use crate::telemetry;

/// The largest batch of blocks (16 MiB) and what is around it. A frame above its limit would end the link, so size is
/// checked before sending.
pub(crate) const MAX_BODY_BYTES: usize = 20 * 1024 * 1024;

/// The address of a role. Cheap to clone; never hands out an actor reference.
pub struct Remote<I> {
    route: Route,
    from: Arc<Sender>,
    inbox: PhantomData<fn(I)>,
}

impl<I> Clone for Remote<I> {
    fn clone(&self) -> Self {
        Self { route: self.route.clone(), from: self.from.clone(), inbox: PhantomData }
    }
}

/// Who sends, stamped on every message.
pub(crate) struct Sender {
    identity: Identity,
    default_deadline: Duration,
    next_id: AtomicU64,
    pub(crate) lease: Lease,
    /// Something was posted.
    pub(crate) posted: Notify,
}

impl Sender {
    pub(crate) fn new(identity: Identity, default_deadline: Duration, lease: Lease) -> Arc<Self> {
        Arc::new(Self { identity, default_deadline, next_id: AtomicU64::new(0), lease, posted: Notify::new() })
    }

    /// Whether the process may send this.
    fn check<I: Inbox>(&self, name: &str) -> Result<(), Refused> {
        match self.lease.check() {
            Err(_none_yet) if I::method(name).is_some_and(|method| method.unfenced) => Ok(()),
            checked => checked,
        }
    }

    fn stamp(&self, deadline: Option<Duration>) -> Stamp {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Stamp {
            sequence: self.next_id.fetch_add(1, Ordering::Relaxed),
            deadline: deadline.map_or(0, |span| unix_millis().saturating_add(millis(span))),
            epoch: self.lease.epoch(),
            posted: 0,
            trace: telemetry::current_trace(),
        }
    }
}

#[derive(Clone)]
pub(crate) enum Route {
    /// A live instance of a role.
    Role(Registry, Role, Policy),
    /// One given instance: its role, or for the shell's own messages its inspector.
    Direct(Target),
    /// A test's probe.
    Probe(Deliver),
}

impl<I: Inbox> Remote<I> {
    pub(crate) const fn new(route: Route, from: Arc<Sender>) -> Self {
        Self { route, from, inbox: PhantomData }
    }

    pub(crate) const fn route(&self) -> &Route {
        &self.route
    }

    /// Asks and waits for the reply, at most the configured deadline.
    pub async fn ask<M: Ask<I>>(&self, message: M) -> Result<M::Reply, Refused> {
        self.ask_within(self.from.default_deadline, message).await
    }

    /// Asks and waits at most `deadline`, within which the role may also appear. `TooLate` and `Unreachable` leave the
    /// outcome unknown.
    pub async fn ask_within<M: Ask<I>>(&self, deadline: Duration, message: M) -> Result<M::Reply, Refused> {
        let _waiting = Activity::waiting_on(I::SERVICE, M::NAME, deadline);
        let until = Instant::now() + deadline;
        let body = encode(M::NAME, &message)?;
        let to = self.route.find(until).await.ok_or_else(|| Refused::Unreachable(I::SERVICE.to_owned()))?;
        let stamp = self.from.stamp(Some(until.saturating_duration_since(Instant::now())));
        self.from.check::<I>(M::NAME)?;
        let answer = self.send(to, manner_of::<I>(), M::LANE, &stamp, M::NAME, body);
        match tokio::time::timeout_at(until, answer).await {
            Ok(answer) => decode_answer(&answer?).inspect_err(|refused| {
                if matches!(refused, Refused::Fenced(_)) {
                    self.from.lease.doubt();
                }
            }),
            Err(_elapsed) => Err(Refused::TooLate(format!("{}.{} did not answer within {deadline:?}", I::SERVICE, M::NAME))),
        }
    }

    /// Tells the role something. Never waits; `Ok` says that it was sent, not that it arrived.
    pub fn tell<M: Tell<I>>(&self, message: M) -> Result<(), Refused> {
        let length = length_of(M::NAME, &message)?;
        let to = self.route.find_now().ok_or_else(|| Refused::Unreachable(I::SERVICE.to_owned()))?;
        let stamp = self.from.stamp(None);
        self.from.check::<I>(M::NAME)?;
        match to {
            To::Instance(Target::Peer(peer)) => {
                let put_body = |out: &mut BytesMut| {
                    // Fails only where there is no room; a `BytesMut` makes some.
                    let _encoded = message.encode(out);
                };
                peer.channel(M::LANE).tell(&stamp, M::NAME, length, put_body)
            }
            To::Instance(Target::Own(_, doors)) => {
                doors.enter(&mut self.incoming(stamp, M::NAME, message.encode_to_vec(), Answer::Told(None)));
                Ok(())
            }
            To::Probe(deliver) => {
                deliver(&mut self.incoming(stamp, M::NAME, message.encode_to_vec(), Answer::Told(None)));
                Ok(())
            }
        }
    }

    async fn send(&self, to: To, manner: Manner, lane: Lane, stamp: &Stamp, name: &str, body: Vec<u8>) -> Result<Bytes, Refused> {
        let deliver: Deliver = match to {
            To::Instance(Target::Peer(peer)) => return peer.channel(lane).ask(manner, stamp, name, &body).await,
            To::Instance(Target::Own(_, doors)) => Arc::new(move |incoming| match manner {
                Manner::Inspect => doors.inspect(incoming),
                Manner::Ask | Manner::Tell | Manner::Post => doors.enter(incoming),
            }),
            To::Probe(deliver) => deliver,
        };
        let (sender, answer) = tokio::sync::oneshot::channel();
        // A dropped receiver means that the asker stopped waiting.
        let port = Box::new(move |answer| drop(sender.send(encode_answer(answer))));
        deliver(&mut self.incoming(*stamp, name, body, Answer::Asked(port)));
        let gone = || Refused::Unreachable(format!("{} went away while {name} was under way", I::SERVICE));
        answer.await.map(Bytes::from).map_err(|_closed| gone())
    }

    fn incoming<'a>(&self, stamp: Stamp, name: &'a str, body: Vec<u8>, answer: Answer) -> Once<Incoming<'a>> {
        once(Incoming { name, header: Header::new(&self.from.identity, stamp), body: body.into(), answer })
    }
}

impl<I: Inbox> Remote<I> {
    /// Has a message delivered at least once, whatever dies meanwhile: when this returns it is on disk, and it stays there until
    /// the role has handled it. An error leaves the outcome unknown; posting it again while it waits changes nothing.
    pub async fn post<M: Post<I>>(&self, message: M) -> Result<(), Refused> {
        let body = encode(M::NAME, &message)?;
        let Route::Role(registry, receiver, _) = &self.route else {
            // A test's probe is always there.
            return self.tell(message);
        };
        let route = Route::Role(registry.clone(), Role::Storage, Policy::Singleton);
        let storage: Remote<storage::Inbox> = Remote::new(route, self.from.clone());
        let traceparent = telemetry::current_trace().map(|trace| trace.to_string()).unwrap_or_default();
        storage.ask(PostMessage { receiver: (*receiver).into(), method: M::NAME.to_owned(), body, traceparent }).await?;
        self.from.posted.notify_one();
        Ok(())
    }
}

impl Cluster {
    /// Takes a posted message to its receiver; `Ok`: it is handled.
    pub(crate) async fn deliver(&self, message: &PostedMessage, deadline: Duration) -> Result<(), Refused> {
        let until = Instant::now() + deadline;
        let receiver = message.receiver();
        let found = tokio::time::timeout_at(until, self.registry.wait_for(receiver, Policy::Singleton)).await;
        let Ok(Target::Peer(peer)) = found else { return Err(Refused::Unreachable(receiver.to_string())) };
        // It does not expire in the mailbox: it would only be sent again.
        let stamp = Stamp { posted: message.number, trace: message.traceparent.parse().ok(), ..self.sender.stamp(None) };
        self.sender.lease.check()?;
        let answer = peer.channel(Lane::Normal).ask(Manner::Post, &stamp, &message.method, &message.body);
        match tokio::time::timeout_at(until, answer).await {
            Ok(answer) => decode_answer::<alys_proto::common::Told>(&answer?).map(drop),
            Err(_elapsed) => Err(Refused::TooLate(format!("{receiver} did not acknowledge within {deadline:?}"))),
        }
    }
}

/// The shell's own messages go to the inspector.
fn manner_of<I: Inbox>() -> Manner {
    if I::SERVICE == cluster::Inbox::SERVICE { Manner::Inspect } else { Manner::Ask }
}

fn encode<M: alys_proto::Message>(name: &str, message: &M) -> Result<Vec<u8>, Refused> {
    length_of(name, message).map(|_| message.encode_to_vec())
}

/// Bytes of a message's body.
fn length_of<M: alys_proto::Message>(name: &str, message: &M) -> Result<usize, Refused> {
    let length = message.encoded_len();
    if length > MAX_BODY_BYTES {
        return Err(Refused::Malformed(format!("{name} has {length} bytes; a message may have {MAX_BODY_BYTES}")));
    }
    Ok(length)
}

enum To {
    Instance(Target),
    Probe(Deliver),
}

impl Route {
    fn find_now(&self) -> Option<To> {
        match self {
            Self::Role(registry, role, policy) => registry.find(*role, *policy).map(To::Instance),
            Self::Direct(target) => Some(To::Instance(target.clone())),
            Self::Probe(deliver) => Some(To::Probe(deliver.clone())),
        }
    }

    async fn find(&self, until: Instant) -> Option<To> {
        if let Some(found) = self.find_now() {
            return Some(found);
        }
        let Self::Role(registry, role, policy) = self else { return None };
        tokio::time::timeout_at(until, registry.wait_for(*role, *policy)).await.ok().map(To::Instance)
    }
}
