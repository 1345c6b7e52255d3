//! Pure verdicts: (policy, history, observation) → what to do with one instance.
//!
//! | observation | strategy (default) |
//! |---|---|
//! | exit 80 | `on_restart_me` (immediate) |
//! | exit 75 | `on_temporary` (circuit breaker) |
//! | exit 64, 78 | `on_configuration` (escalation) |
//! | other exit, signal, not started | `on_failure` (backoff) |
//! | alive, and says that it makes no progress | `on_wedged` (backoff) |
//! | alive, silent for `wedged_after` | `on_wedged` (backoff) |
//! | exit 0 | none: Stop |
//! | alive | none: Resume |
//!
//! | strategy | within the limit | over the limit |
//! |---|---|---|
//! | immediate | Restart now | as circuit breaker |
//! | backoff | Restart after a wait that doubles | Escalate |
//! | circuit breaker | Restart after the same wait | Restart after cool-down (open), then one try (half-open) |
//! | escalation | Escalate | Escalate |
//!
//! The limit is `max_restarts` within `window`. Half-open and failing again waits for another cool-down.

use std::time::Duration;

use super::exit::{self, Ending};
use super::policy::Policy;
pub use super::policy::Strategy;

/// A moment, counted from the supervisor's start.
pub type Moment = Duration;

/// The seed's four answers to a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it again after this wait. A live one is stopped first.
    Restart {
        /// How long to wait.
        after: Duration,
    },
    /// It is done: leave it stopped.
    Stop,
    /// It lives: leave it alone.
    Resume,
    /// Only a person can help: quarantine it, visibly.
    Escalate,
}

/// A decision and how it came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub decision: Decision,
    /// By which strategy; `None` where nothing failed.
    pub strategy: Option<Strategy>,
    /// The restart goes through an open circuit: it is the one try of the half-open state.
    pub opens_circuit: bool,
}

/// What was seen of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Its process ended.
    Ended(Ending),
    /// Its process lives and makes progress.
    Alive,
    /// Its process lives and says that it makes no progress.
    Wedged,
    /// Its process lives but has said nothing for so long.
    Silent(Duration),
}

/// A number in [-1000, 1000], drawn by the shell: how far a wait is varied, in thousandths of the policy's jitter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jitter(i16);

impl Jitter {
    /// Clamps to the range.
    pub fn new(thousandths: i16) -> Self {
        Self(thousandths.clamp(-1000, 1000))
    }
}

/// What is remembered of an instance's failures. Bounded: at most `max_restarts` moments are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    restarts: Vec<Moment>,
    streak: u32,
    ready_since: Option<Moment>,
    half_open: bool,
}

impl History {
    /// The instance became ready: a half-open circuit closes.
    pub fn ready(&mut self, now: Moment) {
        self.ready_since.get_or_insert(now);
        self.half_open = false;
    }

    /// The instance ended or is to be replaced: long health before this forgives what was before.
    pub fn failed(&mut self, policy: &Policy, now: Moment) {
        let healthy = self.ready_since.take().map(|since| now.saturating_sub(since));
        if healthy.is_some_and(|span| span >= policy.healthy_after) {
            *self = Self::default();
        }
        let window = policy.window;
        self.restarts.retain(|at| now.saturating_sub(*at) < window);
    }

    /// Takes note of a verdict that was carried out.
    pub fn record(&mut self, verdict: &Verdict, now: Moment) {
        if let Decision::Restart { .. } = verdict.decision {
            self.restarts.push(now);
            self.streak = self.streak.saturating_add(1);
            self.half_open = verdict.opens_circuit;
        }
    }

    fn recent(&self, policy: &Policy, now: Moment) -> usize {
        self.restarts.iter().filter(|at| now.saturating_sub(**at) < policy.window).count()
    }
}

/// Decides. `history.failed` has been told of an ending before.
pub fn decide(policy: &Policy, history: &History, observation: Observation, now: Moment, jitter: Jitter) -> Verdict {
    let verdict = |decision, strategy| Verdict { decision, strategy, opens_circuit: false };
    let Some(strategy) = strategy(policy, observation) else {
        let decision =
            if observation == Observation::Ended(Ending::Code(exit::DONE)) { Decision::Stop } else { Decision::Resume };
        return verdict(decision, None);
    };
    let limit = usize::try_from(policy.max_restarts).unwrap_or(usize::MAX);
    let exhausted = history.recent(policy, now) >= limit;
    let backoff = Decision::Restart { after: vary(policy, backoff(policy, history.streak), jitter) };
    match strategy {
        Strategy::Escalation => verdict(Decision::Escalate, Some(strategy)),
        Strategy::Immediate | Strategy::CircuitBreaker if exhausted || history.half_open => Verdict {
            decision: Decision::Restart { after: vary(policy, policy.cool_down, jitter) },
            strategy: Some(Strategy::CircuitBreaker),
            opens_circuit: true,
        },
        Strategy::Backoff if exhausted => verdict(Decision::Escalate, Some(strategy)),
        Strategy::Immediate => verdict(Decision::Restart { after: Duration::ZERO }, Some(strategy)),
        Strategy::Backoff | Strategy::CircuitBreaker => verdict(backoff, Some(strategy)),
    }
}

/// Which strategy an observation calls for; `None` when nothing failed.
fn strategy(policy: &Policy, observation: Observation) -> Option<Strategy> {
    match observation {
        Observation::Alive | Observation::Ended(Ending::Code(exit::DONE)) => None,
        Observation::Silent(span) if span < policy.wedged_after => None,
        Observation::Wedged | Observation::Silent(_) => Some(policy.on_wedged),
        Observation::Ended(Ending::Code(exit::RESTART)) => Some(policy.on_restart_me),
        Observation::Ended(Ending::Code(exit::TEMPORARY)) => Some(policy.on_temporary),
        Observation::Ended(Ending::Code(exit::USAGE | exit::CONFIGURATION)) => Some(policy.on_configuration),
        Observation::Ended(_) => Some(policy.on_failure),
    }
}

/// `first_delay` doubled for every restart of the streak, at most `longest_delay`.
fn backoff(policy: &Policy, streak: u32) -> Duration {
    let factor = 2u32.checked_pow(streak).unwrap_or(u32::MAX);
    policy.first_delay.saturating_mul(factor).min(policy.longest_delay)
}

/// The wait, varied by at most `jitter_percent`.
fn vary(policy: &Policy, wait: Duration, jitter: Jitter) -> Duration {
    let widest = wait.saturating_mul(policy.jitter_percent.min(100)) / 100;
    let part = widest.saturating_mul(u32::from(jitter.0.unsigned_abs())) / 1000;
    if jitter.0 < 0 { wait.saturating_sub(part) } else { wait.saturating_add(part) }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
