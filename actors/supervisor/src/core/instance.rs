//! One child: what it does now, and what comes after its process has ended.

use std::time::Duration;

use alys_proto::Role;

use super::effect::{Effect, Report};
use super::office::Foreign;
use super::policy::Policy;
use super::verdict::{History, Moment};

/// What a child does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What it needs is not ready.
    Waiting,
    /// Started, not ready.
    Starting,
    /// Ready.
    Running,
    /// Told to end; starts again.
    Replacing,
    /// Told to end; stays so.
    Draining,
    /// Ended; starts again after a wait.
    BackingOff,
    /// Failed too often or beyond repair; only a person starts it again.
    Quarantined,
    /// Kept stopped until `alys resume`.
    Drained,
    /// Done: it ended by itself with code 0.
    Stopped,
    /// A process that is not ours serves it.
    Elsewhere,
}

impl Phase {
    /// As shown to people and in `GetInstances`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Replacing => "replacing",
            Self::Draining => "draining",
            Self::BackingOff => "backing-off",
            Self::Quarantined => "quarantined",
            Self::Drained => "drained",
            Self::Stopped => "stopped",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// What comes when the process that was told to end has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start it again after a wait.
    Start(Duration),
    /// Keep it stopped.
    Drained,
    /// A person must look at it.
    Quarantined,
    /// Forget it: it was scaled away.
    Removed,
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
    /// How patient we are with it.
    pub policy: Policy,
    /// What it does now.
    pub phase: Phase,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// Starts after the first.
    pub restarts: u32,
    /// How it ended last, as text.
    pub last_exit: String,
    pub(super) next: Option<Next>,
    pub(super) history: History,
    /// How long it has said nothing.
    pub(super) silent: Duration,
    pub(super) started: Moment,
    pub(super) turn: u64,
    /// The process that served it elsewhere when it was seen last.
    pub(super) foreign: Option<Foreign>,
}

impl Instance {
    /// A child that has not been started.
    pub fn new(name: impl Into<String>, role: Option<Role>, after: &[Role], policy: Policy) -> Self {
        Self {
            name: name.into(),
            role,
            after: after.to_vec(),
            policy,
            phase: Phase::Waiting,
            pid: None,
            restarts: 0,
            last_exit: String::new(),
            next: None,
            history: History::default(),
            silent: Duration::ZERO,
            started: Duration::ZERO,
            turn: 0,
            foreign: None,
        }
    }

    /// Whether it is to be gone for good: it does not count any more.
    pub fn is_leaving(&self) -> bool {
        self.next == Some(Next::Removed)
    }

    pub(super) fn is_told_to_end(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn ready(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.history.ready(now);
        self.silent = Duration::ZERO;
        if self.phase == Phase::Starting {
            self.phase = Phase::Running;
            effects.push(Effect::Report(Report::Ready(self.name.clone())));
        }
    }

    /// Starts it again now; counted as a restart.
    pub(super) fn start_again(&mut self, effects: &mut Vec<Effect>) {
        self.restarts = self.restarts.saturating_add(1);
        self.start(effects);
    }

    pub(super) fn start(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Starting;
        self.silent = Duration::ZERO;
        self.turn = self.turn.wrapping_add(1);
        effects.push(Effect::Spawn(self.name.clone()));
    }

    /// Ends its process, if there is one, and says what comes then. One that makes no progress cannot drain: it is killed.
    pub(super) fn end(&mut self, next: Next, wedged: bool, effects: &mut Vec<Effect>) {
        let is_starting = self.phase == Phase::Starting;
        let was_told = self.is_told_to_end();
        self.next = Some(next);
        self.phase = match next {
            Next::Start(_) => Phase::Replacing,
            Next::Drained | Next::Removed => Phase::Draining,
            Next::Quarantined => Phase::Quarantined,
        };
        match self.pid {
            Some(pid) if wedged => effects.push(Effect::Kill { name: self.name.clone(), pid }),
            Some(_) if was_told => {}
            Some(pid) => self.terminate(pid, effects),
            // Its process is being made: it is told to end as soon as it is there.
            None if is_starting => {}
            None => self.arrive(effects),
        }
    }

    pub(super) fn terminate(&mut self, pid: u32, effects: &mut Vec<Effect>) {
        effects.push(Effect::Terminate { name: self.name.clone(), pid });
        self.wake(self.policy.grace, effects);
    }

    /// The process that was told to end is gone.
    pub(super) fn arrive(&mut self, effects: &mut Vec<Effect>) {
        match self.next.take() {
            None => {}
            Some(Next::Start(Duration::ZERO)) => self.start_again(effects),
            Some(Next::Start(after)) => {
                self.phase = Phase::BackingOff;
                self.wake(after, effects);
            }
            Some(Next::Drained) => {
                self.phase = Phase::Drained;
                effects.push(Effect::Report(Report::Drained(self.name.clone())));
            }
            Some(Next::Quarantined) => self.phase = Phase::Quarantined,
            Some(Next::Removed) => {
                self.next = Some(Next::Removed);
                effects.push(Effect::Forget(self.name.clone()));
            }
        }
    }

    pub(super) fn wake(&mut self, after: Duration, effects: &mut Vec<Effect>) {
        self.turn = self.turn.wrapping_add(1);
        effects.push(Effect::Wake { name: self.name.clone(), turn: self.turn, after });
    }
}
