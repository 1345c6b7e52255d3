//! What enters the state machine.

use std::collections::BTreeSet;

use alys_proto::Role;

use super::exit::Ending;
use super::instance::Instance;
use super::office::{Foreign, Office};
use super::verdict::Jitter;

/// What the supervisor learns.
#[derive(Clone, Debug)]
pub enum Input {
    /// The supervisor itself is up, and has adopted what already ran.
    Begin,
    /// What it may do is something else now.
    Office(Office),
    /// A process of a supervisor before this one runs on.
    Adopted {
        /// Instance.
        name: String,
        /// Its process.
        pid: u32,
    },
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
    /// What the mesh shows now.
    Looked {
        /// Every process that answered.
        sights: Vec<Sight>,
        /// Roles that are ready and not ours to start.
        elsewhere: BTreeSet<Role>,
        /// Processes of planned instances that are not ours.
        foreign: Vec<Foreign>,
        /// Randomness for a wait.
        jitter: Jitter,
    },
    /// A person asks for a restart.
    RestartAsked {
        /// Instance.
        name: String,
    },
    /// A person wants it stopped, and kept so.
    DrainAsked {
        /// Instance.
        name: String,
    },
    /// A person ends a drain or a quarantine.
    ResumeAsked {
        /// Instance.
        name: String,
    },
    /// One more instance is wanted.
    Added(Box<Instance>),
    /// An instance is not wanted any more.
    Removed {
        /// Instance.
        name: String,
    },
}

/// A process that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Instance.
    pub name: String,
    /// Process: an old incarnation's answer counts for nothing.
    pub pid: u32,
    /// What it shows.
    pub view: View,
}

/// How the mesh sees a live process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Not ready yet, or on its way out.
    Starting,
    /// Ready, or degraded: it works.
    Working,
    /// It says that it makes no progress, and why.
    Wedged(String),
}
