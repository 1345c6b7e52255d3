//! `[supervisor]` in the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the supervisor is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the output of children goes: `<instance>.log`. Relative: to the data directory.
    pub log_dir: PathBuf,
    /// A log file is moved to `<instance>.log.1` (replacing it) when it grows over so many bytes.
    pub log_bytes: u64,
    /// On a drain, each phase of the reverse start order has so long before SIGKILL; unspent time carries over.
    #[serde(with = "humantime_serde")]
    pub phase_budget: Duration,
    /// How often the mesh is looked at while something is starting.
    #[serde(with = "humantime_serde")]
    pub look_starting: Duration,
    /// How often the mesh is looked at when all is well.
    #[serde(with = "humantime_serde")]
    pub look: Duration,
    /// Where it keeps what must outlive it: what people have ordered, and which processes it started.
    pub state_dir: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_dir: PathBuf::from("logs"),
            log_bytes: 64 * 1024 * 1024,
            // Five phases: ten seconds in all.
            phase_budget: Duration::from_secs(2),
            look_starting: Duration::from_millis(50),
            look: Duration::from_secs(1),
            state_dir: PathBuf::from("."),
        }
    }
}

impl Config {
    /// Drains and numbers of processes.
    pub fn desired_file(&self) -> PathBuf {
        self.state_dir.join("supervisor.desired")
    }

    /// Processes that may outlive the supervisor, for the next one.
    pub fn children_file(&self) -> PathBuf {
        self.state_dir.join("supervisor.children")
    }
}
