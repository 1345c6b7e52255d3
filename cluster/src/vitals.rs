//! How a process is, read from outside of its handlers: what `Observe`, the probes, the metrics and the service manager
//! are told comes from here, so they never disagree.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alys_proto::Role;
use alys_proto::cluster::{Freeze, Health};
use tokio::sync::watch;

use crate::executor::Activity;
use crate::identity::Identity;
use crate::lease::Lease;
use crate::mailbox::Figures;
use crate::mesh::Links;
use crate::metrics::{Page, RoleMetrics as _, Shell};
use crate::port::Gate;
use crate::probes::Shown;
use crate::progress::{Sight, Stuck, judge};

/// What can be seen of a process.
pub(crate) struct Vitals {
    pub(crate) identity: Identity,
    pub(crate) activity: Arc<Activity>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) links: Links,
    pub(crate) lease: Lease,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) mailbox: Box<dyn Fn() -> Figures + Send + Sync>,
    /// Whether a debugger holds the mailbox.
    pub(crate) frozen: Box<dyn Fn() -> Option<Freeze> + Send + Sync>,
    /// A handler or a queue that takes longer makes no progress.
    pub(crate) deadline: Duration,
    pub(crate) pulse: Pulse,
    /// This process's certificate in the mesh; read again each time, since it may be replaced.
    pub(crate) certificate: Option<PathBuf>,
}

/// When the role's runtime last ran a task.
pub(crate) struct Pulse(Mutex<Instant>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Pulse {
    pub(crate) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(crate) fn silent(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Vitals {
    /// Whether there is progress.
    pub(crate) fn live(&self) -> Result<(), Stuck> {
        let figures = self.mailbox();
        let (in_hand, idle) = self.activity.sight();
        let starting = in_hand.is_some_and(|message| message.name == "start");
        let sight = Sight {
            in_hand: in_hand.filter(|_| !starting),
            starting,
            // What a debugger holds back waits for the debugger, not for the role.
            waiting: if (self.frozen)().is_some() { 0 } else { figures.depth },
            oldest: figures.oldest.map_or(Duration::ZERO, |arrived| arrived.elapsed()),
            idle,
            silent: self.pulse.silent(),
        };
        judge(&sight, self.deadline)
    }

    /// Whether it serves: `Err` says why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        Shown::ready(self)
    }

    /// The state and why it is not better.
    pub(crate) fn health(&self) -> (Health, String) {
        let (health, reason) =
            self.activity.status().map_or((Health::Starting, String::new()), |(status, _)| (status.health, status.reason));
        if *self.draining.borrow() {
            return (Health::Draining, reason);
        }
        match (self.live(), (self.frozen)()) {
            (Err(stuck), _) => (Health::Wedged, stuck.to_string()),
            (Ok(()), Some(freeze)) => (Health::Frozen, format!("by {}", freeze.who)),
            (Ok(()), None) => (health, reason),
        }
    }

    /// Name of the message in hand, and for how long it has been.
    pub(crate) fn in_flight(&self) -> Option<(&'static str, Duration)> {
        self.activity.in_flight()
    }

    pub(crate) fn mailbox(&self) -> Figures {
        (self.mailbox)()
    }

    /// Open links by the peer's role.
    pub(crate) fn links_by_role(&self) -> BTreeMap<&'static str, u64> {
        let mut links = BTreeMap::new();
        for link in self.links.list() {
            let role = Role::try_from(link.role).unwrap_or(Role::Unspecified);
            let count: &mut u64 = links.entry(role.name()).or_default();
            *count = count.saturating_add(1);
        }
        links
    }

    /// The metrics as OpenMetrics text.
    pub(crate) fn exposition(&self) -> String {
        let role = self.identity.role.name().to_owned();
        let labels = vec![("role", role.clone()), ("alys_instance", self.identity.instance.clone())];
        Page { labels, shell_figures: Shell::of(self).figures(), role, role_figures: self.activity.figures() }.to_string()
    }
}

impl Shown for Vitals {
    fn name(&self) -> &str {
        self.identity.role.name()
    }

    fn health(&self) -> (Health, String) {
        Self::health(self)
    }

    fn live(&self) -> Result<(), String> {
        Self::live(self).map_err(|stuck| stuck.to_string())
    }

    fn exposition(&self) -> String {
        Self::exposition(self)
    }

    fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.draining.clone()
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A state's name in metrics and answers.
pub(crate) const fn name_of(health: Health) -> &'static str {
    match health {
        Health::Unspecified => "unknown",
        Health::Starting => "starting",
        Health::Ready => "ready",
        Health::Degraded => "degraded",
        Health::Wedged => "wedged",
        Health::Draining => "draining",
        Health::Frozen => "frozen",
    }
}
