//! What a role is to the shell.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_proto::cluster::Health;
use alys_proto::{BackpressureStrategy, Inbox, Lane};

use crate::executor::Activity;
use crate::exit::ActorError;
use crate::header::Header;
use crate::lease::Lease;
use crate::mailbox::{Shared, Ticket};
use crate::metrics::RoleMetrics;
use crate::port::Item;

/// A role: the thin shell around its pure core. One message at a time, in the order of the mailbox.
pub trait RoleActor: Sized + Send + 'static {
    /// What others ask and tell it.
    type Inbox: Inbox;
    /// Its own timers and the answers of its own tasks.
    type Local: Send + 'static;

    /// Runs once, before any message; may wait for other roles. The role is `starting` until it returns.
    fn start(&mut self, cx: &Cx<Self>) -> impl Future<Output = Result<(), ActorError>> + Send;

    /// Handles a message. `Err` ends the process.
    fn handle(&mut self, cx: &Cx<Self>, message: Self::Inbox) -> impl Future<Output = Result<(), ActorError>> + Send;

    /// Handles a message of its own.
    fn local(&mut self, cx: &Cx<Self>, message: Self::Local) -> impl Future<Output = Result<(), ActorError>> + Send;

    /// Runs once after the last message of a drain.
    fn stop(&mut self, cx: &Cx<Self>) -> impl Future<Output = ()> + Send {
        let _nothing_to_flush = cx;
        async {}
    }

    /// What it shows: taken after every message, so it must be cheap.
    fn status(&self) -> Status;

    /// Its own metrics beside the shell's: taken after every message, so copying them must be cheap.
    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        None
    }
}

/// A role's own snapshot.
#[derive(Clone, Debug)]
pub struct Status {
    /// `Ready`, or `Degraded` when something it needs is away.
    pub health: Health,
    /// Why it is not ready.
    pub reason: String,
    /// Named values in a fixed order.
    pub fields: Vec<(&'static str, String)>,
}

impl Status {
    /// A healthy snapshot.
    pub fn ready(fields: Vec<(&'static str, String)>) -> Self {
        Self { health: Health::Ready, reason: String::new(), fields }
    }

    /// A snapshot of a role that works with something missing.
    pub fn degraded(reason: String, fields: Vec<(&'static str, String)>) -> Self {
        Self { health: Health::Degraded, reason, fields }
    }
}

/// What a handler has at hand.
pub struct Cx<A: RoleActor> {
    local: LocalSender<A::Local>,
    sender: Header,
    lease: Lease,
    activity: Arc<Activity>,
}

impl<A: RoleActor> Cx<A> {
    pub(crate) fn new(local: LocalSender<A::Local>, lease: Lease, activity: Arc<Activity>) -> Self {
        Self { local, sender: Header::default(), lease, activity }
    }

    /// Says that a long handler gets on. One that says nothing for its method's `longest_seconds` counts as wedged.
    pub fn progress(&self) {
        self.activity.tick();
    }

    pub(crate) const fn set_sender(&mut self, sender: Header) {
        self.sender = sender;
    }

    /// Where own tasks send their answers.
    pub const fn local(&self) -> &LocalSender<A::Local> {
        &self.local
    }

    /// Whether this process may act: to be checked before any effect that is no message to a role.
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Header of the message in hand; empty in `start`, `stop` and for own messages.
    pub const fn sender(&self) -> &Header {
        &self.sender
    }
}

/// Sends a role its own messages. They wait in the same mailbox and are never refused: the role itself bounds them.
pub struct LocalSender<L> {
    mailbox: Arc<Shared<Item<L>>>,
}

impl<L> Clone for LocalSender<L> {
    fn clone(&self) -> Self {
        Self { mailbox: self.mailbox.clone() }
    }
}

impl<L: Send + 'static> LocalSender<L> {
    pub(crate) const fn new(mailbox: Arc<Shared<Item<L>>>) -> Self {
        Self { mailbox }
    }

    /// Queues a message.
    pub fn send(&self, message: L) {
        let ticket = Ticket {
            name: "local",
            lane: Lane::Normal,
            backpressure: BackpressureStrategy::NeverDrop,
            bytes: 0,
            arrived: Instant::now(),
        };
        // Zero bytes under `NeverDrop` are always queued.
        let _queued = self.mailbox.push(ticket, Item::Local(message));
    }

    /// Queues a message after a while.
    pub fn send_after(&self, delay: Duration, message: L) {
        let sender = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            sender.send(message);
        });
    }
}
