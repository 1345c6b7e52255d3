//! Why a governance node does not do what it is asked. Everything that is not positively checked ends here.
//!
//! "Not yet" means that our own view (chain, bitcoind) cannot say: the stream asks again. A lagging view is never "no".

use alys_peg::ProofRefusal;
use bitcoin::{OutPoint, Txid};

/// A reason, with its invariant where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request does not decode.
    #[error("malformed request: {0}")]
    Malformed(String),

    // Not yet.
    /// Our replayed chain is shorter than the request's height.
    #[error("own chain is at height {head}, the request is about {needed}")]
    ChainBehind {
        /// Where we are.
        head: u64,
        /// Where we would have to be.
        needed: u64,
    },
    /// Our own replay stopped at something that must not be.
    #[error("own replay stopped: {0}")]
    ReplayStopped(String),
    /// Own bitcoind does not answer, or answers nonsense.
    #[error("own bitcoind is away: {0}")]
    BitcoinAway(String),
    /// Own bitcoind is still downloading.
    #[error("own bitcoind is in initial download")]
    BitcoinSyncing,
    /// Own bitcoind is on another network.
    #[error("own bitcoind is on {found}, not on {expected}")]
    BitcoinNetwork {
        /// Ours.
        found: String,
        /// The specification's.
        expected: String,
    },
    /// Own bitcoind does not know the block, or not in its best chain.
    #[error("[PEG-4] own bitcoind does not have the deposit's block in its best chain")]
    DepositBlockUnknown,
    /// Not deep enough on own bitcoind.
    #[error("[PEG-4] {confirmations} confirmations on own bitcoind, {needed} needed")]
    DepositNotDeep {
        /// As own bitcoind counts.
        confirmations: u32,
        /// As the specification asks.
        needed: u32,
    },
    /// Own bitcoind has no such unspent output in its best chain: spent, or not seen yet.
    #[error("[PEG-8] own bitcoind has no unspent output {0}")]
    InputNotUnspent(OutPoint),
    /// An input is not deep enough on own bitcoind.
    #[error("[PEG-8] input {outpoint} has {confirmations} confirmations on own bitcoind, {needed} needed")]
    InputNotDeep {
        /// Which.
        outpoint: OutPoint,
        /// As own bitcoind counts.
        confirmations: u32,
        /// As the specification asks.
        needed: u32,
    },
    /// The signature store cannot be written: nothing is signed that is not stored.
    #[error("[PEG-6] the signature store failed: {0}")]
    StoreFailed(String),

    /// The federation has paused the peg.
    #[error("[PEG-18] the peg is paused")]
    Paused,

    // No.
    /// Minted already on our own chain.
    #[error("[PEG-2] already minted")]
    AlreadyMinted,
    /// The proof does not hold.
    #[error("[PEG-4] proof: {0}")]
    Proof(ProofRefusal),
    /// The block is at another height than claimed.
    #[error("[PEG-4] the deposit's block is at height {found}, not {claimed}")]
    OtherHeight {
        /// On own bitcoind.
        found: u32,
        /// In the request.
        claimed: u32,
    },
    /// The merkle tree and own bitcoind disagree about the number of transactions in the block.
    #[error("[PEG-4] the block has {found} transactions, the merkle tree claims {claimed}")]
    OtherBlockSize {
        /// On own bitcoind.
        found: u32,
        /// In the proof.
        claimed: u32,
    },
    /// Own bitcoind's transaction says something else than the request.
    #[error("[PEG-3] own bitcoind's transaction does not make this deposit")]
    OtherDeposit,
    /// Not recorded in a committed block of our own chain.
    #[error("[PEG-16] payout is not recorded on own chain")]
    PayoutUnknown,
    /// The bytes are not the recorded ones.
    #[error("[PEG-13] the transaction is not the one recorded on own chain")]
    OtherTransaction,
    /// The recorded payout is not what own ledger computes.
    #[error("[PEG-13] the recorded payout is not the one that follows from own ledger: {0}")]
    NotThePlan(String),
    /// Bitcoin has it already.
    #[error("[PEG-14] the payout is settled")]
    Settled,
    /// A burn is not committed on our own chain, or not for this payout.
    #[error("[PEG-16] burn {height}:{log_index} is not in this payout on own chain")]
    BurnNotCommitted {
        /// Sidechain height.
        height: u64,
        /// Log index.
        log_index: u32,
    },
    /// The fee, or its rate, is out of bounds.
    #[error("[PEG-8] fee of {fee} satoshis at a rate of {rate} per 1,000 vbytes is out of bounds")]
    Fee {
        /// Satoshis.
        fee: u64,
        /// Rate.
        rate: u64,
    },
    /// An output beyond the burns is not ours, or there is more than one.
    #[error("[PEG-9] output {0} is neither a burn's nor our change")]
    ForeignOutput(usize),
    /// An output does not pay its burn.
    #[error("[PEG-8] output {0} does not pay its burn")]
    WrongOutput(usize),
    /// An input is not one of the ledger's coins for this payout.
    #[error("[PEG-8] input {0} is not ours")]
    InputNotOurs(OutPoint),
    /// Own bitcoind has another value or script for an input.
    #[error("[PEG-8] input {0} has another value or script on own bitcoind")]
    InputDiffers(OutPoint),
    /// Another transaction without a common input was signed for a burn.
    #[error("[PEG-6] burn {height}:{log_index} is signed in {signed}, which shares no input with this transaction")]
    BurnSignedElsewhere {
        /// Sidechain height.
        height: u64,
        /// Log index.
        log_index: u32,
        /// The transaction signed before.
        signed: Txid,
    },
    /// An input was signed in a transaction for other burns.
    #[error("[PEG-10] input {outpoint} is signed in {signed} for other burns")]
    InputSignedElsewhere {
        /// Which.
        outpoint: OutPoint,
        /// The transaction signed before.
        signed: Txid,
    },
    /// The signature could not be made.
    #[error("signing failed: {0}")]
    Signing(String),
}

