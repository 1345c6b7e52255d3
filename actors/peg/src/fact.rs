//! What committed blocks state about the peg. The ledger is a fold over these, and nothing else [PEG-12].

use alloy_primitives::Address;
use alys_blocks::{BitcoinView, BurnRef};
use alys_pow::Settled;
use alys_proto::Sats;
use bitcoin::{OutPoint, Transaction, Txid};

use crate::{Burn, Decision, FeeRate, RefundReason};

/// One fact. Its height is that of the block that states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A deposit was minted.
    Minted(Minted),
    /// A burn went back to the burner.
    Refunded(Refunded),
    /// A payout was recorded: its inputs are spent from here on.
    PayoutRecorded(PayoutRecorded),
    /// A recorded payout is deep enough on Bitcoin: its change is ours again.
    PayoutSettled(PayoutSettled),
    /// A burn is committed. It can be paid from the next block on.
    Burned(Burn),
    /// A bundle of work is committed: what is settled from the next block on.
    WorkSettled(Settled),
    /// The federation has decided something: it holds from the next block on.
    Decided(Decision),
}

/// A deposit was minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The deposit; a coin of the federation from here on.
    pub outpoint: OutPoint,
    /// Value of the output. What was minted is this minus the declared fee [PEG-3].
    pub value: Sats,
    /// Who was credited.
    pub recipient: Address,
}

/// A burn went back to the burner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// The burn.
    pub burn: BurnRef,
    /// Why.
    pub reason: RefundReason,
}

/// A payout was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayoutRecorded {
    /// Unsigned. Output `i` pays burn `i`; one more output is change.
    pub transaction: Transaction,
    /// What its fee was computed with.
    pub fee_rate: FeeRate,
    /// The burns it pays, in the order of its outputs.
    pub burns: Vec<BurnRef>,
}

impl PayoutRecorded {
    /// Id of the transaction. Witnesses do not change it.
    pub fn txid(&self) -> Txid {
        self.transaction.compute_txid()
    }
}

/// A recorded payout is deep enough on Bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayoutSettled {
    /// The payout.
    pub txid: Txid,
    /// The Bitcoin block that holds it.
    pub bitcoin_block: BitcoinView,
}

impl Fact {
    /// Place in the order in which facts of one height apply: what a block spends and settles comes before what its own
    /// payload burns.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Minted(_) => 0,
            Self::Refunded(_) => 1,
            Self::PayoutRecorded(_) => 2,
            Self::PayoutSettled(_) => 3,
            Self::Burned(_) => 4,
            Self::WorkSettled(_) => 5,
            Self::Decided(_) => 6,
        }
    }
}
