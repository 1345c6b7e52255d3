//! Which rule a fact breaks.

use alys_blocks::BurnRef;
use alys_proto::{Height, Sats, Wei};
use bitcoin::{OutPoint, Txid};

use crate::PegInvariant;

/// A fact that must not be in a block. In a committed block it means that consensus or a disk broke its promise: halt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each one is")]
pub enum Violation {
    #[error("PEG-12: facts of height {found} where {expected} comes next")]
    Height { expected: Height, found: Height },
    #[error("PEG-2: deposit {0} is minted twice")]
    MintedTwice(OutPoint),
    #[error("PEG-2: deposit {0} is an output of our own payout")]
    MintedChange(OutPoint),
    #[error("PEG-3: deposit {0} has an amount that cannot be minted")]
    MintedAmount(OutPoint),
    #[error("PEG-3: deposit {0} credits the zero address")]
    MintedToNobody(OutPoint),
    #[error("PEG-6: burn {0:?} is committed twice")]
    BurnedTwice(BurnRef),
    #[error("PEG-12: burn {0:?} is not of the block that states it")]
    BurnElsewhere(BurnRef),
    #[error("PEG-1: burn {burn:?} of {amount} is more than the supply of {supply}")]
    BurnedMoreThanSupply { burn: BurnRef, amount: Wei, supply: Wei },
    #[error("PEG-7: burn {0:?} is not known")]
    UnknownBurn(BurnRef),
    #[error("PEG-6: burn {0:?} is not pending")]
    BurnNotPending(BurnRef),
    #[error("PEG-14: burn {0:?} is not in a settled block")]
    BurnNotSettled(BurnRef),
    #[error("PEG-14: bundle {found} settles up to block {end}, which does not follow bundle {last}")]
    WorkOutOfOrder { last: u64, found: u64, end: u64 },
    #[error("PEG-7: burn {0:?} has an amount that cannot be refunded")]
    RefundAmount(BurnRef),
    #[error("PEG-13: payout {0} is recorded twice")]
    PayoutTwice(Txid),
    #[error("PEG-13: payout {0} is not in the one form that payouts have")]
    PayoutForm(Txid),
    #[error("PEG-8: output {output} of payout {txid} does not pay its burn")]
    PayoutOutput { txid: Txid, output: usize },
    #[error("PEG-8: payout {txid} has a fee of {fee} where its rate asks for {asked}")]
    PayoutFee { txid: Txid, fee: Sats, asked: Sats },
    #[error("PEG-8: the fee rate of payout {0} is out of bounds")]
    PayoutFeeRate(Txid),
    #[error("PEG-1: payout {0} takes more coins than its burns are owed")]
    PayoutTakesMore(Txid),
    #[error("PEG-9: change of payout {0} does not go to the federation")]
    ChangeElsewhere(Txid),
    #[error("PEG-8: payout {txid} spends {outpoint}, which is not ours")]
    UnknownInput { txid: Txid, outpoint: OutPoint },
    #[error("PEG-10: payout {txid} spends {outpoint}, which payout {spender} spends")]
    InputInFlight { txid: Txid, outpoint: OutPoint, spender: Txid },
    #[error("PEG-11: payout {txid} spends {outpoint}, which payout {spender} has spent")]
    InputSpent { txid: Txid, outpoint: OutPoint, spender: Txid },
    #[error("PEG-14: payout {0} is settled without being recorded")]
    SettledUnknown(Txid),
    #[error("PEG-14: payout {0} is settled twice")]
    SettledTwice(Txid),
    #[error("PEG-1: {held} held where supply and payouts owed are {needed}")]
    Uncovered { held: Sats, needed: Wei },
    #[error("PEG-18: the peg stands still since block {since}")]
    Paused { since: Height },
    #[error("PEG-18: decision {found} where {expected} comes next, or it changes nothing")]
    Decision { expected: u64, found: u64 },
    #[error("PEG-12: the books do not add up: {0}")]
    Books(&'static str),
}

impl Violation {
    /// The invariant that is broken.
    pub fn invariant(&self) -> PegInvariant {
        match self {
            Self::BurnedMoreThanSupply { .. } | Self::PayoutTakesMore(_) | Self::Uncovered { .. } => PegInvariant::P1,
            Self::MintedTwice(_) | Self::MintedChange(_) => PegInvariant::P2,
            Self::MintedAmount(_) | Self::MintedToNobody(_) => PegInvariant::P3,
            Self::BurnedTwice(_) | Self::BurnNotPending(_) => PegInvariant::P6,
            Self::UnknownBurn(_) | Self::RefundAmount(_) => PegInvariant::P7,
            Self::PayoutOutput { .. } | Self::PayoutFee { .. } | Self::PayoutFeeRate(_) | Self::UnknownInput { .. } => {
                PegInvariant::P8
            }
            Self::ChangeElsewhere(_) => PegInvariant::P9,
            Self::InputInFlight { .. } => PegInvariant::P10,
            Self::InputSpent { .. } => PegInvariant::P11,
            Self::Height { .. } | Self::BurnElsewhere(_) | Self::Books(_) => PegInvariant::P12,
            Self::PayoutTwice(_) | Self::PayoutForm(_) => PegInvariant::P13,
            Self::SettledUnknown(_) | Self::SettledTwice(_) | Self::BurnNotSettled(_) | Self::WorkOutOfOrder { .. } => {
                PegInvariant::P14
            }
            Self::Paused { .. } | Self::Decision { .. } => PegInvariant::P18,
        }
    }
}
