//! The supervisor's state machine: every child, what it does now, and what comes next.
//!
//! ```text
//! waiting ─deps ready→ starting ─seen ready→ running
//!    ↑                     └────── ended ───────┤
//!    └──── backing-off ←── Restart ── verdict ←─┘── Escalate → quarantined, Stop → stopped
//! ```
//! `RestartAsked` leaves every state, quarantine included. A drain is not here: see [`super::drain`].

use std::time::Duration;

use alys_proto::Role;

use super::effect::{Effect, Report};
use super::exit::Ending;
use super::input::{Input, View};
use super::policy::Policy;
use super::verdict::{Decision, History, Jitter, Moment, Observation, Verdict, decide};

/// What a child does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What it needs is not ready.
    Waiting,
    /// Started, not ready.
    Starting,
    /// Ready.
    Running,
    /// Told to end; starts again at once.
    Replacing,
    /// Ended; starts again after a wait.
    BackingOff,
    /// Ended; only a person starts it again.
    Quarantined,
    /// Done.
    Stopped,
}

impl Phase {
    /// As shown to people and in `GetInstances`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Replacing => "replacing",
            Self::BackingOff => "backing-off",
            Self::Quarantined => "quarantined",
            Self::Stopped => "stopped",
        }
    }
}

/// One child.
#[derive(Clone, Debug)]
pub struct Instance {
    /// "storage", "sync-2", "governance-1".
    pub name: String,
    /// `None`: a plain process, ready when it has lived for a moment.
    pub role: Option<Role>,
    /// What must be ready before its first start.
    pub after: Vec<Role>,
    /// What it does now.
    pub phase: Phase,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// Starts after the first.
    pub restarts: u32,
    /// How it ended last, as text.
    pub last_exit: String,
    history: History,
    stuck_since: Option<Moment>,
    turn: u64,
}

impl Instance {
    /// A child that has not been started.
    pub fn new(name: impl Into<String>, role: Option<Role>, after: &[Role]) -> Self {
        Self {
            name: name.into(),
            role,
            after: after.to_vec(),
            phase: Phase::Waiting,
            pid: None,
            restarts: 0,
            last_exit: String::new(),
            history: History::default(),
            stuck_since: None,
            turn: 0,
        }
    }
}

/// All children.
#[derive(Clone, Debug)]
pub struct State {
    policy: Policy,
    instances: Vec<Instance>,
    announced: bool,
}

impl State {
    /// Nothing runs yet.
    pub fn new(policy: Policy, instances: Vec<Instance>) -> Self {
        Self { policy, instances, announced: false }
    }

    /// The children, in start order.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Whether every child has been ready at the same time once.
    pub fn announced(&self) -> bool {
        self.announced
    }

