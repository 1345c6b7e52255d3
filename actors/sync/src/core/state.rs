//! The leader: knows the head and the target, keeps the book of pieces, and hands them to chain in order.
//!
//! ```text
//! idle ──required──▶ reading head ──▶ working ──next piece is in──▶ importing ──┐
//!   ▲                    ▲  │ at the target                                    │
//!   └────────────────────┼──┘                                                  │
//!                        └──── waiting ◀── any failure          next piece ◀───┘
//! ```
//! The head in storage is the checkpoint: it is read again before every import. A certified block that does not build on
//! our head stops sync for good: two committed blocks at one height are for people to judge, never for us to choose.

use alys_proto::common::CommittedBlock;

use super::book::{Book, Cut, Millis, Piece};
use super::range::Tip;

/// What does not change while the role runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How the missing range is cut.
    pub cut: Cut,
    /// Wait after the first failure, milliseconds.
    pub retry_min: Millis,
    /// Longest wait, milliseconds.
    pub retry_max: Millis,
}

/// What the leader is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing to do, or another instance leads.
    Idle,
    /// Asking storage where we are.
    ReadingHead,
    /// Waiting for the workers' pieces.
    Working,
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
            Self::Working => "working",
            Self::Importing => "importing",
            Self::Waiting => "waiting",
            Self::Forked => "forked",
        }
    }
}

/// Why an import failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportFault {
    /// The first block is certified and does not build on our head.
    Fork(String),
    /// The piece, or chain, or the way to it.
    Failed(String),
}

/// What can happen.
#[derive(Debug)]
pub enum Input {
    /// Chain, or a worker that knows it from a leader before us: others have this height.
    Required {
        /// Our head, as far as who says this knows.
        local: u64,
        /// A head that others have.
        target: u64,
    },
    /// Storage: our head.
    Head(Result<Tip, String>),
    /// A worker brought a piece, checked in itself.
    Delivered {
        /// Who.
        worker: String,
        /// First height.
        from: u64,
        /// Its blocks.
        blocks: Vec<CommittedBlock>,
    },
    /// Chain: the height of its head after the batch.
    Imported(Result<u64, ImportFault>),
    /// A wait is over.
    Woken,
    /// Blocks went to a peer.
    Served(u64),
    /// Another instance leads now.
    Deposed,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Ask storage for the head.
    ReadHead,
    /// Hand a piece to chain, if it builds on the tip.
    Import {
        /// Our head.
        tip: Tip,
        /// Who brought it.
        worker: String,
        /// The blocks.
        blocks: Vec<CommittedBlock>,
    },
    /// There is work to pull.
    WakeWorker,
    /// Say `Woken` after so many milliseconds.
    Wait(Millis),
}

/// The leader without its neighbours.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    phase: Phase,
    tip: Tip,
    book: Book<String, CommittedBlock>,
    failures: u32,
    last_failure: String,
    imported: u64,
    served: u64,
}

impl State {
    /// Nothing to do.
    pub const fn new(settings: Settings) -> Self {
        let tip = Tip { height: 0, hash: Vec::new() };
        let book = Book::new(settings.cut);
        Self { settings, phase: Phase::Idle, tip, book, failures: 0, last_failure: String::new(), imported: 0, served: 0 }
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
        self.book.target()
    }

    /// Blocks that chain took from us, and blocks that peers took.
    pub const fn counted(&self) -> (u64, u64) {
        (self.imported, self.served)
    }

    /// Pieces that are out, and that wait for one below them.
    pub fn pieces(&self) -> (usize, usize) {
        self.book.counts()
    }

    /// Failures since the last success, and the last of them.
    pub fn failures(&self) -> (u32, &str) {
        (self.failures, &self.last_failure)
    }

    /// Whether it is on its way to a target.
    pub fn is_syncing(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Forked)
    }

    /// A worker asks for work; `failed`: a piece that it could not get.
    pub fn pull(&mut self, worker: &str, failed: Option<u64>, now: Millis) -> Option<Piece> {
        let worker = worker.to_owned();
        if let Some(from) = failed {
            self.book.failed(&worker, from);
        }
        // Where we are must be known before anything is cut.
        if matches!(self.phase, Phase::Idle | Phase::Forked) || !self.book.has_head() {
            return None;
        }
        self.book.pull(&worker, now)
    }

    /// These workers are gone.
    pub fn gone<'a>(&mut self, workers: impl Iterator<Item = &'a String>) {
        workers.for_each(|worker| self.book.gone(worker));
    }

    /// Something happened; what is to be done? An answer that nobody waits for any more is dropped.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        match (self.phase, input) {
            (_, Input::Required { local, target }) => self.required(local, target),
            (_, Input::Served(blocks)) => {
                self.served = self.served.saturating_add(blocks);
                Vec::new()
            }
            (Phase::Forked, _) => Vec::new(),
            (_, Input::Deposed) => {
                let target = self.book.target();
                self.book = Book::new(self.settings.cut);
                self.book.aim(target);
                self.phase = Phase::Idle;
                Vec::new()
            }
            (_, Input::Delivered { worker, from, blocks }) => {
                self.book.deliver(&worker, from, blocks);
                self.import()
            }
            (Phase::ReadingHead, Input::Head(Ok(tip))) => self.head(tip),
            (Phase::Importing, Input::Imported(Ok(height))) => self.took(height),
            (Phase::Importing, Input::Imported(Err(ImportFault::Fork(reason)))) => {
                (self.phase, self.last_failure) = (Phase::Forked, reason);
                Vec::new()
            }
            (Phase::Importing, Input::Imported(Err(ImportFault::Failed(reason)))) => {
                self.book.refused();
                self.fail(reason)
            }
            (Phase::Waiting, Input::Woken) => self.read_head(),
            (Phase::ReadingHead, Input::Head(Err(reason))) => self.fail(reason),
            _ => Vec::new(),
        }
    }

    fn required(&mut self, local: u64, target: u64) -> Vec<Effect> {
        self.book.aim(target);
        if self.phase != Phase::Idle || self.book.target() <= local {
            return Vec::new();
        }
        self.read_head()
    }

    fn read_head(&mut self) -> Vec<Effect> {
        self.phase = Phase::ReadingHead;
        vec![Effect::ReadHead]
    }

    fn head(&mut self, tip: Tip) -> Vec<Effect> {
        self.book.set_head(tip.height);
        self.tip = tip;
        if !self.book.is_behind() {
            self.phase = Phase::Idle;
            self.failures = 0;
            return Vec::new();
        }
        self.phase = Phase::Working;
        let mut effects = self.import();
        effects.push(Effect::WakeWorker);
        effects
    }

    fn import(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Working {
            return Vec::new();
        }
        let Some((worker, blocks)) = self.book.import() else { return Vec::new() };
        self.phase = Phase::Importing;
        vec![Effect::Import { tip: self.tip.clone(), worker, blocks: blocks.to_vec() }]
    }

    fn took(&mut self, height: u64) -> Vec<Effect> {
        let taken = height.saturating_sub(self.tip.height);
        if taken == 0 {
            self.book.refused();
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
