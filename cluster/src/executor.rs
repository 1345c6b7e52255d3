//! Takes one message at a time from the mailbox and lets the role handle it, under a span, a deadline check and a
//! record of what is being done that the inspector can read while a handler hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use alys_proto::cluster::{Header, Health};
use alys_proto::{Inbox, Refused};
use opentelemetry::trace::SpanContext;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::actor::{Cx, LocalSender, RoleActor, Status};
use crate::exit::ActorError;
use crate::identity::unix_millis;
use crate::mailbox::Shared;
use crate::metrics::{Figure, RoleMetrics};
use crate::port::{Answer, Envelope, Gate, Item};
use crate::progress::InHand;
use crate::telemetry;

tokio::task_local! {
    static ACTIVITY: Arc<Activity>;
}

/// What the executor is doing right now, and what it has done.
#[derive(Default)]
pub(crate) struct Activity {
    pub(crate) handled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) expired: AtomicU64,
    current: Mutex<Current>,
    status: Mutex<Option<(Status, Instant)>>,
    metrics: Mutex<Option<Box<dyn RoleMetrics>>>,
    /// The span of this start.
    started: OnceLock<SpanContext>,
}

struct Current {
    in_flight: Option<(&'static str, Instant)>,
    /// How long it may be quiet, where its .proto says.
    longest: Option<Duration>,
    /// The last sign of progress.
    ticked: Instant,
    /// Answers that the handler awaits, oldest first, and until when.
    waiting_on: Vec<(u64, String, Instant)>,
    waits: u64,
}

impl Default for Current {
    fn default() -> Self {
        Self { in_flight: None, longest: None, ticked: Instant::now(), waiting_on: Vec::new(), waits: 0 }
    }
}

/// Clears the wait-for edge when the question ends, also when it is cancelled: that is a sign of progress.
pub struct Waiting(Option<(Arc<Activity>, u64)>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((activity, number)) = &self.0 {
            let mut current = activity.lock();
            current.waiting_on.retain(|(waiting, ..)| waiting != number);
            current.ticked = Instant::now();
        }
    }
}

/// Says that the handler of this task waits for something that another task or role does, at most so long, until the
/// value is dropped: it does not count as wedged meanwhile. `Remote` does this for every question. No-op outside a handler.
pub fn waiting_for(what: impl Into<String>, at_most: Duration) -> Waiting {
    Activity::wait(|| what.into(), at_most)
}

impl Activity {
    /// Records that the handler of this task waits for somebody. No-op outside a handler.
    pub(crate) fn waiting_on(service: &str, name: &str, at_most: Duration) -> Waiting {
        Self::wait(|| format!("{service}.{name}"), at_most)
    }

    fn wait(what: impl FnOnce() -> String, at_most: Duration) -> Waiting {
        let Ok(activity) = ACTIVITY.try_with(Arc::clone) else { return Waiting(None) };
        let number = {
            let mut current = activity.lock();
            current.waits = current.waits.wrapping_add(1);
            let (number, now) = (current.waits, Instant::now());
            current.waiting_on.push((number, what(), now.checked_add(at_most).unwrap_or(now)));
            number
        };
        Waiting(Some((activity, number)))
    }

    /// A sign of progress of the message in hand.
    pub(crate) fn tick(&self) {
        self.lock().ticked = Instant::now();
    }

    /// The span of the start of the role whose handler this is. `None` outside of a handler.
    pub(crate) fn started() -> Option<SpanContext> {
        ACTIVITY.try_with(|activity| activity.started.get().cloned()).ok().flatten()
    }

    /// Name of the message in hand and since when, and whom its handler waits for.
    pub(crate) fn current(&self) -> (Option<(&'static str, Instant)>, Option<String>) {
        let current = self.lock();
        (current.in_flight, current.waiting_on.last().map(|(_, what, _)| what.clone()))
    }

    /// The role's last snapshot and when it was taken.
    pub(crate) fn status(&self) -> Option<(Status, Instant)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Name of the message in hand and its age.
    pub(crate) fn in_flight(&self) -> Option<(&'static str, Duration)> {
        self.lock().in_flight.map(|(name, since)| (name, since.elapsed()))
    }

    /// The message in hand as far as progress goes, and the time since the last sign of progress.
    pub(crate) fn sight(&self) -> (Option<InHand>, Duration) {
        let now = Instant::now();
        let current = self.lock();
        let quiet = now.saturating_duration_since(current.ticked);
        let awaits = current.waiting_on.iter().any(|(_, _, until)| *until >= now);
        (current.in_flight.map(|(name, _)| InHand { name, quiet, limit: current.longest, awaits }), quiet)
    }

    /// The role's own metrics, as of its last message.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.as_ref().map_or_else(Vec::new, |metrics| metrics.figures())
    }

    fn show(&self, status: Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some((status, Instant::now()));
    }

