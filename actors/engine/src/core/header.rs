//! What a header must be, given its parent and its body. Roots over execution are checked after it, in `verify.rs`.

use alloy_consensus::proofs::{calculate_transaction_root, calculate_withdrawals_root};
use alloy_consensus::{Block, EMPTY_OMMER_ROOT_HASH, Header, TxEnvelope};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{B64, B256, U256};

use super::block::Invalid;
use super::forks::Rules;

/// Lowest gas limit of any block.
const MIN_GAS_LIMIT: u64 = 5_000;
/// Highest gas limit of any block (EIP-1985: 63 bits).
const MAX_GAS_LIMIT: u64 = u64::MAX >> 1;
/// Per block the gas limit moves by less than its parent's divided by this.
const GAS_LIMIT_DIVISOR: u64 = 1_024;
/// Bytes of extra data.
const MAX_EXTRA_DATA: usize = 32;

/// Base fee of the block after `parent` (EIP-1559), wei per gas.
pub fn next_base_fee(parent: &Header) -> u64 {
    parent.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default()
}

/// Checks everything about a block that needs no execution.
///
/// # Errors
/// The first rule that is broken.
pub fn check(rules: &Rules, parent: &Header, parent_hash: B256, block: &Block<TxEnvelope>) -> Result<(), Invalid> {
    let header = &block.header;
    check_position(rules, parent, parent_hash, header)?;
    check_gas(rules, parent, header)?;
    check_blobs(rules, parent, block)?;
    check_body(rules, block)
}

fn check_position(rules: &Rules, parent: &Header, parent_hash: B256, header: &Header) -> Result<(), Invalid> {
    equal("parent hash", header.parent_hash, parent_hash)?;
    equal("number", header.number, parent.number.saturating_add(1))?;
    if header.timestamp <= parent.timestamp {
        return Err(wrong("timestamp", format!("more than {}", parent.timestamp), header.timestamp));
    }
    equal("difficulty", header.difficulty, U256::ZERO)?;
    equal("nonce", header.nonce, B64::ZERO)?;
    equal("ommers hash", header.ommers_hash, EMPTY_OMMER_ROOT_HASH)?;
    if header.extra_data.len() > MAX_EXTRA_DATA {
        return Err(wrong("extra data length", format!("at most {MAX_EXTRA_DATA}"), header.extra_data.len()));
    }
    present("parent beacon block root", header.parent_beacon_block_root.is_some(), true)?;
    let prague = rules.forks.is_prague_active_at_timestamp(header.timestamp);
    present("requests hash", header.requests_hash.is_some(), prague)?;
    present("block access list hash", header.block_access_list_hash.is_some(), false)?;
    present("slot number", header.slot_number.is_some(), false)
}

fn check_gas(rules: &Rules, parent: &Header, header: &Header) -> Result<(), Invalid> {
    match rules.gas_limit {
        Some(limit) => equal("gas limit", header.gas_limit, limit)?,
        None => {
            let drift = header.gas_limit.abs_diff(parent.gas_limit);
            let allowed = parent.gas_limit / GAS_LIMIT_DIVISOR;
            if drift >= allowed || !(MIN_GAS_LIMIT..=MAX_GAS_LIMIT).contains(&header.gas_limit) {
                let expected = format!("within {allowed} of {}, between {MIN_GAS_LIMIT} and {MAX_GAS_LIMIT}", parent.gas_limit);
                return Err(wrong("gas limit", expected, header.gas_limit));
            }
        }
    }
    if header.gas_used > header.gas_limit {
        return Err(wrong("gas used", format!("at most {}", header.gas_limit), header.gas_used));
    }
    equal("base fee", header.base_fee_per_gas.unwrap_or_default(), next_base_fee(parent))?;
    present("base fee", header.base_fee_per_gas.is_some(), true)
}

fn check_blobs(rules: &Rules, parent: &Header, block: &Block<TxEnvelope>) -> Result<(), Invalid> {
    let header = &block.header;
    let params = rules.forks.blob_params(header.timestamp);
    let excess = parent.next_block_excess_blob_gas(params).unwrap_or_default();
    present("excess blob gas", header.excess_blob_gas.is_some(), true)?;
    equal("excess blob gas", header.excess_blob_gas.unwrap_or_default(), excess)?;
    if !rules.blobs {
        let blob = block.body.transactions.iter().position(TxEnvelope::is_eip4844);
        if let Some(index) = blob {
            return Err(Invalid::Transaction { index, reason: "blob transactions are not accepted on this chain".into() });
        }
    }
    // Blobs travel beside a block, never in it.
    let sidecar = |transaction: &TxEnvelope| transaction.as_eip4844().is_some_and(|blob| blob.tx().sidecar().is_some());
    if let Some(index) = block.body.transactions.iter().position(sidecar) {
        return Err(Invalid::Transaction { index, reason: "it carries its blobs".into() });
    }
    let used: u64 = block.body.transactions.iter().filter_map(alloy_consensus::Transaction::blob_gas_used).sum();
    if used > params.max_blob_gas_per_block() {
        return Err(wrong("blob gas used", format!("at most {}", params.max_blob_gas_per_block()), used));
    }
    present("blob gas used", header.blob_gas_used.is_some(), true)?;
    equal("blob gas used", header.blob_gas_used.unwrap_or_default(), used)
}

fn check_body(rules: &Rules, block: &Block<TxEnvelope>) -> Result<(), Invalid> {
    let (header, body) = (&block.header, &block.body);
    if !body.ommers.is_empty() {
        return Err(wrong("ommers", "none".into(), body.ommers.len()));
    }
    equal("transactions root", header.transactions_root, calculate_transaction_root(&body.transactions))?;
    let withdrawals = body.withdrawals.as_deref().map(Vec::as_slice);
    present("withdrawals", withdrawals.is_some(), true)?;
    present("withdrawals root", header.withdrawals_root.is_some(), true)?;
    let root = calculate_withdrawals_root(withdrawals.unwrap_or_default());
    equal("withdrawals root", header.withdrawals_root.unwrap_or_default(), root)?;
    let prague = rules.forks.is_prague_active_at_timestamp(header.timestamp);
    match body.transactions.iter().position(|transaction| transaction.is_eip7702() && !prague) {
        Some(index) => Err(Invalid::Transaction { index, reason: "set-code transactions come with Prague".into() }),
        None => Ok(()),
    }
}

/// A field that must have one value.
pub(crate) fn equal<T: PartialEq + ToString>(field: &'static str, actual: T, expected: T) -> Result<(), Invalid> {
    if actual == expected { Ok(()) } else { Err(wrong(field, expected.to_string(), actual)) }
}

fn present(field: &'static str, actual: bool, expected: bool) -> Result<(), Invalid> {
    let word = |there: bool| if there { "present" } else { "absent" };
    if actual == expected { Ok(()) } else { Err(wrong(field, word(expected).into(), word(actual))) }
}

fn wrong(field: &'static str, expected: String, actual: impl ToString) -> Invalid {
    Invalid::Header { field, expected, actual: actual.to_string() }
}
