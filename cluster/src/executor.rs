//! Takes one message at a time from the mailbox and lets the role handle it, under a span, a deadline check and a
//! record of what is being done that the inspector can read while a handler hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use alys_proto::cluster::Health;
use alys_proto::{Inbox, Refused};
use opentelemetry::trace::SpanContext;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::actor::{Cx, LocalSender, RoleActor, Status};
use crate::exit::ActorError;
use crate::handled::{Due, Handled};
use crate::header::Header;
use crate::identity::unix_millis;
use crate::inspect::{InFlight, Message, Passing, TaskWaiting, Times, Waits};
use crate::lease::Lease;
use crate::mailbox::{Shared, Ticket};
use crate::metrics::{Figure, RoleMetrics};
use crate::pack::{Content, Packed};
use crate::poison::Guard;
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
    in_flight: Option<InFlight>,
    times: Times,
    /// How long it may be quiet, where its .proto says.
    longest: Option<Duration>,
    /// The last sign of progress.
    ticked: Instant,
    /// Answers that the handler awaits, oldest first.
    awaited: Vec<Awaited>,
    waits: u64,
}

/// An answer that the handler awaits.
struct Awaited {
    number: u64,
    what: String,
    since: Instant,
    until: Instant,
}

impl Default for Current {
    fn default() -> Self {
        let (in_flight, times) = (None, Times::default());
        Self { in_flight, times, longest: None, ticked: Instant::now(), awaited: Vec::new(), waits: 0 }
    }
}

/// Clears the wait-for edge when the question ends, also when it is cancelled: that is a sign of progress.
pub struct Waiting(Waiter);

enum Waiter {
    Handler(Arc<Activity>, u64),
    /// Takes itself off its list.
    #[allow(dead_code, reason = "held for its drop")]
    Task(TaskWaiting),
    Nobody,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Waiter::Handler(activity, number) = &self.0 {
            let mut current = activity.lock();
            current.awaited.retain(|awaited| awaited.number != *number);
            current.ticked = Instant::now();
        }
    }
}

/// Says that the handler of this task waits for something that another task or role does, at most so long, until the
/// value is dropped: it does not count as wedged meanwhile. `Remote` does this for every question. No-op outside a handler.
pub fn waiting_for(what: impl Into<String>, at_most: Duration) -> Waiting {
    Activity::wait(|| what.into(), at_most).unwrap_or(Waiting(Waiter::Nobody))
}

impl Activity {
    /// Records that the handler of this task, or else a task of the role, waits for somebody.
    pub(crate) fn waiting_on(service: &'static str, name: &'static str, at_most: Duration) -> Waiting {
        let handler = Self::wait(|| format!("{service}.{name}"), at_most);
        handler.unwrap_or_else(|| Waiting(Waiter::Task(Waits::of_tasks().begin(service, name))))
    }

    /// `None` outside a handler.
    fn wait(what: impl FnOnce() -> String, at_most: Duration) -> Option<Waiting> {
        let activity = ACTIVITY.try_with(Arc::clone).ok()?;
        let number = {
            let mut current = activity.lock();
            current.waits = current.waits.wrapping_add(1);
            let (number, since) = (current.waits, Instant::now());
            let until = since.checked_add(at_most).unwrap_or(since);
            current.awaited.push(Awaited { number, what: what(), since, until });
            number
        };
        Some(Waiting(Waiter::Handler(activity, number)))
    }

    /// A sign of progress of the message in hand.
    pub(crate) fn tick(&self) {
        self.lock().ticked = Instant::now();
    }

    /// The span of the start of the role whose handler this is. `None` outside of a handler.
    pub(crate) fn started() -> Option<SpanContext> {
        ACTIVITY.try_with(|activity| activity.started.get().cloned()).ok().flatten()
    }

    /// The message in hand.
    pub(crate) fn message(&self) -> Option<InFlight> {
        self.lock().in_flight.clone()
    }

    /// What the handler awaits and since when, oldest first.
    pub(crate) fn awaited(&self) -> Vec<(String, Instant)> {
        self.lock().awaited.iter().map(|awaited| (awaited.what.clone(), awaited.since)).collect()
    }