    fn begin(&self, name: &'static str, longest: Option<Duration>) {
        let mut current = self.lock();
        let now = Instant::now();
        (current.in_flight, current.longest, current.ticked) = (Some((name, now)), longest, now);
    }

    /// The handler's message and how long it took.
    fn end(&self, failed: bool) -> Option<(&'static str, Duration)> {
        let done = {
            let mut current = self.lock();
            current.ticked = Instant::now();
            current.in_flight.take().map(|(name, since)| (name, since.elapsed()))
        };
        self.handled.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How old what a busy role shows may be.
const SHOW_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Executor<A: RoleActor> {
    pub(crate) actor: A,
    pub(crate) mailbox: Arc<Shared<Item<A::Local>>>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) gate: Arc<Gate>,
    /// Turns true once: finish what waits, then stop.
    pub(crate) drain: watch::Receiver<bool>,
}

impl<A: RoleActor> Executor<A> {
    /// Runs until drained or until a handler returns an error. Gives the actor back for tests.
    pub(crate) async fn run(self) -> Result<A, ActorError> {
        let activity = self.activity.clone();
        ACTIVITY.scope(activity, self.serve()).await
    }

    async fn serve(mut self) -> Result<A, ActorError> {
        let mut cx = Cx::new(LocalSender::new(self.mailbox.clone()), self.activity.clone());
        self.activity.show(Status { health: Health::Starting, reason: String::new(), fields: Vec::new() });
        self.activity.begin("start", None);
        let span = telemetry::start_span(A::Inbox::SERVICE);
        // Set once: a process starts its role once.
        let _first = self.activity.started.set(telemetry::context_of(&span));
        let started = self.actor.start(&cx).instrument(span).await;
        self.activity.end(started.is_err());
        started?;
        self.show();
        tracing::info!("ready");

        let mut shown = Instant::now();
        while let Some(item) = self.next().await {
            self.handle(&mut cx, item).await?;
            // Under load a snapshot a message would cost more than the messages.
            if self.mailbox.lock().is_empty() || shown.elapsed() >= SHOW_EVERY {
                self.show();
                shown = Instant::now();
            }
        }
        self.actor.stop(&cx).await;
        Ok(self.actor)
    }

    fn show(&self) {
        self.activity.show(self.actor.status());
        *self.activity.metrics.lock().unwrap_or_else(PoisonError::into_inner) = self.actor.metrics();
    }

    /// The next message, or `None` when draining and nothing waits.
    async fn next(&mut self) -> Option<Item<A::Local>> {
        if !*self.drain.borrow() {
            tokio::select! {
                biased;
                (_, item) = self.mailbox.take() => return Some(item),
                _drain_began_or_shell_gone = self.drain.wait_for(|draining| *draining) => {}
            }
        }
        // Timers may go on for ever; a drain finishes only what others sent.
        loop {
            match self.mailbox.try_take()?.1 {
                Item::Local(_) => {}
                wire @ Item::Wire(_) => return Some(wire),
            }
        }
    }

    async fn handle(&mut self, cx: &mut Cx<A>, item: Item<A::Local>) -> Result<(), ActorError> {
        let result = match item {
            Item::Local(message) => {
                cx.set_sender(Header::default());
                self.activity.begin("local", None);
                self.actor.local(cx, message).await
            }
            Item::Wire(envelope) => {
                let longest = envelope.method.longest;
                let Some((message, header)) = self.open(envelope) else { return Ok(()) };
                let span = telemetry::message_span(A::Inbox::SERVICE, message.name(), &header);
                self.activity.begin(message.name(), longest);
                cx.set_sender(header);
                self.actor.handle(cx, message).instrument(span).await
            }
        };
        if let Some((name, took)) = self.activity.end(result.is_err()) {
            self.gate.counts.handled(name, took, result.is_err());
        }
        result
    }

    /// Decodes a message, unless nobody waits for it any more.
    fn open(&self, envelope: Envelope) -> Option<(A::Inbox, Header)> {
        let Envelope { method, header, body, answer } = envelope;
        let deadline = header.deadline_unix_millis;
        if deadline != 0 && unix_millis() > deadline {
            self.activity.expired.fetch_add(1, Ordering::Relaxed);
            let refused = Refused::TooLate(format!("{} expired in the mailbox", method.name));
            self.gate.counts.refused(Some(method.name), &refused);
            answer.refuse(refused);
            return None;
        }
        let (port, credit) = match answer {
            Answer::Asked(port) => (Some(port), None),
            Answer::Told(credit) => (None, credit),
        };
        match A::Inbox::decode(method.name, &body, port) {
            Ok(message) => Some((message, header)),
            Err(refused) => {
                self.gate.malformed.fetch_add(1, Ordering::Relaxed);
                self.gate.counts.refused(Some(method.name), &refused);
                if let Some(credit) = credit {
                    credit.refuse(refused);
                }
                None
            }
        }
    }
}
