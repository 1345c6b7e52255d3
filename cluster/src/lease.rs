//! The lease under which a fenced role acts ([why](../../docs/adr/0011-leases.md)).
//!
//! | when | the holder |
//! |---|---|
//! | before its actor starts | asks storage until it has the lease; shows `starting` and who is in the way |
//! | every third of the term | renews |
//! | storage says that another holds it | ends with exit code 82 |
//! | two thirds of the term without a renewal | may not act any more: every check fails; a thread of its own ends the process with 82 |
//! | drained | closes it, then gives it back |
//!
//! A check compares a clock that also runs while the machine sleeps with the moment at which the last renewal was *sent*, so
//! it holds for a process that was frozen at any point. Checked: before every handler, and with every message that is sent;
//! whoever acts on anything else than a role asks [`Lease::check`] itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alys_proto::cluster::HeldLease;
use alys_proto::storage::{self, AcquireLease, LeaseVerdict, ReleaseLease, RenewLease};
use alys_proto::{Refused, Role};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use crate::config::LeaseConfig;
use crate::exit::{self, ActorError};
use crate::identity::{Identity, Incarnation};
use crate::process;
use crate::remote::Remote;

/// How often a waiting role asks again, and a renewal that failed is tried again.
pub(crate) const RETRY: Duration = Duration::from_millis(200);
/// How often the guarding thread looks at the clock: its sleep does not count the time that the machine slept.
const LOOK: Duration = Duration::from_millis(100);
/// A lease that is not given back in this time runs out by itself.
pub(crate) const GIVE_BACK: Duration = Duration::from_millis(500);

/// What a process knows of its lease. Cheap to clone and to check.
#[derive(Clone)]
pub struct Lease {
    state: Option<Arc<State>>,
    role: Role,
}

#[derive(Default)]
struct State {
    epoch: AtomicU64,
    /// Milliseconds on the boot clock; 0: not held.
    acts_until: AtomicU64,
    /// Given back: the guarding thread has nothing to guard.
    closed: AtomicBool,
    /// Somebody refused us as fenced: find out at once.
    doubted: Notify,
}

impl Lease {
    /// Of a role; one that needs none may always act.
    pub(crate) fn of(role: Role) -> Self {
        Self { state: role.is_fenced().then(Arc::default), role }
    }

    /// One that a test stamps on its messages and that is never lost.
    pub(crate) fn stamped(role: Role, epoch: u64) -> Self {
        let state = State { epoch: epoch.into(), acts_until: u64::MAX.into(), ..State::default() };
        Self { state: Some(Arc::new(state)), role }
    }

    /// Whether the process may act now.
    ///
    /// # Errors
    /// `Fenced`: it needs a lease and has none, or not any more.
    pub fn check(&self) -> Result<(), Refused> {
        let Some(state) = &self.state else { return Ok(()) };
        if state.left().is_zero() {
            let epoch = state.epoch.load(Ordering::Acquire);
            return Err(Refused::Fenced(format!(
                "this process does not hold the lease of {} any more (epoch {epoch})",
                self.role
            )));
        }
        Ok(())
    }

    /// The epoch that goes with every message; 0: none.
    pub(crate) fn epoch(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.epoch.load(Ordering::Acquire))
    }

    /// For observers; `None` where none is needed.
    pub(crate) fn show(&self) -> Option<HeldLease> {
        let state = self.state.as_ref()?;
        Some(HeldLease { epoch: self.epoch(), remaining_millis: millis(state.left()) })
    }

    /// Another process says that the lease is stale.
    pub(crate) fn doubt(&self) {
        if let Some(state) = &self.state {
            state.doubted.notify_one();
        }
    }
}

impl State {
    fn left(&self) -> Duration {
        let until = self.acts_until.load(Ordering::Acquire);
        Duration::from_millis(until).saturating_sub(boot_clock())
    }

    fn hold(&self, asked: Duration, term: Duration) {
        let until = asked.saturating_add(term.saturating_mul(2) / 3);
        self.acts_until.store(millis(until), Ordering::Release);
    }
}

/// Acquires, renews and gives back the lease of this process.
pub(crate) struct Keeper {
    state: Arc<State>,
    role: Role,
    instance: String,
    storage: Remote<storage::Inbox>,
    term: Duration,
}

impl Keeper {
    /// `None` for a role that needs no lease.
    pub(crate) fn new(
        lease: &Lease,
        identity: &Identity,
        storage: Remote<storage::Inbox>,
        config: LeaseConfig,
    ) -> Option<Arc<Self>> {
        let state = lease.state.clone()?;
        Some(Arc::new(Self { state, role: identity.role, instance: identity.instance.clone(), storage, term: config.term }))
    }

