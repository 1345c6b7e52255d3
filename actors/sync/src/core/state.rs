//! The state of sync and its one transition.
//!
//! ```text
//! idle ──required──▶ reading head ──▶ fetching ──▶ checking ──▶ importing ──┐
//!   ▲                    ▲  │ at the target                                 │
//!   └────────────────────┼──┘                                               │
//!                        └──── waiting ◀── any failure      next range ◀────┘
//! ```
//! A certified block that does not build on our head stops sync for good: two committed blocks at one height are for
//! people to judge, never for us to choose.

use alys_proto::common::CommittedBlock;

use super::range::{RangeFault, Tip};

/// What does not change while the role runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Blocks asked for at once.
    pub batch: u32,
    /// Wait after the first failure, milliseconds.
    pub retry_min: u64,
    /// Longest wait, milliseconds.
    pub retry_max: u64,
}

/// What sync is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing to do.
    Idle,
    /// Asking storage where we are.
    ReadingHead,
    /// Waiting for a peer's blocks.
    Fetching,
    /// Checking them.
    Checking,
    /// Waiting for chain.
    Importing,
    /// Letting time pass after a failure.
    Waiting,
    /// Two committed chains: stopped.
    Forked,
}

impl Phase {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::ReadingHead => "reading head",
            Self::Fetching => "fetching",
            Self::Checking => "checking",
            Self::Importing => "importing",
            Self::Waiting => "waiting",
            Self::Forked => "forked",
        }
    }
}

/// What can happen.
#[derive(Debug)]
pub enum Input {
    /// Chain: we are behind.
    Required {
        /// Our head.
        local: u64,
        /// A head that others have.
        target: u64,
    },
    /// Storage: our head.
    Head(Result<Tip, String>),
    /// Network: blocks and who served them.
    Fetched(Result<(Vec<CommittedBlock>, String), String>),
    /// The blocks have been checked.
    Checked {
        /// Who served them.
        peer: String,
        /// The blocks or what is wrong.
        outcome: Result<Vec<CommittedBlock>, RangeFault>,
    },
    /// Chain: the height of its head after the batch.
    Imported(Result<u64, String>),
    /// A wait is over.
    Woken,
    /// Blocks went to a peer.
    Served(u64),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Ask storage for the head.
    ReadHead,
    /// Ask network for a range.
    Fetch {
        /// First height.
        from: u64,
        /// How many.
        count: u32,
    },
    /// Check a range, off the actor's thread.
    Check {
        /// What it must follow.
        tip: Tip,
        /// The range.
        blocks: Vec<CommittedBlock>,
        /// Who served it.
        peer: String,
    },
    /// Hand a batch to chain.
    Import(Vec<CommittedBlock>),
    /// Tell network that a peer served what proves nothing.
    Blame {
        /// Who.
        peer: String,
        /// What.
        reason: String,
    },
    /// Say `Woken` after so many milliseconds.
    Wait(u64),
}

/// Sync without its neighbours.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    phase: Phase,
    tip: Tip,
    target: u64,
    failures: u32,
    last_failure: String,
    imported: u64,
    served: u64,
}

impl State {
    /// Nothing to do.
    pub const fn new(settings: Settings) -> Self {
        let tip = Tip { height: 0, hash: Vec::new() };
        Self { settings, phase: Phase::Idle, tip, target: 0, failures: 0, last_failure: String::new(), imported: 0, served: 0 }
    }

    /// What it is doing.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Our head as far as sync knows.
    pub const fn local(&self) -> u64 {
        self.tip.height
    }

    /// Where it wants to get.
    pub const fn target(&self) -> u64 {
        self.target
    }

    /// Blocks that chain took from us, and blocks that peers took.
    pub const fn counted(&self) -> (u64, u64) {
        (self.imported, self.served)
    }

    /// Failures since the last success, and the last of them.
    pub fn failures(&self) -> (u32, &str) {
        (self.failures, &self.last_failure)
    }

    /// Whether it is on its way to a target.
    pub fn is_syncing(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Forked)
    }

    /// Something happened; what is to be done? An answer that nobody waits for any more is dropped.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match (self.phase, input) {
            (_, Input::Required { local, target }) => self.required(local, target),
            (_, Input::Served(blocks)) => {
                self.served = self.served.saturating_add(blocks);
                Vec::new()
            }
            (Phase::ReadingHead, Input::Head(Ok(tip))) => self.head(tip),
            (Phase::Fetching, Input::Fetched(Ok((blocks, peer)))) => {
                self.phase = Phase::Checking;
                vec![Effect::Check { tip: self.tip.clone(), blocks, peer }]
            }
            (Phase::Checking, Input::Checked { peer, outcome }) => self.checked(peer, outcome),
            (Phase::Importing, Input::Imported(Ok(height))) => self.took(height),
            (Phase::Waiting, Input::Woken) => self.read_head(),
            (Phase::ReadingHead, Input::Head(Err(reason)))
            | (Phase::Fetching, Input::Fetched(Err(reason)))
            | (Phase::Importing, Input::Imported(Err(reason))) => self.fail(reason),
            _ => Vec::new(),
        }
    }

    fn required(&mut self, local: u64, target: u64) -> Vec<Effect> {
        self.target = target.max(self.target);
        if self.phase != Phase::Idle || self.target <= local {
            return Vec::new();
        }
        self.read_head()
    }

    fn read_head(&mut self) -> Vec<Effect> {
        self.phase = Phase::ReadingHead;
        vec![Effect::ReadHead]
    }

    fn head(&mut self, tip: Tip) -> Vec<Effect> {
        self.tip = tip;
        let missing = self.target.saturating_sub(self.tip.height);
        if missing == 0 {
            self.phase = Phase::Idle;
            self.failures = 0;
            return Vec::new();
        }
        self.phase = Phase::Fetching;
        let count = u32::try_from(missing).unwrap_or(u32::MAX).min(self.settings.batch);
        vec![Effect::Fetch { from: self.tip.height.saturating_add(1), count }]
    }

    fn checked(&mut self, peer: String, outcome: Result<Vec<CommittedBlock>, RangeFault>) -> Vec<Effect> {
        match outcome {
            Ok(blocks) => {
                self.phase = Phase::Importing;
                vec![Effect::Import(blocks)]
            }
            Err(fork @ RangeFault::Fork { .. }) => {
                self.phase = Phase::Forked;
                self.last_failure = format!("{peer}: {fork}");
                Vec::new()
            }
            Err(fault) => {
                let reason = fault.to_string();
                let mut effects = self.fail(format!("{peer}: {reason}"));
                effects.push(Effect::Blame { peer, reason });
                effects
            }
        }
    }

    fn took(&mut self, height: u64) -> Vec<Effect> {
        let taken = height.saturating_sub(self.tip.height);
        if taken == 0 {
            return self.fail(format!("chain took none of the blocks from {}", self.tip.height.saturating_add(1)));
        }
        self.imported = self.imported.saturating_add(taken);
        self.failures = 0;
        self.read_head()
    }

    fn fail(&mut self, reason: String) -> Vec<Effect> {
        let factor = 1u64.checked_shl(self.failures.min(63)).unwrap_or(u64::MAX);
        self.failures = self.failures.saturating_add(1);
        self.last_failure = reason;
        self.phase = Phase::Waiting;
        vec![Effect::Wait(self.settings.retry_min.saturating_mul(factor).min(self.settings.retry_max))]
    }
}
