//! What a transaction should offer.

use alloy_consensus::{Header, Transaction as _};
use alloy_eips::BlockNumberOrTag;
use alloy_eips::eip1559::BaseFeeParams;
use alloy_primitives::{U64, U256};
use alloy_rpc_types_eth::FeeHistory;

use super::backend::Handle;
use super::failure::{Answer, Failure};
use super::methods::Arguments;
use crate::core::view::BlockView;

/// Suggested tip when blocks have room: 0.001 gwei, 21 satoshis for ten thousand transfers. Any tip gets in then.
const IDLE_TIP: u128 = 1_000_000;
/// Never suggest more: 500 gwei.
const MAX_TIP: u128 = 500_000_000_000;
/// Blocks whose tips are looked at.
const SUGGESTION_BLOCKS: u64 = 20;
/// Of their tips sorted upwards, take the one at this percentage.
const SUGGESTION_PERCENT: usize = 60;
/// Most blocks of a fee history.
const MAX_HISTORY: u64 = 1_024;
/// Most percentiles of a fee history.
const MAX_PERCENTILES: usize = 100;

/// `eth_gasPrice`: next base fee plus a tip.
pub(super) fn gas_price(handle: &Handle, _: Arguments<'_>) -> Answer<U256> {
    let next = next_base_fee(&handle.reader.head()?.header);
    Ok(U256::from(suggested_tip(handle)?.saturating_add(next)))
}

/// `eth_maxPriorityFeePerGas`.
pub(super) fn priority_fee(handle: &Handle, _: Arguments<'_>) -> Answer<U256> {
    Ok(U256::from(suggested_tip(handle)?))
}

/// `eth_baseFee`: of the next block, wei per gas.
pub(super) fn base_fee(handle: &Handle, _: Arguments<'_>) -> Answer<U64> {
    Ok(U64::from(handle.reader.next_base_fee()?))
}

/// `eth_blobBaseFee`: blobs are off, so it stays at its minimum.
pub(super) fn blob_base_fee(_: &Handle, _: Arguments<'_>) -> Answer<U256> {
    Ok(U256::ONE)
}

fn suggested_tip(handle: &Handle) -> Answer<u128> {
    let head = handle.head_number()?;
    let mut tips = Vec::new();
    for number in head.saturating_sub(SUGGESTION_BLOCKS)..=head {
        if let Some(block) = handle.reader.block_by_number(number)? {
            tips.extend(tips_and_gas(&block).into_iter().map(|(tip, _)| tip));
        }
    }
    tips.sort_unstable();
    let place = tips.len().saturating_sub(1).saturating_mul(SUGGESTION_PERCENT) / 100;
    let tip = tips.get(place).copied().unwrap_or(IDLE_TIP);
    Ok(tip.clamp(1, MAX_TIP))
}

/// Base fee of the block after `header`.
fn next_base_fee(header: &Header) -> u128 {
    header.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default().into()
}

/// Tip per gas and gas used of each transaction.
fn tips_and_gas(block: &BlockView) -> Vec<(u128, u64)> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let mut before = 0;
    let mut out = Vec::with_capacity(block.transactions.len());
    for (transaction, receipt) in block.transactions.iter().zip(&block.receipts) {
        let cumulative = receipt.cumulative_gas_used();
        let tip = transaction.effective_tip_per_gas(base_fee).unwrap_or_default();
        out.push((tip, cumulative.saturating_sub(before)));
        before = cumulative;
    }
    out
}

/// `eth_feeHistory(block count, newest, percentiles)`.
pub(super) fn history(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<FeeHistory> {
    let (Count(count), newest) = (arguments.next()?, arguments.next::<BlockNumberOrTag>()?);
    let percentiles: Vec<f64> = arguments.optional_next()?.unwrap_or_default();
    check(&percentiles)?;
    let newest = handle.number_of(Some(newest.into()))?;
    let count = count.min(MAX_HISTORY).min(newest.saturating_add(1));
    if count == 0 {
        return Ok(FeeHistory::default());
    }
    let oldest_block = newest.saturating_sub(count.saturating_sub(1));
    let mut history = FeeHistory { oldest_block, ..FeeHistory::default() };
    let mut rewards = Vec::new();
    for number in oldest_block..=newest {
        let block = handle.reader.block_by_number(number)?.ok_or(Failure::NoBlock)?;
        let header = &block.header;
        history.base_fee_per_gas.push(header.base_fee_per_gas.unwrap_or_default().into());
        history.gas_used_ratio.push(ratio(header.gas_used, header.gas_limit));
        if !percentiles.is_empty() {
            rewards.push(percentile_tips(&block, &percentiles));
        }
        if number == newest {
            history.base_fee_per_gas.push(next_base_fee(header));
        }
    }
    // Blobs are off: their base fee stays at its minimum and none of their gas is used.
    history.base_fee_per_blob_gas = vec![1; history.base_fee_per_gas.len()];
    history.blob_gas_used_ratio = vec![0.0; history.gas_used_ratio.len()];
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    Ok(history)
}

fn check(percentiles: &[f64]) -> Answer<()> {
    if percentiles.len() > MAX_PERCENTILES {
        return Err(Failure::Limit(format!("a fee history may have {MAX_PERCENTILES} percentiles")));
    }
    let in_range = percentiles.iter().all(|percentile| (0.0..=100.0).contains(percentile));
    if !in_range || !percentiles.is_sorted() {
        return Err(Failure::Arguments("invalid reward percentiles: 0 to 100 in ascending order".to_owned()));
    }
    Ok(())
}

#[allow(clippy::as_conversions, reason = "a ratio for display; floats hold block gas exactly")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The tip at each percentile of the block's used gas; zeros for an empty block.
fn percentile_tips(block: &BlockView, percentiles: &[f64]) -> Vec<u128> {
    let mut tips = tips_and_gas(block);
    tips.sort_unstable();
    let mut out = Vec::with_capacity(percentiles.len());
    for percentile in percentiles {
        let mut gas = 0_u64;
        let mut reward = 0;
        for (tip, used) in &tips {
            gas = gas.saturating_add(*used);
            reward = *tip;
            if ratio(gas, block.header.gas_used) * 100.0 >= *percentile {
                break;
            }
        }
        out.push(reward);
    }
    out
}

/// A count that some tools write as a quantity and some as a number.
#[derive(Debug, serde::Deserialize)]
#[serde(from = "CountText")]
struct Count(u64);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum CountText {
    Number(u64),
    Quantity(U64),
}

impl From<CountText> for Count {
    fn from(text: CountText) -> Self {
        match text {
            CountText::Number(count) => Self(count),
            CountText::Quantity(count) => Self(count.to()),
        }
    }
}
