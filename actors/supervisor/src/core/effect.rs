//! What leaves the state machine.

use std::time::Duration;

use super::exit::Ending;
use super::owner::Owner;

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the process.
    Spawn(String),
    /// SIGTERM this process.
    Terminate {
        /// Instance.
        name: String,
        /// Process.
        pid: u32,
    },
    /// SIGKILL this process.
    Kill {
        /// Instance.
        name: String,
        /// Process.
        pid: u32,
    },
    /// Come back with `Due` after a wait.
    Wake {
        /// Instance.
        name: String,
        /// To be given back.
        turn: u64,
        /// The wait.
        after: Duration,
    },
    /// It was scaled away and is gone.
    Forget(String),
    /// Something people want to know.
    Report(Report),
}

/// A change of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is ready.
    Ready(String),
    /// All are ready, for the first time.
    AllReady,
    /// It ended and will be started again.
    Restarting {
        /// Instance.
        name: String,
        /// Why.
        why: String,
        /// When.
        after: Duration,
    },
    /// It ended by itself and stays so.
    Stopped(String),
    /// It ended as asked and is kept stopped.
    Drained(String),
    /// Its platform has not started it in time.
    Missing {
        /// Instance.
        name: String,
        /// Whose task that is.
        owner: Owner,
    },
    /// Its platform refuses to do what must be done.
    Helpless {
        /// Instance.
        name: String,
        /// What it said.
        reason: String,
    },
    /// It needs a person.
    Quarantined {
        /// Instance.
        name: String,
        /// How it ended last.
        ending: Ending,
    },
}
