//! The supervisor's state machine: every child, what it does now, and what comes next.
//!
//! ```text
//! waiting ─deps ready→ starting ─seen ready→ running
//!    ↑                     └────── ended ───────┤
//!    └──── backing-off ←── Restart ── verdict ←─┘── Escalate → quarantined, Stop → stopped
//! any ─DrainAsked→ draining → drained ─ResumeAsked→ starting
//! waiting ─seen under somebody else→ elsewhere ─inherited→ waiting
//! ```
//! What may be started depends on which supervisor acts: see [`super::office`].
//! `RestartAsked` and `ResumeAsked` leave quarantine, only `ResumeAsked` leaves a drain. The end of everything is not here:
//! see [`super::drain`].

use std::collections::BTreeSet;
use std::time::Duration;

use alys_proto::Role;

use super::effect::{Effect, Report};
use super::exit::Ending;
use super::input::{Input, Sight, View};
pub use super::instance::{Instance, Next, Phase};
use super::office::{Foreign, Office};
use super::verdict::{Decision, History, Jitter, Moment, Observation, Verdict, decide};

/// Silence that one look may add. A supervisor that was frozen itself must not blame the others for it.
const MOST_PER_LOOK: Duration = Duration::from_secs(3);

/// All children.
#[derive(Clone, Debug)]
pub struct State {
    instances: Vec<Instance>,
    /// Roles that are ready and not ours: another host's, or owned by a platform.
    elsewhere: BTreeSet<Role>,
    last_look: Moment,
    announced: bool,
    begun: bool,
    office: Office,
    has_stood_by: bool,
}

impl State {
    /// Nothing runs yet.
    pub fn new(instances: Vec<Instance>) -> Self {
        Self {
            instances,
            elsewhere: BTreeSet::new(),
            last_look: Duration::ZERO,
            announced: false,
            begun: false,
            office: Office::default(),
            has_stood_by: false,
        }
    }

    /// The children, in start order.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Whether every child has been ready at the same time once.
    pub fn announced(&self) -> bool {
        self.announced
    }

    /// What this supervisor may do.
    pub fn office(&self) -> Office {
        self.office
    }

