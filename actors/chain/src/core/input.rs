//! What enters the core.

use alloy_primitives::{Address, B256};
use alys_blocks::{BitcoinView, Certificate};
use alys_peg::{BurnRef, InclusionProof, PayoutRecorded, PegInProof};
use alys_pow::MinedHash;
use alys_proto::common::Burn;
use malachite_types::Timeout;

/// Somebody waits for an answer under this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A timer that an effect started.
    Timer(Timer),
    /// The engine's answer to a template request.
    TemplateBuilt {
        /// For this height.
        height: u64,
        /// And this round.
        round: u32,
        /// What it built.
        result: Result<Template, EngineFailure>,
    },
    /// The engine's answer to an execution.
    ExecutionDone {
        /// Of this block.
        hash: B256,
        /// What came out.
        result: Result<Execution, EngineFailure>,
    },
    /// Bridge's answer to a question about Bitcoin.
    PegVerdict {
        /// About this.
        subject: PegSubject,
        /// What it says.
        verdict: PegVerdict,
    },
    /// A gossiped consensus message.
    ConsensusMessage(Vec<u8>),
    /// A block that says it is committed; from gossip.
    BlockReceived(ImportedBlock),
    /// Blocks that sync has validated, in order.
    BatchBlockImport {
        /// Who waits.
        ticket: Ticket,
        /// The blocks.
        blocks: Vec<ImportedBlock>,
    },
    /// The block of a commit effect is stored and executed.
    Committed {
        /// Its hash.
        hash: B256,
    },
    /// A peg claim.
    ClaimArrived {
        /// Who waits.
        ticket: Ticket,
        /// What is claimed.
        claim: Claim,
    },
    /// Bridge's view of Bitcoin's best chain.
    BitcoinView(BitcoinView),
    /// A miner wants something to mine.
    AuxBlockWanted {
        /// Who waits.
        ticket: Ticket,
        /// Who is paid for the work.
        fee_recipient: Address,
    },
    /// A miner has solved it.
    AuxBlockSolved {
        /// Who waits.
        ticket: Ticket,
        /// What was handed out.
        hash: MinedHash,
        /// Serialised proof.
        proof: Vec<u8>,
    },
}

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A height starts.
    HeightStart {
        /// Which.
        height: u64,
    },
    /// A step of a round has lasted too long.
    Step {
        /// Height.
        height: u64,
        /// Step and round.
        timeout: Timeout,
        /// Which start of this timer: an older one counts no more.
        generation: u64,
    },
    /// Something waits to be tried again.
    Recheck,
}

/// A block that the engine has built and executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// SSZ payload.
    pub payload: Vec<u8>,
    /// Burns in its receipts.
    pub burns: Vec<Burn>,
}

/// What executing a payload gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Execution {
    /// Legal.
    Valid {
        /// Hash of the EL block as executed.
        el_hash: B256,
        /// Burns in its receipts.
        burns: Vec<Burn>,
    },
    /// Illegal, and why.
    Invalid(String),
}

/// The engine could not answer; it may later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFailure(pub String);

/// What a question to bridge is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PegSubject {
    /// A block.
    Block(B256),
    /// The claims of the block that we are building.
    Building {
        /// Height.
        height: u64,
        /// Round.
        round: u32,
    },
    /// One claim of a set that was not confirmed.
    Claim(ClaimId),
}

/// A claim about Bitcoin by what it can be made for only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimId {
    /// A deposit.
    PegIn {
        /// Transaction, internal byte order.
        txid: B256,
        /// Output.
        vout: u32,
    },
    /// A confirmed payout.
    Settlement {
        /// Transaction, internal byte order.
        txid: B256,
    },
}

/// Bridge's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PegVerdict {
    /// All claims hold.
    Valid,
    /// A claim contradicts our bitcoind.
    Invalid(String),
    /// Our bitcoind does not know that view, or nobody answered: wait, never "invalid".
    Lagging(String),
}

/// A block from outside with its certificate. `block` is SSZ, still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedBlock {
    /// Height, as the sender says.
    pub height: u64,
    /// SSZ block.
    pub block: Vec<u8>,
    /// Decoded certificate.
    pub certificate: Certificate,
}

/// A peg claim to be put into a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A deposit that governance approved.
    PegIn {
        /// Proof.
        proof: Box<PegInProof>,
        /// Names of the members that approved it.
        approved_by: Vec<String>,
    },
    /// A payout that bridge computed.
    Payout(Box<PayoutRecorded>),
    /// A payout is deep enough on Bitcoin.
    Settlement {
        /// Proof.
        proof: Box<InclusionProof>,
        /// The block that the claim names.
        bitcoin_hash: B256,
    },
    /// A burn that cannot be paid.
    Refund {
        /// The burn.
        burn: BurnRef,
        /// Why.
        reason: String,
    },
    /// Signatures of members under a decision, SSZ [`alys_peg::Record`].
    Record(Vec<u8>),
}
