//! How large a signed payout is, and who pays for what of it.

use alys_blocks::BurnRef;
use alys_proto::Sats;
use bitcoin::{Transaction, Weight};

use super::select::Selection;
use super::{change_output, pay_to, unsigned};
use crate::{Federation, FeeRate, PayableBurn};

/// Heaviest transaction that Bitcoin nodes relay, weight units.
pub const MAX_STANDARD_WEIGHT: u64 = 400_000;

/// Weight of a payout once it is signed. Exact: every signature has 64 bytes.
pub fn signed_weight(unsigned: &Transaction, federation: &Federation) -> Weight {
    let mut signed = unsigned.clone();
    let witness = federation.placeholder_witness();
    for input in &mut signed.input {
        input.witness = witness.clone();
    }
    signed.weight()
}

/// Virtual size of a payout once it is signed.
pub fn signed_vsize(unsigned: &Transaction, federation: &Federation) -> u64 {
    signed_weight(unsigned, federation).to_vbytes_ceil()
}

/// What one more input adds, virtual bytes rounded up.
pub fn input_vsize(federation: &Federation) -> u64 {
    Weight::from_wu(input_weight(federation)).to_vbytes_ceil()
}

/// Outpoint, empty script, sequence: 41 bytes at weight 4; and the witness.
fn input_weight(federation: &Federation) -> u64 {
    let witness = u64::try_from(federation.placeholder_witness().size()).unwrap_or(u64::MAX);
    witness.saturating_add(41 * 4)
}

/// Inputs that fit into a standard transaction beside this many payouts and a change.
pub(super) fn max_inputs(payouts: usize, federation: &Federation) -> usize {
    /// Version, lock time, marker, counts.
    const FRAME: u64 = 4 * (4 + 4 + 3 + 3) + 2;
    /// The largest output: value, length, 34 bytes of script.
    const OUTPUT: u64 = 4 * 43;
    let outputs = u64::try_from(payouts).unwrap_or(u64::MAX).saturating_add(1).saturating_mul(OUTPUT);
    let room = MAX_STANDARD_WEIGHT.saturating_sub(FRAME).saturating_sub(outputs);
    usize::try_from(room.checked_div(input_weight(federation)).unwrap_or(0)).unwrap_or(usize::MAX)
}

/// Who gets what.
pub(super) struct Paid {
    pub(super) fee: Sats,
    /// Per burn of the batch.
    pub(super) values: Vec<Sats>,
}

/// Splits the cost. The burns that would receive less than dust, if any, are the error.
pub(super) fn pay(
    batch: &[&PayableBurn],
    selection: &Selection,
    fee_rate: FeeRate,
    federation: &Federation,
) -> Result<Paid, Vec<BurnRef>> {
    let mut outputs: Vec<_> = batch.iter().map(|burn| pay_to(burn, burn.amount)).collect();
    outputs.extend(selection.change.map(|value| change_output(value, federation)));
    let vsize = signed_vsize(&unsigned(&selection.coins, outputs), federation);
    let all = || batch.iter().map(|burn| burn.id).collect::<Vec<_>>();
    // Beyond 64 bits, no burn can bear it.
    let fee = fee_rate.fee(vsize).ok_or_else(all)?;
    let cost = fee.checked_add(selection.top_up).ok_or_else(all)?;
    let shares = shares(batch, cost, fee_rate).ok_or_else(all)?;

    let mut values = Vec::with_capacity(batch.len());
    let mut too_small = Vec::new();
    for (burn, share) in batch.iter().zip(shares) {
        match burn.amount.checked_sub(share) {
            Some(value) if value >= burn.dust => values.push(value),
            _ => too_small.push(burn.id),
        }
    }
    if too_small.is_empty() { Ok(Paid { fee, values }) } else { Err(too_small) }
}

/// Each burn bears its own output; the rest goes by amount, and the satoshis that do not divide to the oldest, one each.
/// The sum is exactly `cost`.
fn shares(batch: &[&PayableBurn], cost: Sats, fee_rate: FeeRate) -> Option<Vec<Sats>> {
    let own: Option<Vec<u64>> = batch.iter().map(|burn| own_output(burn, fee_rate)).collect();
    let own = own?;
    let rest = cost.0.checked_sub(own.iter().try_fold(0_u64, |sum, value| sum.checked_add(*value))?)?;
    let amounts = batch.iter().try_fold(0_u128, |sum, burn| sum.checked_add(u128::from(burn.amount.0)))?;

    let mut shares = Vec::with_capacity(batch.len());
    let mut left = rest;
    for (burn, own) in batch.iter().zip(&own) {
        let part = u128::from(rest).checked_mul(u128::from(burn.amount.0))?.checked_div(amounts)?;
        let part = u64::try_from(part).ok()?;
        left = left.checked_sub(part)?;
        shares.push(own.checked_add(part)?);
    }
    for share in &mut shares {
        let one = left.min(1);
        *share = share.checked_add(one)?;
        left = left.saturating_sub(one);
    }
    Some(shares.into_iter().map(Sats).collect())
}

/// What the burn's own output costs, rounded down so that all of them stay below the whole.
fn own_output(burn: &PayableBurn, fee_rate: FeeRate) -> Option<u64> {
    let bytes = u64::try_from(pay_to(burn, burn.amount).size()).ok()?;
    fee_rate.floor_fee(bytes).map(|fee| fee.0)
}
