//! A role as others see it: an address that follows restarts, with a deadline on every question.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alys_proto::cluster::Header;
use alys_proto::wire::decode_answer;
use alys_proto::{Ask, Inbox, Message as _, Refused, Role, SCHEMA, Tell};
use ractor::ActorRef;
use tokio::time::Instant;

use crate::executor::Activity;
use crate::identity::{Identity, unix_millis};
use crate::port::{Deliver, Wire};
use crate::registry::Registry;
use crate::telemetry;

/// A frame above the session's limit kills the session after the send was accepted, so size is checked before it.
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
}

impl Sender {
    pub(crate) fn new(identity: Identity, default_deadline: Duration) -> Arc<Self> {
        Arc::new(Self { identity, default_deadline, next_id: AtomicU64::new(0) })
    }

    fn header(&self, deadline: Option<Duration>) -> Vec<u8> {
        let count = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut message_id = self.identity.incarnation.to_bytes();
        message_id.extend(count.to_be_bytes());
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Header {
            message_id,
            sender: self.identity.role.into(),
            incarnation: self.identity.incarnation.to_bytes(),
            traceparent: telemetry::current_traceparent(),
            deadline_unix_millis: deadline.map_or(0, |span| unix_millis().saturating_add(millis(span))),
            schema: SCHEMA,
            epoch: 0,
        }
        .encode_to_vec()
    }
}

#[derive(Clone)]
pub(crate) enum Route {
    /// The live instance of a role in the mesh.
    Role(Registry, Role),
    /// One given port: an inspector, an instance by name.
    Direct(ActorRef<Wire>, &'static str),
    /// A test's probe.
    Probe(Deliver),
}

impl<I: Inbox> Remote<I> {
    pub(crate) const fn new(route: Route, from: Arc<Sender>) -> Self {
        Self { route, from, inbox: PhantomData }
    }

    /// Asks and waits for the reply, at most the configured deadline.
    pub async fn ask<M: Ask<I>>(&self, message: M) -> Result<M::Reply, Refused> {
        self.ask_within(self.from.default_deadline, message).await
    }

    /// Asks and waits at most `deadline`, within which the role may also appear. `TooLate` and `Unreachable` leave the
    /// outcome unknown.
    pub async fn ask_within<M: Ask<I>>(&self, deadline: Duration, message: M) -> Result<M::Reply, Refused> {
        let _waiting = Activity::waiting_on(I::SERVICE, M::NAME);
        let until = Instant::now() + deadline;
        let body = encode(M::NAME, &message)?;
        let port = self.route.find(until).await.ok_or_else(|| Refused::Unreachable(I::SERVICE.to_owned()))?;
        let (sender, answer) = ractor::concurrency::oneshot();
        let left = until.saturating_duration_since(Instant::now());
        port.send(Wire {
            name: M::NAME.to_owned(),
            header: self.from.header(Some(left)),
            body,
            reply: Some((sender, left).into()),
        })?;
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(bytes)) => decode_answer(&bytes),
            Ok(Err(_closed)) => Err(Refused::Unreachable(format!("{} went away while {} was under way", I::SERVICE, M::NAME))),
            Err(_elapsed) => Err(Refused::TooLate(format!("{}.{} did not answer within {deadline:?}", I::SERVICE, M::NAME))),
        }
    }

    /// Tells the role something. Never waits; `Ok` says that it was sent, not that it arrived.
    pub fn tell<M: Tell<I>>(&self, message: M) -> Result<(), Refused> {
        let body = encode(M::NAME, &message)?;
        let port = self.route.find_now().ok_or_else(|| Refused::Unreachable(I::SERVICE.to_owned()))?;
        port.send(Wire { name: M::NAME.to_owned(), header: self.from.header(None), body, reply: None })
    }
}

fn encode<M: alys_proto::Message>(name: &str, message: &M) -> Result<Vec<u8>, Refused> {
    let length = message.encoded_len();
    if length > MAX_BODY_BYTES {
        return Err(Refused::Malformed(format!("{name} has {length} bytes; a message may have {MAX_BODY_BYTES}")));
    }
    Ok(message.encode_to_vec())
}

enum Target {
    Actor(ActorRef<Wire>, &'static str),
    Probe(Deliver),
}

impl Target {
    fn send(self, message: Wire) -> Result<(), Refused> {
        match self {
            Self::Actor(actor, name) => actor.cast(message).map_err(|_gone| Refused::Unreachable(name.to_owned())),
            Self::Probe(deliver) => {
                deliver(message);
                Ok(())
            }
        }
    }
}

impl Route {
    fn find_now(&self) -> Option<Target> {
        match self {
            Self::Role(registry, role) => registry.port(*role).map(|port| Target::Actor(port, role.name())),
            Self::Direct(port, name) => Some(Target::Actor(port.clone(), name)),
            Self::Probe(deliver) => Some(Target::Probe(deliver.clone())),
        }
    }

    async fn find(&self, until: Instant) -> Option<Target> {
        let Self::Role(registry, role) = self else { return self.find_now() };
        let port = tokio::time::timeout_at(until, registry.wait_for(*role)).await.ok()?;
        Some(Target::Actor(port, role.name()))
    }
}
