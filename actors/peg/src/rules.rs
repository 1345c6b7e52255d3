//! The numbers of the peg, from the chain specification.

use alys_blocks::ChainSpec;
use alys_proto::Sats;

/// Satoshis per 1,000 virtual bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeeRate(pub u64);

impl FeeRate {
    /// Fee of `vsize` virtual bytes, rounded up, so that the rate is never missed by a satoshi. `None` beyond 64 bits.
    pub fn fee(self, vsize: u64) -> Option<Sats> {
        let exact = u128::from(self.0).checked_mul(u128::from(vsize))?;
        u64::try_from(exact.div_ceil(1_000)).ok().map(Sats)
    }

    /// Fee of `vsize` virtual bytes, rounded down: what one part of a transaction answers for at least.
    pub(crate) fn floor_fee(self, vsize: u64) -> Option<Sats> {
        let exact = u128::from(self.0).checked_mul(u128::from(vsize))?;
        u64::try_from(exact / 1_000).ok().map(Sats)
    }
}

/// Limits of the peg that every node agrees on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PegRules {
    /// How deep a deposit or payout must be on Bitcoin; its own block counts as 1 [PEG-4].
    pub confirmations: u32,
    /// Smallest deposit.
    pub min_peg_in: Sats,
    /// Kept from every deposit [PEG-3].
    pub peg_in_fee: Sats,
    /// Lowest fee rate of a payout.
    pub min_fee_rate: FeeRate,
    /// Highest fee rate of a payout [PEG-8].
    pub max_fee_rate: FeeRate,
    /// Most burns in one payout.
    pub max_burns_per_payout: usize,
    /// Whether a burn is paid only when work has settled its block.
    pub settled_peg_outs: bool,
}

impl PegRules {
    /// Whether a payout may use this fee rate [PEG-8].
    pub fn allows(&self, fee_rate: FeeRate) -> bool {
        self.min_fee_rate <= fee_rate && fee_rate <= self.max_fee_rate
    }
}

impl From<&ChainSpec> for PegRules {
    fn from(spec: &ChainSpec) -> Self {
        Self {
            confirmations: spec.bitcoin.confirmations,
            min_peg_in: spec.peg.min_peg_in,
            peg_in_fee: spec.peg.peg_in_fee,
            min_fee_rate: FeeRate(spec.peg.min_fee_rate),
            max_fee_rate: FeeRate(spec.peg.max_fee_rate),
            max_burns_per_payout: usize::try_from(spec.peg.max_burns_per_payout).unwrap_or(usize::MAX),
            settled_peg_outs: spec.work.as_ref().is_some_and(|work| work.settled_peg_outs),
        }
    }
}