    /// Takes one input at a moment. Inputs about unknown instances or old processes change nothing.
    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Begin => self.begun = true,
            Input::Adopted { name, pid } => self.adopted(now, &name, pid, &mut effects),
            Input::Spawned { name, pid } => self.spawned(now, &name, pid, &mut effects),
            Input::Ended { name, ending, jitter } => self.ended(now, &name, ending, jitter, &mut effects),
            Input::Due { name, turn } => self.due(now, &name, turn, &mut effects),
            Input::Office(office) => {
                self.office = office;
                self.has_stood_by |= office == Office::StandingBy;
            }
            Input::Looked { sights, elsewhere, foreign, jitter } => {
                self.elsewhere = elsewhere;
                self.looked(now, &sights, &foreign, jitter, &mut effects);
            }
            Input::RestartAsked { name } => self.restart_asked(&name, &mut effects),
            Input::DrainAsked { name } => self.end_asked(&name, Next::Drained, &mut effects),
            Input::ResumeAsked { name } => self.resume_asked(&name, &mut effects),
            Input::Added(instance) => self.added(*instance),
            Input::Removed { name } => self.end_asked(&name, Next::Removed, &mut effects),
        }
        self.instances.retain(|instance| !effects.contains(&Effect::Forget(instance.name.clone())));
        if self.begun && self.office.starts(self.has_stood_by) {
            self.start_what_can(&mut effects);
        }
        if self.office == Office::StandingBy {
            self.hold_back(&mut effects);
        }
        let is_settled = |instance: &Instance| matches!(instance.phase, Phase::Running | Phase::Drained | Phase::Elsewhere);
        if self.begun && !self.announced && self.instances.iter().all(is_settled) {
            self.announced = true;
            effects.push(Effect::Report(Report::AllReady));
        }
        effects
    }

    fn find(&mut self, name: &str) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.name == name)
    }

    fn start_what_can(&mut self, effects: &mut Vec<Effect>) {
        let serves = |instance: &&Instance| match instance.phase {
            Phase::Elsewhere => instance.foreign.as_ref().is_some_and(|foreign| foreign.works),
            phase => phase == Phase::Running,
        };
        let running = self.instances.iter().filter(serves);
        let ready: BTreeSet<Role> = running.filter_map(|instance| instance.role).chain(self.elsewhere.iter().copied()).collect();
        for instance in &mut self.instances {
            let can = instance.after.iter().all(|role| ready.contains(role));
            if instance.phase == Phase::Waiting && can {
                instance.start(effects);
            }
        }
    }

    /// Another supervisor acts: what would be started now waits until this one does.
    fn hold_back(&mut self, effects: &mut Vec<Effect>) {
        for instance in &mut self.instances {
            if effects.contains(&Effect::Spawn(instance.name.clone())) {
                instance.phase = Phase::Waiting;
            }
        }
        effects.retain(|effect| !matches!(effect, Effect::Spawn(_)));
    }

    fn added(&mut self, instance: Instance) {
        match self.find(&instance.name) {
            // Scaled away and back before its process was gone.
            Some(leaving) if leaving.is_leaving() => {
                (leaving.next, leaving.phase) = (Some(Next::Start(Duration::ZERO)), Phase::Replacing);
            }
            Some(_) => {}
            None => self.instances.push(instance),
        }
    }

    fn adopted(&mut self, now: Moment, name: &str, pid: u32, effects: &mut Vec<Effect>) {
        let Some(instance) = self.find(name) else { return };
        (instance.pid, instance.started) = (Some(pid), now);
        if instance.phase == Phase::Drained {
            instance.end(Next::Drained, false, effects);
            return;
        }
        instance.phase = Phase::Starting;
        if instance.role.is_none() {
            instance.wake(instance.policy.settle, effects);
        }
    }

    fn spawned(&mut self, now: Moment, name: &str, pid: u32, effects: &mut Vec<Effect>) {
        let Some(instance) = self.find(name) else { return };
        (instance.pid, instance.started) = (Some(pid), now);
        if instance.is_told_to_end() {
            instance.terminate(pid, effects);
        } else if instance.role.is_none() {
            instance.wake(instance.policy.settle, effects);
        }
    }

    fn ended(&mut self, now: Moment, name: &str, ending: Ending, jitter: Jitter, effects: &mut Vec<Effect>) {
        let Some(instance) = self.find(name) else { return };
        instance.pid = None;
        instance.last_exit = ending.to_string();
        if instance.is_told_to_end() {
            instance.arrive(effects);
            return;
        }
        instance.history.failed(&instance.policy, now);
        let verdict = decide(&instance.policy, &instance.history, Observation::Ended(ending), now, jitter);
        instance.history.record(&verdict, now);
        match verdict.decision {
            Decision::Restart { after } => {
                instance.phase = Phase::BackingOff;
                instance.wake(after, effects);
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
            (Phase::BackingOff, _) => instance.start_again(effects),
            (Phase::Starting, Some(_)) if instance.role.is_none() => instance.ready(now, effects),
            (Phase::Replacing | Phase::Draining, Some(pid)) => effects.push(Effect::Kill { name: name.to_owned(), pid }),
            _ => {}
        }
    }

    /// What the mesh shows of all. One that is not shown, or by another process, is silent.
    fn looked(&mut self, now: Moment, sights: &[Sight], foreign: &[Foreign], jitter: Jitter, effects: &mut Vec<Effect>) {
        let since = now.saturating_sub(self.last_look).min(MOST_PER_LOOK);
        self.last_look = now;
        for instance in &mut self.instances {
            let Some(role) = instance.role else { continue };
            let Some(pid) = instance.pid else {
                let seen = foreign.iter().find(|foreign| foreign.name == instance.name);
                is_elsewhere(instance, role, seen, since, (self.office, self.has_stood_by));
                continue;
            };
            if instance.is_told_to_end() {
                continue;
            }
            let sight = sights.iter().find(|sight| sight.name == instance.name && sight.pid == pid);
            match sight.map(|sight| &sight.view) {
                Some(View::Starting) => instance.silent = Duration::ZERO,
                Some(View::Working) => instance.ready(now, effects),
                // Another supervisor decides what becomes of those that hang.
                Some(View::Wedged(_)) | None if self.office == Office::StandingBy => instance.silent = Duration::ZERO,
                Some(View::Wedged(why)) => no_progress(instance, now, Observation::Wedged, why, jitter, effects),
                None => {
                    instance.silent = instance.silent.saturating_add(since);
                    is_silent(instance, now, jitter, effects);
                }
            }
        }
    }

    fn restart_asked(&mut self, name: &str, effects: &mut Vec<Effect>) {
        let Some(instance) = self.find(name) else { return };
        match instance.phase {
            Phase::Waiting | Phase::Drained | Phase::Draining => {}
            _ => {
                instance.history = History::default();
                instance.end(Next::Start(Duration::ZERO), false, effects);
            }
        }
    }

    fn end_asked(&mut self, name: &str, next: Next, effects: &mut Vec<Effect>) {
        let Some(instance) = self.find(name) else { return };
        if instance.is_leaving() || (instance.phase == Phase::Drained && next == Next::Drained) {
            return;
        }
        instance.end(next, false, effects);
    }

    fn resume_asked(&mut self, name: &str, effects: &mut Vec<Effect>) {
        let Some(instance) = self.find(name) else { return };
        match instance.phase {
            Phase::Draining if !instance.is_leaving() => {
                (instance.next, instance.phase) = (Some(Next::Start(Duration::ZERO)), Phase::Replacing);
            }
            Phase::Quarantined | Phase::Drained | Phase::Stopped | Phase::BackingOff => {
                instance.history = History::default();
                instance.end(Next::Start(Duration::ZERO), false, effects);
            }
            _ => {}
        }
    }
}

