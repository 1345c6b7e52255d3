//! What leaves the core. Effects are carried out in order; `AppendWal`, `KeepEvidence` and `CommitBlock` are awaited.

use alloy_primitives::B256;
use alys_blocks::{BitcoinView, PegIn, Settlement, ValidatorId};
use alys_peg::Withdrawal;
use alys_pow::Halted;
use alys_proto::common::CommittedBlock;
use alys_proto::storage::LedgerFact;
use alys_proto::{Cause, chain};

use super::input::{PegSubject, Ticket, Timer};
use super::mining::AuxBlock;
use super::rules::BlockRefusal;
use super::slots::Millis;

/// Something to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// On disk before the next effect.
    AppendWal {
        /// Of this height.
        height: u64,
        /// Encoded entries.
        entries: Vec<Vec<u8>>,
    },
    /// On disk before the next effect.
    KeepEvidence(Box<chain::Evidence>),
    /// To the other validators, signed ([`alys_blocks::Spoken`]).
    Publish(Vec<u8>),
    /// The engine builds a block.
    GetTemplate(TemplateRequest),
    /// The engine executes a payload.
    Execute {
        /// Of this block.
        hash: B256,
        /// SSZ payload.
        payload: Vec<u8>,
        /// Parent's consensus hash.
        parent_beacon_block_root: B256,
    },
    /// Bridge compares claims with its bitcoind.
    ValidatePegs(PegCheck),
    /// Bridge says what it sees of Bitcoin.
    GetBitcoinView,
    /// Stored, then executed for good, then told to everybody. Before the next effect that shows the head to anybody: one with
    /// `more` waits for the rest of its batch.
    CommitBlock(Box<Commit>),
    /// Comes back as an input.
    StartTimer {
        /// Which.
        timer: Timer,
        /// When.
        at: Millis,
    },
    /// We are behind.
    SyncRequired {
        /// Our head.
        local: u64,
        /// A height that somebody has.
        target: u64,
    },
    /// Somebody waits for this.
    Answer {
        /// Who.
        ticket: Ticket,
        /// What.
        answer: Answer,
    },
    /// Stop everything and say so: going on could fork the chain or lose money.
    Halt(HaltReason),
    /// Worth a log line or a count.
    Note(Note),
}

/// A block to be built by the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRequest {
    /// For this height.
    pub height: u64,
    /// And round.
    pub round: u32,
    /// EL parent.
    pub parent_el_hash: B256,
    /// Parent's consensus hash: randao and beacon root.
    pub parent_hash: B256,
    /// Seconds.
    pub timestamp: u64,
    /// Credits, in order.
    pub withdrawals: Vec<Withdrawal>,
    /// What each of them is for, in the same order.
    pub causes: Vec<Cause>,
    /// How long it may gather transactions.
    pub time_budget_millis: u64,
}

/// Claims to be compared with a bitcoind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PegCheck {
    /// What about.
    pub subject: PegSubject,
    /// Judged at this Bitcoin block.
    pub view: BitcoinView,
    /// Deposits.
    pub peg_ins: Vec<PegIn>,
    /// Confirmed payouts.
    pub settlements: Vec<Settlement>,
    /// How long the answer may take.
    pub deadline_millis: u64,
}

/// A block on its way to the disk.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What is stored and told.
    pub block: CommittedBlock,
    /// Its hash.
    pub hash: B256,
    /// Hash of its parent.
    pub parent_hash: B256,
    /// What it changes in the peg ledger.
    pub facts: Vec<LedgerFact>,
    /// Hash of its EL block.
    pub el_hash: B256,
    /// Decided here, so others may not know it yet.
    pub decided_here: bool,
    /// Another block of the same imported batch follows: it may be stored together with that one.
    pub more: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The claim is pending or recorded already.
    Accepted,
    /// The claim breaks a rule.
    Refused(String),
    /// Too many wait; try again later.
    Busy(String),
    /// All blocks of the batch are committed; our head.
    Imported(u64),
    /// A block of the batch is not what it should be.
    ImportRefused(String),
    /// Something to mine.
    AuxBlock(AuxBlock),
}

/// Why nothing may go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaltReason {
    /// Two valid certificates for one height.
    #[error("two different blocks are committed at height {height}: {ours} here, {theirs} elsewhere")]
    Fork {
        /// Height.
        height: u64,
        /// What we have.
        ours: B256,
        /// What somebody else has.
        theirs: B256,
    },
    /// More than two thirds committed a block that breaks a rule here.
    #[error("the committed block {hash} at height {height} is invalid here: {reason}")]
    InvalidCommitted {
        /// Height.
        height: u64,
        /// Hash.
        hash: B256,
        /// The rule.
        reason: Box<BlockRefusal>,
    },
    /// Consensus cannot go on without risking to vote twice.
    #[error("consensus cannot go on: {0}")]
    Consensus(String),
}

/// Worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A message of another validator was of no use.
    MessageRefused(&'static str),
    /// A proposed block breaks a rule.
    ProposalRefused {
        /// Its hash.
        hash: B256,
        /// The rule.
        reason: BlockRefusal,
    },
    /// A block that we built breaks a rule: nothing is proposed in this round.
    OwnBlockRefused(BlockRefusal),
    /// The engine could not build; it is asked again.
    EngineAway(String),
    /// A pending claim was dropped.
    ClaimDropped(String),
    /// It is our turn, but the chain waits for work.
    WantsWork(Halted),
    /// A block waits.
    Waiting {
        /// Its hash.
        hash: B256,
        /// For what.
        reason: String,
    },
    /// A validator signed two different things in one place.
    Equivocation(ValidatorId),
    /// A block from outside was refused.
    ImportRefused(String),
    /// A round began after the first: the slot before was missed.
    RoundMissed {
        /// Height.
        height: u64,
        /// The round that began.
        round: u32,
    },
}
