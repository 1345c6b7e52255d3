//! Instances that a platform (systemd, Kubernetes) starts and restarts. We only decide when a *live* one must go, and watch
//! that a new incarnation joins in time. One restarter per process: nothing here starts what has ended by itself.
//!
//! | phase | the mesh shows | next |
//! |---|---|---|
//! | any | another incarnation | running |
//! | running | the same, wedged | by verdict: replacing, ask it to go; or quarantined: a person must look |
//! | replacing, draining | the same for longer than `grace` | once: the platform is told to restart or stop it (Kubernetes is told to stop it at once) |
//! | draining | nothing | drained |
//! | running, replacing | nothing | missing: the platform's turn |
//! | missing | nothing for `join_within` | told to people, once |

use alys_cluster::Incarnation;
use alys_proto::Role;

use super::effect::Report;
use super::exit::Ending;
use super::input::View;
use super::owner::Owner;
use super::policy::Policy;
use super::verdict::{Decision, History, Jitter, Moment, Observation, decide};

/// What an instance of a platform does, as far as we can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WardPhase {
    /// In the mesh.
    Running,
    /// Not in the mesh.
    Missing,
    /// Asked to go and to be started again.
    Replacing,
    /// Asked to go.
    Draining,
    /// Gone as asked.
    Drained,
    /// Wedged too often.
    Quarantined,
}

impl WardPhase {
    /// As in `GetInstances`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Missing => "missing",
            Self::Replacing => "replacing",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Quarantined => "quarantined",
        }
    }
}

/// What the platform is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it.
    Start,
    /// End it and start it again.
    Restart,
    /// End it.
    Stop,
}

impl Action {
    /// The word of systemctl(1), and for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }
}

/// What the shell must do about one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WardEffect {
    /// Ask it through its inspector to drain and end.
    AskToGo {
        /// Instance.
        name: String,
        /// With the code that asks for a new start.
        restart: bool,
        /// Why.
        why: String,
    },
    /// It does not go by itself, or must be started: tell its platform.
    Platform {
        /// Instance.
        name: String,
        /// What.
        action: Action,
    },
    /// Something people want to know.
    Report(Report),
}

/// One instance of a platform.
#[derive(Clone, Debug)]
pub struct Ward {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Who restarts it.
    pub owner: Owner,
    /// What it does.
    pub phase: WardPhase,
    /// Who it is in the mesh, or was.
    pub incarnation: Option<Incarnation>,
    /// Incarnations after the first that we saw.
    pub restarts: u32,
    policy: Policy,
    history: History,
    since: Moment,
    told: bool,
}

/// What the mesh shows of it: its incarnation, and how that one is if it answered.
pub type WardSight = (Incarnation, Option<View>);

impl Ward {
    /// One that has not been seen.
    pub fn new(name: &str, role: Role, owner: Owner, policy: Policy) -> Self {
        Self {
            name: name.to_owned(),
            role,
            owner,
            phase: WardPhase::Missing,
            incarnation: None,
            restarts: 0,
            policy,
            history: History::default(),
            since: Moment::ZERO,
            told: false,
        }
    }

    /// The mesh was looked at.
    pub fn looked(&mut self, now: Moment, sight: Option<&WardSight>, jitter: Jitter) -> Vec<WardEffect> {
        let Some((incarnation, view)) = sight else { return self.unseen(now) };
        if self.incarnation != Some(*incarnation) {
            return self.joined(now, *incarnation);
        }
        let waited = now.saturating_sub(self.since);
        match (self.phase, view) {
            (WardPhase::Missing, _) => {
                self.enter(WardPhase::Running, now);
                Vec::new()
            }
            (WardPhase::Running, Some(View::Wedged(why))) => self.wedged(now, why, jitter),
            (WardPhase::Running, Some(View::Working)) => {
                self.history.ready(now);
                Vec::new()
            }
            (WardPhase::Replacing, _) if waited >= self.policy.grace => self.platform(Action::Restart),
            (WardPhase::Draining, _) if waited >= self.policy.grace => self.platform(Action::Stop),
            _ => Vec::new(),
        }
    }

    fn joined(&mut self, now: Moment, incarnation: Incarnation) -> Vec<WardEffect> {
        if self.incarnation.replace(incarnation).is_some() {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.enter(WardPhase::Running, now);
        vec![WardEffect::Report(Report::Ready(self.name.clone()))]
    }

    fn unseen(&mut self, now: Moment) -> Vec<WardEffect> {
        match self.phase {
            WardPhase::Running | WardPhase::Replacing => self.enter(WardPhase::Missing, now),
            WardPhase::Draining => {
                self.enter(WardPhase::Drained, now);
                return vec![WardEffect::Report(Report::Drained(self.name.clone()))];
            }
            WardPhase::Missing if !self.told && now.saturating_sub(self.since) >= self.policy.join_within => {
                self.told = true;
                return vec![WardEffect::Report(Report::Missing { name: self.name.clone(), owner: self.owner })];
            }
            WardPhase::Missing | WardPhase::Drained | WardPhase::Quarantined => {}
        }
        Vec::new()
    }

    fn wedged(&mut self, now: Moment, why: &str, jitter: Jitter) -> Vec<WardEffect> {
        self.history.failed(&self.policy, now);
        let verdict = decide(&self.policy, &self.history, Observation::Wedged, now, jitter);
        self.history.record(&verdict, now);
        let name = self.name.clone();
        match verdict.decision {
            Decision::Restart { after } => {
                let why = format!("no progress: {why}");
                let mut effects = vec![WardEffect::Report(Report::Restarting { name, why: why.clone(), after })];
                effects.extend(self.go(now, true, why));
                effects
            }
            Decision::Escalate => {
                self.enter(WardPhase::Quarantined, now);
                vec![WardEffect::Report(Report::Quarantined { name, ending: Ending::Wedged })]
            }
            Decision::Stop | Decision::Resume => Vec::new(),
        }
    }

    /// Asks it to go: for a new start, or to stay away.
    pub fn go(&mut self, now: Moment, restart: bool, why: String) -> Vec<WardEffect> {
        let is_there = self.is_there();
        self.enter(if restart { WardPhase::Replacing } else { WardPhase::Draining }, now);
        // Kubernetes starts again whatever ends by itself: it must be told first, and drains it then.
        let by_platform = self.owner == Owner::Kubernetes && !restart;
        if is_there && !by_platform {
            return vec![WardEffect::AskToGo { name: self.name.clone(), restart, why }];
        }
        self.platform(if restart { Action::Restart } else { Action::Stop })
    }

    /// Ends a drain or a quarantine.
    pub fn resume(&mut self, now: Moment) -> Vec<WardEffect> {
        self.history = History::default();
        match self.phase {
            WardPhase::Quarantined => self.go(now, true, "resumed".to_owned()),
            WardPhase::Drained | WardPhase::Draining | WardPhase::Missing => {
                self.enter(WardPhase::Missing, now);
                self.platform(Action::Start)
            }
            WardPhase::Running | WardPhase::Replacing => Vec::new(),
        }
    }

    /// Whether its process lives as far as we know.
    pub const fn is_there(&self) -> bool {
        matches!(self.phase, WardPhase::Running | WardPhase::Quarantined)
    }

    /// The platform is asked once for each phase.
    fn platform(&mut self, action: Action) -> Vec<WardEffect> {
        if std::mem::replace(&mut self.told, true) {
            return Vec::new();
        }
        vec![WardEffect::Platform { name: self.name.clone(), action }]
    }

    fn enter(&mut self, phase: WardPhase, now: Moment) {
        (self.phase, self.since, self.told) = (phase, now, false);
    }
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
