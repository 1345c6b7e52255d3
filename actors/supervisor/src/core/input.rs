//! What enters the state machine.

use std::time::Duration;

use super::exit::Ending;
use super::verdict::Jitter;

/// What the supervisor learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The supervisor itself is up.
    Begin,
    /// A process was started.
    Spawned {
        /// Instance.
        name: String,
        /// Its process.
        pid: u32,
    },
    /// A process ended, or could not be started.
    Ended {
        /// Instance.
        name: String,
        /// How.
        ending: Ending,
        /// Randomness for the wait.
        jitter: Jitter,
    },
    /// A wait is over.
    Due {
        /// Instance.
        name: String,
        /// Which of its waits; older ones are void.
        turn: u64,
    },
    /// What the mesh shows of an instance.
    Seen {
        /// Instance.
        name: String,
        /// Process that says so: an old incarnation's view counts for nothing. `None`: it said nothing.
        pid: Option<u32>,
        /// What it shows.
        view: View,
        /// Randomness for a wait.
        jitter: Jitter,
    },
    /// A person asks for a restart.
    RestartAsked {
        /// Instance.
        name: String,
    },
}

/// How the mesh sees a live process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Not ready yet.
    Starting,
    /// Ready, or degraded: it works.
    Working,
    /// No progress for so long, as far as the observer knows (zero: it just does not answer).
    Stuck(Duration),
}
