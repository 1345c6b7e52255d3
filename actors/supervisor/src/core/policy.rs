//! How patient the supervisor is with an instance, and by which strategy it answers which failure. All durations are wall
//! time of the host.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The seed's four restart strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Start again at once. Over the limit it becomes a circuit breaker.
    Immediate,
    /// Start again after a wait that doubles. Over the limit: quarantine.
    Backoff,
    /// The same wait, but over the limit the circuit opens: one try after every `cool_down`, for ever.
    CircuitBreaker,
    /// Quarantine at once: it will fail in the same way until something is changed.
    Escalation,
}

/// When to restart, how long to wait, when to give up. `[supervision.restart]` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// So many restarts within `window` are tried; the next failure quarantines (or opens the circuit).
    pub max_restarts: u32,
    /// The span in which restarts are counted.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Wait before the first restart of a streak; doubles with each further one.
    #[serde(with = "humantime_serde")]
    pub first_delay: Duration,
    /// Longest wait before a restart.
    #[serde(with = "humantime_serde")]
    pub longest_delay: Duration,
    /// A wait is varied by up to this many percent either way, so that roles do not restart in step.
    pub jitter_percent: u32,
    /// So long ready and the streak is forgotten.
    #[serde(with = "humantime_serde")]
    pub healthy_after: Duration,
    /// How long an open circuit waits before it lets one try through.
    #[serde(with = "humantime_serde")]
    pub cool_down: Duration,
    /// A live process that says nothing for so long is wedged. One that answers says by itself when it makes no progress.
    #[serde(with = "humantime_serde")]
    pub wedged_after: Duration,
    /// A started process joins the mesh within this time, or counts as wedged. Opening its data comes after joining.
    #[serde(with = "humantime_serde")]
    pub join_within: Duration,
    /// A plain process shows no health: it counts as ready when it has lived for so long.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// After SIGTERM a process has so long to drain before SIGKILL (one instance; a shutdown of all has its own budget).
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Strategy for a process that asks to be started again (exit 80).
    pub on_restart_me: Strategy,
    /// Strategy for a process that misses something outside (exit 75).
    pub on_temporary: Strategy,
    /// Strategy for a wrong command line or configuration (exits 64 and 78).
    pub on_configuration: Strategy,
    /// Strategy for every other end: bugs, panics, signals, a program that cannot be started.
    pub on_failure: Strategy,
    /// Strategy for a process that makes no progress.
    pub on_wedged: Strategy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_secs(60),
            first_delay: Duration::from_millis(250),
            longest_delay: Duration::from_secs(30),
            jitter_percent: 20,
            healthy_after: Duration::from_secs(600),
            cool_down: Duration::from_secs(30),
            wedged_after: Duration::from_secs(5),
            join_within: Duration::from_secs(30),
            settle: Duration::from_millis(300),
            // A second over the five that `cluster.drain_budget` gives a role to finish what is queued.
            grace: Duration::from_secs(6),
            on_restart_me: Strategy::Immediate,
            on_temporary: Strategy::CircuitBreaker,
            on_configuration: Strategy::Escalation,
            on_failure: Strategy::Backoff,
            on_wedged: Strategy::Backoff,
        }
    }
}

/// What one role has instead of the common policy. `[supervision.role.<role>]` in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolePolicy {
    /// Who restarts it.
    pub owner: Option<super::owner::Owner>,
    /// Processes of this role, where it may have several (sync). `alys scale` overrides it.
    pub instances: Option<u32>,
    /// See [`Policy::max_restarts`].
    pub max_restarts: Option<u32>,
    /// See [`Policy::window`].
    #[serde(with = "humantime_serde")]
    pub window: Option<Duration>,
    /// See [`Policy::first_delay`].
    #[serde(with = "humantime_serde")]
    pub first_delay: Option<Duration>,
    /// See [`Policy::longest_delay`].
    #[serde(with = "humantime_serde")]
    pub longest_delay: Option<Duration>,
    /// See [`Policy::jitter_percent`].
    pub jitter_percent: Option<u32>,
    /// See [`Policy::healthy_after`].
    #[serde(with = "humantime_serde")]
    pub healthy_after: Option<Duration>,
    /// See [`Policy::cool_down`].
    #[serde(with = "humantime_serde")]
    pub cool_down: Option<Duration>,
    /// See [`Policy::wedged_after`].
    #[serde(with = "humantime_serde")]
    pub wedged_after: Option<Duration>,
    /// See [`Policy::join_within`].
    #[serde(with = "humantime_serde")]
    pub join_within: Option<Duration>,
    /// See [`Policy::grace`].
    #[serde(with = "humantime_serde")]
    pub grace: Option<Duration>,
    /// See [`Policy::on_restart_me`].
    pub on_restart_me: Option<Strategy>,
    /// See [`Policy::on_temporary`].
    pub on_temporary: Option<Strategy>,
    /// See [`Policy::on_configuration`].
    pub on_configuration: Option<Strategy>,
    /// See [`Policy::on_failure`].
    pub on_failure: Option<Strategy>,
    /// See [`Policy::on_wedged`].
    pub on_wedged: Option<Strategy>,
}

impl RolePolicy {
    /// The common policy with what this role has of its own.
    pub fn over(&self, common: &Policy) -> Policy {
        Policy {
            max_restarts: self.max_restarts.unwrap_or(common.max_restarts),
            window: self.window.unwrap_or(common.window),
            first_delay: self.first_delay.unwrap_or(common.first_delay),
            longest_delay: self.longest_delay.unwrap_or(common.longest_delay),
            jitter_percent: self.jitter_percent.unwrap_or(common.jitter_percent),
            healthy_after: self.healthy_after.unwrap_or(common.healthy_after),
            cool_down: self.cool_down.unwrap_or(common.cool_down),
            wedged_after: self.wedged_after.unwrap_or(common.wedged_after),
            join_within: self.join_within.unwrap_or(common.join_within),
            settle: common.settle,
            grace: self.grace.unwrap_or(common.grace),
            on_restart_me: self.on_restart_me.unwrap_or(common.on_restart_me),
            on_temporary: self.on_temporary.unwrap_or(common.on_temporary),
            on_configuration: self.on_configuration.unwrap_or(common.on_configuration),
            on_failure: self.on_failure.unwrap_or(common.on_failure),
            on_wedged: self.on_wedged.unwrap_or(common.on_wedged),
        }
    }
}
