//! Why a block is refused. One reason per rule.

use alloy_primitives::{Address, B256};
use alys_blocks::payload::PayloadError;
use alys_blocks::{CertificateError, ValidatorId};
use alys_peg::withdrawals::WithdrawalMismatch;
use alys_peg::{PayoutRefusal, PegInvariant, ProofRefusal, RecordRefusal, Violation, WireError, refund::RefundRefusal};
use alys_pow::{BundleError, BundleRefusal, Halted};

/// A rule that a block breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockRefusal {
    /// Not the version of this height.
    #[error("version {0} is not the one of this height")]
    Version(u64),
    /// Of another chain.
    #[error("chain id {0} is another chain's")]
    ChainId(u64),
    /// Not the next height.
    #[error("height {found} instead of {expected}")]
    Height {
        /// The next one.
        expected: u64,
        /// The block's.
        found: u64,
    },
    /// Not on the slot grid, or not after the parent.
    #[error("time {time} is off the slot grid or not after the parent's {parent}")]
    Time {
        /// The block's, seconds.
        time: u64,
        /// The parent's.
        parent: u64,
    },
    /// A slot before the height's first or after the round that has been reached.
    #[error("slot {slot} is not between {first} and {last}")]
    Slot {
        /// The block's.
        slot: u64,
        /// Slot of round 0.
        first: u64,
        /// Slot of the last round that has been reached.
        last: u64,
    },
    /// Somebody else's turn.
    #[error("slot {slot} is not the turn of {proposer}")]
    Proposer {
        /// The slot.
        slot: u64,
        /// Who claims it.
        proposer: ValidatorId,
    },
    /// Does not build on the head.
    #[error("parent {0} is not the head")]
    Parent(B256),
    /// Block 1 has nothing to prove.
    #[error("block 1 carries a parent certificate")]
    GenesisCertificate,
    /// The certificate is of another block.
    #[error("the parent certificate is another block's")]
    OtherCertificate,
    /// The certificate proves nothing.
    #[error("parent certificate: {0}")]
    ParentCertificate(CertificateError),
    /// The Bitcoin view went back.
    #[error("the Bitcoin view goes back from {parent} to {found}")]
    ViewWentBack {
        /// The parent's height.
        parent: u32,
        /// The block's.
        found: u32,
    },
    /// The Bitcoin view moves and no claim needs it.
    #[error("the Bitcoin view moves without a claim that needs it")]
    ViewWithoutClaims,
    /// The chain is not merge-mined.
    #[error("this chain takes no AuxPoW bundles")]
    BundleNotActive,
    /// The bundle does not decode.
    #[error("bundle: {0}")]
    BundleForm(BundleError),
    /// Its range or its work is not what the chain asks for [PEG-15].
    #[error("bundle: {0}")]
    Bundle(BundleRefusal),
    /// Too many blocks wait for work.
    #[error("the chain waits for work: {0}")]
    WantsWork(Halted),
    /// The federation does not stand behind a record [PEG-18].
    #[error("governance record: {0}")]
    Governance(RecordRefusal),
    /// The proof of a deposit does not hold [PEG-3][PEG-4].
    #[error("peg-in {index}: {cause}")]
    PegIn {
        /// Position in the block.
        index: usize,
        /// Why.
        cause: ProofRefusal,
    },
    /// The payout does not decode.
    #[error("payout: {0}")]
    PayoutForm(ProofRefusal),
    /// Not the recomputed plan [PEG-13].
    #[error("payout: {0}")]
    Payout(PayoutRefusal),
    /// The proof of a settlement does not hold.
    #[error("settlement {index}: {cause}")]
    Settlement {
        /// Position in the block.
        index: usize,
        /// Why.
        cause: ProofRefusal,
    },
    /// The refund does not decode.
    #[error("refund {index}: {cause}")]
    RefundForm {
        /// Position in the block.
        index: usize,
        /// Why.
        cause: WireError,
    },
    /// The refund is not justified [PEG-7].
    #[error("refund {index}: {cause}")]
    Refund {
        /// Position in the block.
        index: usize,
        /// Why.
        cause: RefundRefusal,
    },
    /// The claims do not fit the ledger, or each other [PEG-2][PEG-10].
    #[error("ledger: {0}")]
    Ledger(Violation),
    /// The payload does not decode.
    #[error("payload: {0}")]
    PayloadForm(PayloadError),
    /// Its number is not the height.
    #[error("payload number {0} is not the height")]
    PayloadNumber(u64),
    /// It does not build on the parent's payload.
    #[error("payload parent {0} is not the parent's payload")]
    PayloadParent(B256),
    /// Its timestamp is not the block's time.
    #[error("payload timestamp {0} is not the block's time")]
    PayloadTime(u64),
    /// Its randao is not the parent's hash.
    #[error("payload randao {0} is not the parent's hash")]
    PayloadRandao(B256),
    /// Fees go elsewhere than to the sink.
    #[error("fee recipient {0} is not the sink")]
    FeeRecipient(Address),
    /// Not the chain's gas limit.
    #[error("gas limit {0} is not the chain's")]
    GasLimit(u64),
    /// Blobs are off.
    #[error("the payload has blobs")]
    Blobs,
    /// Withdrawals have no validator here.
    #[error("a withdrawal names a validator")]
    WithdrawalValidator,
    /// Withdrawals are not exactly the justified ones [PEG-5].
    #[error("withdrawals: {0}")]
    Withdrawals(WithdrawalMismatch),
    /// The engine refuses the payload.
    #[error("execution: {0}")]
    Execution(String),
    /// The engine computed another block than the payload names.
    #[error("execution gives another block hash")]
    ExecutionHash,
    /// A burn of the payload does not fit the ledger.
    #[error("burns of the payload: {0}")]
    Burns(Violation),
    /// A burn from the engine does not decode.
    #[error("burns of the payload: {0}")]
    BurnForm(WireError),
    /// Our bitcoind contradicts a claim.
    #[error("bitcoin: {0}")]
    Bitcoin(String),
}

impl BlockRefusal {
    /// The invariant of the peg that the block breaks, if it is one.
    pub fn invariant(&self) -> Option<PegInvariant> {
        match self {
            Self::Ledger(violation) | Self::Burns(violation) => Some(violation.invariant()),
            Self::PegIn { .. } | Self::Bitcoin(_) => Some(PegInvariant::P4),
            Self::Withdrawals(_) => Some(PegInvariant::P5),
            Self::RefundForm { .. } | Self::Refund { .. } => Some(PegInvariant::P7),
            Self::PayoutForm(_) | Self::Payout(_) => Some(PegInvariant::P13),
            Self::Settlement { .. } => Some(PegInvariant::P14),
            Self::Bundle(_) => Some(PegInvariant::P15),
            _ => None,
        }
    }
}
