//! How patient the supervisor is. All durations are wall time of the host.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When to restart, how long to wait, when to give up. `[supervisor.restart]` in the configuration.
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
    /// A live process without progress for so long is restarted.
    #[serde(with = "humantime_serde")]
    pub wedged_after: Duration,
    /// A plain process shows no health: it counts as ready when it has lived for so long.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// After SIGTERM a process has so long to drain before SIGKILL (a restart, not a shutdown of all).
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
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
            wedged_after: Duration::from_secs(10),
            settle: Duration::from_millis(300),
            grace: Duration::from_secs(5),
        }
    }
}
