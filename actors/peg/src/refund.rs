//! Which burns go back to the burner [PEG-7].
//!
//! A burn that Bitcoin can never pay ([`crate::burn::classify`]) goes back for that reason. A burn that the fee would eat
//! goes back at the fee rate that a payout is computed with: the reason names the rate, and everybody recomputes the plan
//! with it. Like a payout's, that rate is the proposer's choice within the bounds of the specification.

use alys_blocks::BurnRef;

use crate::payout::{self, NoPayout};
use crate::{FeeRate, Ledger, RefundReason, Refunded, burn};

/// Why a refund is not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefundRefusal {
    /// No such burn, or it is paid, in a payout, or refunded already.
    #[error("the burn is not pending")]
    NotPending,
    /// Bitcoin can pay it, or it goes back for another reason.
    #[error("the burn does not go back for this reason")]
    OtherReason,
}

/// All refunds that are due after the parent block, oldest burn first: those that no fee rate could pay, and with a
/// fee rate also those that it eats.
pub fn due(parent: &Ledger, fee_rate: Option<FeeRate>) -> Vec<Refunded> {
    let hopeless = parent.pending_burns().filter_map(|burned| {
        burn::classify(burned, parent.federation()).err().map(|reason| Refunded { burn: burned.id, reason })
    });
    let eaten = fee_rate.map(|rate| eaten(parent, rate)).unwrap_or_default();
    let reason = fee_rate.map(RefundReason::EatenByFee);
    let mut due: Vec<Refunded> = hopeless.collect();
    due.extend(
        eaten
            .into_iter()
            .zip(std::iter::repeat(reason))
            .filter_map(|(burn, reason)| reason.map(|reason| Refunded { burn, reason })),
    );
    due.sort_by_key(|refunded| refunded.burn);
    due
}

/// Whether one refund is due after the parent block.
pub fn check(refunded: &Refunded, parent: &Ledger) -> Result<(), RefundRefusal> {
    let (burned, crate::BurnState::Pending) = parent.burn(&refunded.burn).ok_or(RefundRefusal::NotPending)? else {
        return Err(RefundRefusal::NotPending);
    };
    let holds = match (burn::classify(burned, parent.federation()), refunded.reason) {
        (Ok(_), RefundReason::EatenByFee(rate)) => eaten(parent, rate).contains(&refunded.burn),
        (Err(reason), claimed) => reason == claimed,
        (Ok(_), _) => false,
    };
    if holds { Ok(()) } else { Err(RefundRefusal::OtherReason) }
}

fn eaten(parent: &Ledger, fee_rate: FeeRate) -> Vec<BurnRef> {
    match payout::plan(parent, fee_rate) {
        Ok(plan) => plan.eaten,
        Err(NoPayout::NothingToPay { eaten }) => eaten,
        Err(NoPayout::FeeRate(_) | NoPayout::WaitsForCoins) => Vec::new(),
    }
}