/// What is planned and not ours to start while somebody else's process serves it.
fn is_elsewhere(
    instance: &mut Instance,
    role: Role,
    seen: Option<&Foreign>,
    since: Duration,
    (office, has_stood_by): (Office, bool),
) {
    match (instance.phase, seen) {
        (Phase::Waiting | Phase::Elsewhere, Some(seen)) => {
            (instance.phase, instance.silent, instance.foreign) = (Phase::Elsewhere, Duration::ZERO, Some(seen.clone()));
        }
        (Phase::Elsewhere, None) => {
            instance.silent = instance.silent.saturating_add(since);
            let here = instance.foreign.as_ref().is_some_and(|foreign| foreign.here);
            if office.inherits(role, has_stood_by, here, instance.silent, instance.policy.wedged_after) {
                instance.phase = Phase::Waiting;
            }
        }
        _ => {}
    }
}

/// A process that has joined is wedged when it is silent for too long; one that is on its way has longer.
fn is_silent(instance: &mut Instance, now: Moment, jitter: Jitter, effects: &mut Vec<Effect>) {
    if instance.phase == Phase::Starting {
        if now.saturating_sub(instance.started) >= instance.policy.join_within {
            no_progress(instance, now, Observation::Wedged, "it did not join the mesh in time", jitter, effects);
        }
        return;
    }
    let silent = instance.silent;
    let why = format!("it has said nothing for {:.1} s", silent.as_secs_f64());
    no_progress(instance, now, Observation::Silent(silent), &why, jitter, effects);
}

/// A live process without progress: ended by force, for it can do nothing orderly any more.
fn no_progress(instance: &mut Instance, now: Moment, seen: Observation, why: &str, jitter: Jitter, effects: &mut Vec<Effect>) {
    let verdict: Verdict = decide(&instance.policy, &instance.history, seen, now, jitter);
    if matches!(verdict.decision, Decision::Resume | Decision::Stop) {
        return;
    }
    instance.history.failed(&instance.policy, now);
    let verdict = decide(&instance.policy, &instance.history, seen, now, jitter);
    instance.history.record(&verdict, now);
    let name = instance.name.clone();
    match verdict.decision {
        Decision::Restart { after } => {
            instance.end(Next::Start(after), true, effects);
            effects.push(Effect::Report(Report::Restarting { name, why: format!("no progress: {why}"), after }));
        }
        _ => {
            instance.end(Next::Quarantined, true, effects);
            effects.push(Effect::Report(Report::Quarantined { name, ending: Ending::Wedged }));
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "state_office_tests.rs"]
mod office_tests;