    /// Takes one input at a moment. Inputs about unknown instances or old processes change nothing.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Begin => {}
            Input::Spawned { name, pid } => self.spawned(&name, pid, &mut effects),
            Input::Ended { name, ending, jitter } => self.ended(now, &name, ending, jitter, &mut effects),
            Input::Due { name, turn } => self.due(now, &name, turn, &mut effects),
            Input::Seen { name, pid, view, jitter } => self.seen(now, &name, pid, view, jitter, &mut effects),
            Input::RestartAsked { name } => self.restart_asked(&name, &mut effects),
        }
        self.start_what_can(&mut effects);
        if !self.announced && self.instances.iter().all(|instance| instance.phase == Phase::Running) {
            self.announced = true;
            effects.push(Effect::Report(Report::AllReady));
        }
        effects
    }

    fn find(&mut self, name: &str) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.name == name)
    }

    fn start_what_can(&mut self, effects: &mut Vec<Effect>) {
        let ready: Vec<Role> = self
            .instances
            .iter()
            .filter(|instance| instance.phase == Phase::Running)
            .filter_map(|instance| instance.role)
            .collect();
        for instance in &mut self.instances {
            let can = instance.after.iter().all(|role| ready.contains(role));
            if instance.phase == Phase::Waiting && can {
                instance.phase = Phase::Starting;
                effects.push(Effect::Spawn(instance.name.clone()));
            }
        }
    }

    fn spawned(&mut self, name: &str, pid: u32, effects: &mut Vec<Effect>) {
        let settle = self.policy.settle;
        let Some(instance) = self.find(name) else { return };
        instance.pid = Some(pid);
        if instance.role.is_none() {
            wake(instance, settle, effects);
        }
    }

    fn ended(&mut self, now: Moment, name: &str, ending: Ending, jitter: Jitter, effects: &mut Vec<Effect>) {
        let policy = self.policy.clone();
        let Some(instance) = self.find(name) else { return };
        instance.pid = None;
        instance.stuck_since = None;
        instance.last_exit = ending.to_string();
        if instance.phase == Phase::Replacing {
            start_again(instance, effects);
            return;
        }
        instance.history.failed(&policy, now);
        let verdict = decide(&policy, &instance.history, Observation::Ended(ending), now, jitter);
        instance.history.record(&verdict, now);
        match verdict.decision {
            Decision::Restart { after } => {
                instance.phase = Phase::BackingOff;
                wake(instance, after, effects);
                effects.push(Effect::Report(Report::Restarting { name: name.to_owned(), why: ending.to_string(), after }));
            }
            Decision::Stop | Decision::Resume => {
                instance.phase = Phase::Stopped;
                effects.push(Effect::Report(Report::Stopped(name.to_owned())));
            }
            Decision::Escalate => {
                instance.phase = Phase::Quarantined;
                effects.push(Effect::Report(Report::Quarantined { name: name.to_owned(), ending }));
            }
        }
    }

    fn due(&mut self, now: Moment, name: &str, turn: u64, effects: &mut Vec<Effect>) {
        let Some(instance) = self.find(name) else { return };
        if instance.turn != turn {
            return;
        }
        match (instance.phase, instance.pid) {
            (Phase::BackingOff, _) => start_again(instance, effects),
            (Phase::Starting, Some(_)) if instance.role.is_none() => ready(instance, now, effects),
            (Phase::Replacing, Some(pid)) => effects.push(Effect::Kill { name: name.to_owned(), pid }),
            _ => {}
        }
    }

    fn seen(&mut self, now: Moment, name: &str, pid: Option<u32>, view: View, jitter: Jitter, effects: &mut Vec<Effect>) {
        let policy = self.policy.clone();
        let Some(instance) = self.find(name) else { return };
        let Some(own) = instance.pid else { return };
        // What said nothing can only be ours when ours has been seen before.
        if pid.is_some_and(|pid| pid != own) || (pid.is_none() && instance.phase != Phase::Running) {
            return;
        }
        match view {
            View::Starting => {}
            View::Working => {
                instance.stuck_since = None;
                ready(instance, now, effects);
            }
            View::Stuck(_) if instance.phase == Phase::Replacing => {}
            View::Stuck(known) => {
                let since = *instance.stuck_since.get_or_insert(now);
                let span = now.saturating_sub(since).max(known);
                let verdict = decide(&policy, &instance.history, Observation::Stuck(span), now, jitter);
                self.replace_stuck(now, name, own, verdict, effects);
            }
        }
    }

    /// A live process that makes no progress: end it; the wait is served by the time it takes to end.
    fn replace_stuck(&mut self, now: Moment, name: &str, pid: u32, verdict: Verdict, effects: &mut Vec<Effect>) {
        let grace = self.policy.grace;
        let Some(instance) = self.find(name) else { return };
        match verdict.decision {
            Decision::Resume | Decision::Stop => {}
            Decision::Restart { after } => {
                instance.history.record(&verdict, now);
                replace(instance, pid, grace, effects);
                effects.push(Effect::Report(Report::Restarting { name: name.to_owned(), why: "no progress".into(), after }));
            }
            Decision::Escalate => {
                // It is stuck again and again: it keeps its process, so that a person can look into it.
            }
        }
    }

    fn restart_asked(&mut self, name: &str, effects: &mut Vec<Effect>) {
        let grace = self.policy.grace;
        let Some(instance) = self.find(name) else { return };
        instance.history = History::default();
        match (instance.phase, instance.pid) {
            (Phase::Replacing | Phase::Waiting, _) => {}
            (_, Some(pid)) => replace(instance, pid, grace, effects),
            // Asked to spawn but not spawned yet: it is starting anyway.
            (Phase::Starting, None) => {}
            (_, None) => start_again(instance, effects),
        }
    }
}

fn ready(instance: &mut Instance, now: Moment, effects: &mut Vec<Effect>) {
    instance.history.ready(now);
    if instance.phase == Phase::Starting {
        instance.phase = Phase::Running;
        effects.push(Effect::Report(Report::Ready(instance.name.clone())));
    }
}

fn start_again(instance: &mut Instance, effects: &mut Vec<Effect>) {
    instance.phase = Phase::Starting;
    instance.restarts = instance.restarts.saturating_add(1);
    instance.turn = instance.turn.wrapping_add(1);
    effects.push(Effect::Spawn(instance.name.clone()));
}

fn replace(instance: &mut Instance, pid: u32, grace: Duration, effects: &mut Vec<Effect>) {
    instance.phase = Phase::Replacing;
    effects.push(Effect::Terminate { name: instance.name.clone(), pid });
    wake(instance, grace, effects);
}

fn wake(instance: &mut Instance, after: Duration, effects: &mut Vec<Effect>) {
    instance.turn = instance.turn.wrapping_add(1);
    effects.push(Effect::Wake { name: instance.name.clone(), turn: instance.turn, after });
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