    /// How long half, and 99 of a hundred, of the latest messages took.
    pub(crate) fn percentiles(&self) -> [Duration; 2] {
        let (mut current, now) = (self.lock(), Instant::now());
        [50, 99].map(|percent| current.times.percentile(percent, now))
    }

    /// The role's last snapshot and when it was taken.
    pub(crate) fn status(&self) -> Option<(Status, Instant)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Name of the message in hand and its age.
    pub(crate) fn in_flight(&self) -> Option<(&'static str, Duration)> {
        self.lock().in_flight.as_ref().map(|message| (message.name, message.since.elapsed()))
    }

    /// The message in hand as far as progress goes, and the time since the last sign of progress.
    pub(crate) fn sight(&self) -> (Option<InHand>, Duration) {
        let now = Instant::now();
        let current = self.lock();
        let quiet = now.saturating_duration_since(current.ticked);
        let awaits = current.awaited.iter().any(|awaited| awaited.until >= now);
        let in_hand = |message: &InFlight| InHand { name: message.name, quiet, limit: current.longest, awaits };
        (current.in_flight.as_ref().map(in_hand), quiet)
    }

    /// The role's own metrics, as of its last message.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.as_ref().map_or_else(Vec::new, |metrics| metrics.figures())
    }

    pub(crate) fn show(&self, status: Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some((status, Instant::now()));
    }

    fn begin(&self, message: InFlight, longest: Option<Duration>) {
        let mut current = self.lock();
        (current.longest, current.ticked) = (longest, message.since);
        current.in_flight = Some(message);
    }

    /// How long the message took. One that failed stays in hand: it may be what the process ends of.
    fn end(&self, failed: bool, now: Instant) -> Duration {
        let mut current = self.lock();
        current.ticked = now;
        let took = current.in_flight.as_ref().map_or(Duration::ZERO, |message| now.saturating_duration_since(message.since));
        current.times.record(took, now);
        if !failed {
            current.in_flight = None;
        }
        drop(current);
        self.handled.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        took
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
    pub(crate) lease: Lease,
    pub(crate) guard: Arc<Guard>,
    pub(crate) handled: Arc<Handled>,
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
        let mut cx = Cx::new(LocalSender::new(self.mailbox.clone()), self.lease.clone(), self.activity.clone());
        self.activity.show(Status { health: Health::Starting, reason: String::new(), fields: Vec::new() });
        self.activity.begin(InFlight::own("start", Instant::now()), None);
        let span = telemetry::start_span(A::Inbox::SERVICE);
        // Set once: a process starts its role once.
        let _first = self.activity.started.set(telemetry::context_of(&span));
        let started = self.actor.start(&cx).instrument(span).await;
        self.activity.end(started.is_err(), Instant::now());
        started?;
        self.show();
        tracing::info!("ready");

        let mut now = Instant::now();
        let mut shown = now;
        while let Some((ticket, item)) = self.next(&mut now).await {
            now = self.handle(&mut cx, &ticket, item, now).await?;
            // Under load a snapshot a message would cost more than the messages.
            if now.saturating_duration_since(shown) >= SHOW_EVERY {
                self.show();
                shown = now;
            }
            // Other tasks of this thread have their turn, also while there is always a next message.
            tokio::task::coop::consume_budget().await;
        }
        self.actor.stop(&cx).await;
        Ok(self.actor)
    }

    fn show(&self) {
        self.activity.show(self.actor.status());
        *self.activity.metrics.lock().unwrap_or_else(PoisonError::into_inner) = self.actor.metrics();
    }

    /// The next message, or `None` when draining and nothing waits. `now` is moved on only if it had to be waited for: a
    /// look at the clock costs as much as a small message.
    async fn next(&mut self, now: &mut Instant) -> Option<(Ticket, Item<A::Local>)> {
        if !*self.drain.borrow() {
            if let Ok(next) = self.mailbox.next() {
                return Some(next);
            }
            self.show();
            tokio::select! {
                biased;
                next = self.mailbox.take() => {
                    *now = Instant::now();
                    return Some(next);
                }
                _drain_began_or_shell_gone = self.drain.wait_for(|draining| *draining) => {}
            }
        }
        // Timers may go on for ever; a drain finishes only what others sent.
        loop {
            match self.mailbox.try_take()? {
                (_, Item::Local(_)) => {}
                next @ (_, Item::Wire(_)) => return Some(next),
            }
        }
    }

    /// Handles a message that was taken at `now`; when it ended.
    async fn handle(
        &mut self,
        cx: &mut Cx<A>,
        ticket: &Ticket,
        item: Item<A::Local>,
        now: Instant,
    ) -> Result<Instant, ActorError> {
        self.lease.check().map_err(|refused| ActorError::Fenced(refused.to_string()))?;
        let (mut copy, mut due, mut letter) = (None, None, 0);
        let result = match item {
            Item::Local(message) => {
                cx.set_sender(Header::OWN);
                self.activity.begin(InFlight::own("local", now), None);
                self.actor.local(cx, message).await
            }
            Item::Wire(envelope) => {
                letter = envelope.letter;
                let Some((message, content, posted)) = self.open(envelope) else { return Ok(now) };
                copy = self.gate.taps.any().then(|| content.clone());
                due = posted;
                let name = content.method.name;
                let span = telemetry::message_span(A::Inbox::SERVICE, name, &content.header);
                cx.set_sender(content.header);
                let longest = content.method.longest;
                self.activity.begin(InFlight { name, since: now, content: Some(content), letter }, longest);
                // Even a span that nobody looks at costs as much as a lock, twice.
                if span.is_disabled() {
                    self.actor.handle(cx, message).await
                } else {
                    self.actor.handle(cx, message).instrument(span).await
                }
            }
        };
        if result.is_ok()
            && let Some(due) = due
        {
            self.handled.done(due).await;
        }
        let ended = Instant::now();
        let took = self.activity.end(result.is_err(), ended);
        self.gate.counts.handled(ticket.name, took, result.is_err());
        if letter != 0 && result.is_ok() {
            self.guard.handled(letter, ticket.name);
        }
        // One whose tap was opened while it was in hand has no copy and is not shown.
        let seen = match &copy {
            Some(content) => Some(Message::of(content)),
            None if ticket.name == "local" => Some(Message { method: None, header: cx.sender(), body: &[] }),
            None => None,
        };
        if let Some(seen) = seen {
            let waited = now.saturating_duration_since(ticket.arrived);
            self.gate.taps.pass(seen, &Passing::Handled { waited, took, failed: result.is_err() });
        }
        result.map(|()| ended)
    }

    /// Decodes a message, unless nobody waits for it any more.
    fn open(&self, envelope: Envelope) -> Option<(A::Inbox, Packed, Option<Due>)> {
        let checked = self.guard.check(&envelope);
        let Envelope { content, answer, letter } = envelope;
        let Content { method, header, body } = &*content;
        let deadline = header.stamp.deadline;
        let expired = deadline != 0 && unix_millis() > deadline;
        if expired {
            self.activity.expired.fetch_add(1, Ordering::Relaxed);
            self.gate.taps.pass(Message::of(&content), &Passing::Refused("it expired in the mailbox"));
        } else if checked.is_err() {
            self.gate.refused.fetch_add(1, Ordering::Relaxed);
        }
        let late = || Refused::TooLate(format!("{} expired in the mailbox", method.name));
        if let Err(refused) = if expired { Err(late()) } else { checked } {
            self.gate.counts.refused(Some(method.name), &refused);
            answer.refuse(refused);
            return None;
        }
        let (port, credit) = match answer {
            Answer::Asked(port) => (Some(port), None),
            Answer::Told(credit) => (None, credit),
        };
        let (due, port) = if letter == 0 && Handled::is_posted(method, header) {
            (Some(self.handled.take(header, port)?), None)
        } else {
            (None, port)
        };
        match A::Inbox::decode(method.name, body, port) {
            Ok(message) => Some((message, content, due)),
            Err(refused) => {
                self.gate.malformed.fetch_add(1, Ordering::Relaxed);
                self.gate.counts.refused(Some(method.name), &refused);
                if let Some(credit) = credit {
                    credit.refuse(refused.clone());
                }
                if let Some(due) = due {
                    due.refuse(refused);
                }
                None
            }
        }
    }
}
