//! Which burns go back to the burner [PEG-7].
//!
//! A burn that Bitcoin can never pay ([`crate::burn::classify`]) goes back for that reason. A burn that the fee would eat
//! goes back at the fee rate that a payout is computed with: the reason names the rate, and everybody recomputes the plan
//! with it. Like a payout's, that rate is the proposer's choice within the bounds of the specification.

use std::collections::BTreeSet;

use alys_blocks::BurnRef;

use crate::payout::{self, NoPayout};
use crate::{BurnState, FeeRate, Ledger, RefundReason, Refunded, burn};

/// Why a refund is not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefundRefusal {
    /// No such burn, or it is paid, in a payout, or refunded already.
    #[error("the burn is not pending")]
    NotPending,
    /// Bitcoin can pay it, or it goes back for another reason.
    #[error("the burn does not go back for this reason")]
    OtherReason,
    /// The refunds of one block name different fee rates.
    #[error("the refunds of a block name different fee rates")]
    SeveralFeeRates,
    /// The federation has paused the peg [PEG-18].
    #[error("the peg is paused")]
    Paused,
}

/// All refunds that are due after the parent block, oldest burn first: those that no fee rate could pay, and with a
/// fee rate also those that it eats. Use the rate that the next payout is planned with: a burn that one rate eats and
/// another pays cannot be refunded and paid in one block.
pub fn due(parent: &Ledger, fee_rate: Option<FeeRate>) -> Vec<Refunded> {
    let mut due = Vec::new();
    if parent.paused().is_some() {
        return due;
    }
    for burned in parent.pending_burns() {
        if let Err(reason) = burn::classify(burned, parent.federation()) {
            due.push(Refunded { burn: burned.id, reason });
        }
    }
    if let Some(rate) = fee_rate {
        due.extend(eaten(parent, rate).into_iter().map(|burn| Refunded { burn, reason: RefundReason::EatenByFee(rate) }));
    }
    due.sort_by_key(|refunded| refunded.burn);
    due
}

/// Whether one refund is due after the parent block.
pub fn check(refunded: &Refunded, parent: &Ledger) -> Result<(), RefundRefusal> {
    check_all(std::slice::from_ref(refunded), parent)
}

/// Whether all refunds of a block are due after its parent. They name at most one fee rate, so that checking a block
/// costs at most one plan more.
pub fn check_all(refunds: &[Refunded], parent: &Ledger) -> Result<(), RefundRefusal> {
    if parent.paused().is_some() && !refunds.is_empty() {
        return Err(RefundRefusal::Paused);
    }
    let mut rate = None;
    for refunded in refunds {
        let RefundReason::EatenByFee(named) = refunded.reason else { continue };
        if rate.is_some_and(|known| known != named) {
            return Err(RefundRefusal::SeveralFeeRates);
        }
        rate = Some(named);
    }
    let eaten: BTreeSet<BurnRef> = rate.map(|rate| eaten(parent, rate)).unwrap_or_default().into_iter().collect();
    refunds.iter().try_for_each(|refunded| check_one(refunded, parent, &eaten))
}

fn check_one(refunded: &Refunded, parent: &Ledger, eaten: &BTreeSet<BurnRef>) -> Result<(), RefundRefusal> {
    let (burned, BurnState::Pending) = parent.burn(&refunded.burn).ok_or(RefundRefusal::NotPending)? else {
        return Err(RefundRefusal::NotPending);
    };
    let holds = match (burn::classify(burned, parent.federation()), refunded.reason) {
        (Ok(_), RefundReason::EatenByFee(_)) => eaten.contains(&refunded.burn),
        (Err(reason), claimed) => reason == claimed,
        (Ok(_), _) => false,
    };
    if holds { Ok(()) } else { Err(RefundRefusal::OtherReason) }
}

fn eaten(parent: &Ledger, fee_rate: FeeRate) -> Vec<BurnRef> {
    match payout::plan(parent, fee_rate) {
        Ok(plan) => plan.eaten,
        Err(NoPayout::NothingToPay { eaten }) => eaten,
        Err(NoPayout::FeeRate(_) | NoPayout::WaitsForCoins | NoPayout::Paused) => Vec::new(),
    }
}