    /// Waits until this process holds the lease; `show` is told why it does not yet.
    pub(crate) async fn acquire(&self, show: impl Fn(String)) -> Result<(), ActorError> {
        let mut gone = Vec::new();
        loop {
            let asked = boot_clock();
            match self.storage.ask_within(self.term / 3, self.request(gone.clone())).await {
                Ok(LeaseVerdict { granted: true, lease: Some(lease) }) => {
                    self.state.epoch.store(lease.epoch, Ordering::Release);
                    self.state.hold(asked, self.term);
                    tracing::info!(role = %self.role, epoch = lease.epoch, "holds the lease");
                    return Ok(());
                }
                Ok(LeaseVerdict { lease: Some(held), .. }) => {
                    let process = held.process.clone().unwrap_or_default();
                    if held.incarnation != gone && process::is_gone(&process) {
                        gone = held.incarnation;
                        continue;
                    }
                    show(in_the_way(self.role, &held));
                    tokio::time::sleep(RETRY.min(Duration::from_millis(held.remaining_millis.max(1)))).await;
                }
                Ok(LeaseVerdict { lease: None, .. }) => {
                    return Err(ActorError::Broken("storage answered a question for a lease without one".into()));
                }
                Err(refused @ (Refused::Malformed(_) | Refused::Unknown(_) | Refused::Unauthorised(_))) => {
                    return Err(ActorError::Configuration(format!("storage gives {} no lease: {refused}", self.role)));
                }
                Err(refused) => {
                    show(format!("waiting for the lease of {}: {refused}", self.role));
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn request(&self, gone: Vec<u8>) -> AcquireLease {
        AcquireLease { instance: self.instance.clone(), term_millis: millis(self.term), process: Some(process::own()), gone }
    }

    /// Starts the renewals and the thread that ends the process when they do not succeed.
    pub(crate) fn keep(self: &Arc<Self>) -> Result<(), ActorError> {
        let state = self.state.clone();
        std::thread::Builder::new()
            .name("lease".into())
            .spawn(move || guard(&state))
            .map_err(|cause| ActorError::Temporary(format!("cannot start a thread: {cause}")))?;
        tokio::spawn(self.clone().renew());
        Ok(())
    }

    async fn renew(self: Arc<Self>) {
        let mut wait = self.term / 3;
        while !self.state.closed.load(Ordering::Acquire) {
            let _sooner = tokio::time::timeout(wait, self.state.doubted.notified()).await;
            let asked = boot_clock();
            let epoch = self.state.epoch.load(Ordering::Acquire);
            match self.storage.ask_within(self.term / 3, RenewLease { epoch }).await {
                Ok(_done) => {
                    // A close that came meanwhile stays closed.
                    if !self.state.closed.load(Ordering::Acquire) {
                        self.state.hold(asked, self.term);
                    }
                    wait = self.term / 3;
                }
                Err(Refused::Fenced(reason)) => {
                    tracing::error!(reason, "another process holds the lease");
                    self.state.acts_until.store(0, Ordering::Release);
                    return;
                }
                Err(refused) => {
                    tracing::warn!(%refused, left = ?self.state.left(), "the lease is not renewed");
                    wait = RETRY;
                }
            }
        }
    }

    /// This process does not act any more and says so, unless it lost the lease before.
    pub(crate) async fn give_back(&self) {
        let held = !self.state.left().is_zero();
        self.state.closed.store(true, Ordering::Release);
        self.state.acts_until.store(0, Ordering::Release);
        let epoch = self.state.epoch.load(Ordering::Acquire);
        if held && let Err(refused) = self.storage.ask_within(GIVE_BACK, ReleaseLease { epoch }).await {
            tracing::debug!(%refused, "the lease was not given back; it runs out");
        }
    }
}

/// Ends the process when it may not act any more, whatever its other threads are at.
fn guard(state: &State) {
    while !state.closed.load(Ordering::Acquire) {
        let left = state.left();
        if left.is_zero() {
            // A close empties the lease after it has said so.
            if state.closed.load(Ordering::Acquire) {
                return;
            }
            tracing::error!(code = exit::FENCED, "the lease is lost: this process ends");
            std::process::exit(exit::FENCED.into());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

pub(crate) fn in_the_way(role: Role, held: &storage::Lease) -> String {
    let incarnation = Incarnation::from_bytes(&held.incarnation).unwrap_or(Incarnation(0));
    format!(
        "the lease of {role} (epoch {}) is held by {} ({incarnation}, pid {}) for {:.1} s more",
        held.epoch,
        held.instance,
        held.process.as_ref().map_or(0, |process| process.pid),
        Duration::from_millis(held.remaining_millis).as_secs_f32()
    )
}

/// Time since the boot, including what the machine slept.
pub(crate) fn boot_clock() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0)))
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