impl Refusal {
    /// Every reason's name in metrics.
    pub const KINDS: [&str; 30] = [
        "malformed",
        "chain_behind",
        "replay_stopped",
        "bitcoin_away",
        "bitcoin_syncing",
        "bitcoin_network",
        "deposit_block_unknown",
        "deposit_not_deep",
        "input_not_unspent",
        "input_not_deep",
        "store_failed",
        "paused",
        "already_minted",
        "proof",
        "other_height",
        "other_block_size",
        "other_deposit",
        "payout_unknown",
        "other_transaction",
        "not_the_plan",
        "settled",
        "burn_not_committed",
        "fee",
        "foreign_output",
        "wrong_output",
        "input_not_ours",
        "input_differs",
        "burn_signed_elsewhere",
        "input_signed_elsewhere",
        "signing",
    ];

    /// The reason without its details: a name in metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::ChainBehind { .. } => "chain_behind",
            Self::ReplayStopped(_) => "replay_stopped",
            Self::BitcoinAway(_) => "bitcoin_away",
            Self::BitcoinSyncing => "bitcoin_syncing",
            Self::BitcoinNetwork { .. } => "bitcoin_network",
            Self::DepositBlockUnknown => "deposit_block_unknown",
            Self::DepositNotDeep { .. } => "deposit_not_deep",
            Self::InputNotUnspent(_) => "input_not_unspent",
            Self::InputNotDeep { .. } => "input_not_deep",
            Self::StoreFailed(_) => "store_failed",
            Self::Paused => "paused",
            Self::AlreadyMinted => "already_minted",
            Self::Proof(_) => "proof",
            Self::OtherHeight { .. } => "other_height",
            Self::OtherBlockSize { .. } => "other_block_size",
            Self::OtherDeposit => "other_deposit",
            Self::PayoutUnknown => "payout_unknown",
            Self::OtherTransaction => "other_transaction",
            Self::NotThePlan(_) => "not_the_plan",
            Self::Settled => "settled",
            Self::BurnNotCommitted { .. } => "burn_not_committed",
            Self::Fee { .. } => "fee",
            Self::ForeignOutput(_) => "foreign_output",
            Self::WrongOutput(_) => "wrong_output",
            Self::InputNotOurs(_) => "input_not_ours",
            Self::InputDiffers(_) => "input_differs",
            Self::BurnSignedElsewhere { .. } => "burn_signed_elsewhere",
            Self::InputSignedElsewhere { .. } => "input_signed_elsewhere",
            Self::Signing(_) => "signing",
        }
    }

    /// Whether asking again later can help.
    pub const fn retry(&self) -> bool {
        matches!(
            self,
            Self::ChainBehind { .. }
                | Self::ReplayStopped(_)
                | Self::BitcoinAway(_)
                | Self::BitcoinSyncing
                | Self::BitcoinNetwork { .. }
                | Self::DepositBlockUnknown
                | Self::DepositNotDeep { .. }
                | Self::InputNotUnspent(_)
                | Self::InputNotDeep { .. }
                | Self::StoreFailed(_)
                | Self::Paused
        )
    }
}
