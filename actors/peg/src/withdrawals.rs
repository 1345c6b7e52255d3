//! Which withdrawals a payload must have: one per minted deposit, then one per refund, in block order [PEG-5].
//!
//! Withdrawals are the only way that coins come into the EVM, so this list is compared for equality, not for inclusion.

use alloy_primitives::Address;

use crate::ledger::Violation;
use crate::{Ledger, Minted, Refunded};

/// Wei in one gwei.
const WEI_PER_GWEI: u128 = 1_000_000_000;

/// A withdrawal of the execution payload. Its validator index is always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Monotonic over the chain.
    pub index: u64,
    /// Who is credited.
    pub recipient: Address,
    /// How much, gwei.
    pub gwei: u64,
}

/// Where a payload's withdrawals leave the justified ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WithdrawalMismatch {
    /// More or fewer.
    #[error("{found} withdrawals, {justified} justified")]
    Count {
        /// In the payload.
        found: usize,
        /// Justified.
        justified: usize,
    },
    /// One differs.
    #[error("withdrawal {found:?} instead of {justified:?}")]
    Differs {
        /// In the payload.
        found: Withdrawal,
        /// Justified.
        justified: Withdrawal,
    },
}

/// The withdrawals that these peg-ins and refunds justify, on top of the parent block's ledger. It does not check the
/// claims themselves: [`Ledger::apply`] and [`crate::refund::check`] do.
pub fn justified(parent: &Ledger, peg_ins: &[Minted], refunds: &[Refunded]) -> Result<Vec<Withdrawal>, Violation> {
    let mut withdrawals = Vec::with_capacity(peg_ins.len().saturating_add(refunds.len()));
    let mut index = parent.next_withdrawal_index();
    let mut push = |recipient, gwei| {
        withdrawals.push(Withdrawal { index, recipient, gwei });
        index = index.saturating_add(1);
    };
    for minted in peg_ins {
        let gwei = minted_gwei(parent, minted).ok_or(Violation::MintedAmount(minted.outpoint))?;
        push(minted.recipient, gwei);
    }
    for refunded in refunds {
        let (burn, _) = parent.burn(&refunded.burn).ok_or(Violation::UnknownBurn(refunded.burn))?;
        // Below one gwei cannot be withdrawn; the bridge contract lets nobody burn such an amount.
        let gwei = u64::try_from(burn.amount.0 / WEI_PER_GWEI).map_err(|_| Violation::RefundAmount(refunded.burn))?;
        push(burn.sender, gwei);
    }
    Ok(withdrawals)
}

fn minted_gwei(parent: &Ledger, minted: &Minted) -> Option<u64> {
    minted.value.checked_sub(parent.rules().peg_in_fee)?.to_gwei()
}

/// Whether a payload's withdrawals are exactly the justified ones.
pub fn check(found: &[Withdrawal], justified: &[Withdrawal]) -> Result<(), WithdrawalMismatch> {
    if found.len() != justified.len() {
        return Err(WithdrawalMismatch::Count { found: found.len(), justified: justified.len() });
    }
    match found.iter().zip(justified).find(|(left, right)| left != right) {
        Some((left, right)) => Err(WithdrawalMismatch::Differs { found: *left, justified: *right }),
        None => Ok(()),
    }
}
