//! Accounts at a block.

use std::collections::BTreeMap;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_serde::JsonStorageKey;

use super::backend::Handle;
use super::failure::{Answer, Failure};
use super::methods::Arguments;

/// Most slots in one question, as of the other clients.
pub(super) const MAX_SLOTS: usize = 1_024;

/// `eth_getBalance(address, block)`.
pub(super) fn balance(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<U256> {
    let (address, block): (Address, Option<BlockId>) = (arguments.next()?, arguments.optional_next()?);
    let account = handle.reader.account(handle.number_of(block)?, address)?;
    Ok(account.map_or(U256::ZERO, |account| account.balance))
}

/// `eth_getTransactionCount(address, block)`: the next nonce; at `pending` after those in the pool.
pub(super) fn transaction_count(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<U64> {
    let (address, block): (Address, Option<BlockId>) = (arguments.next()?, arguments.optional_next()?);
    let account = handle.reader.account(handle.number_of(block)?, address)?;
    let nonce = account.map_or(0, |account| account.nonce);
    if block != Some(BlockId::Number(BlockNumberOrTag::Pending)) {
        return Ok(U64::from(nonce));
    }
    let pooled = handle.pool.lock().next_nonce(address);
    Ok(U64::from(pooled.map_or(nonce, |pooled| pooled.max(nonce))))
}

/// `eth_getCode(address, block)`.
pub(super) fn code(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Bytes> {
    let (address, block): (Address, Option<BlockId>) = (arguments.next()?, arguments.optional_next()?);
    Ok(handle.reader.code(handle.number_of(block)?, address)?)
}

/// `eth_getStorageAt(address, slot, block)`.
pub(super) fn storage(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<B256> {
    let (address, text): (Address, String) = (arguments.next()?, arguments.next()?);
    // A number that is too long would lose its first digits on the way.
    if text.trim_start_matches("0x").len() > 64 {
        return Err(Failure::Arguments(format!("storage key too long (want at most 32 bytes): \"{text}\"")));
    }
    let slot: JsonStorageKey = text.parse().map_err(|_| Failure::Arguments(format!("invalid hex in storage key: \"{text}\"")))?;
    let block = handle.number_of(arguments.optional_next()?)?;
    let value = handle.reader.storage(block, address, slot.as_b256().into())?;
    Ok(value.into())
}

/// `eth_getStorageValues(slots by address, block)`: many slots in one question.
pub(super) fn storage_values(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<BTreeMap<Address, Vec<B256>>> {
    let asked: BTreeMap<Address, Vec<JsonStorageKey>> = arguments.next()?;
    let block = handle.number_of(arguments.optional_next()?)?;
    let slots: usize = asked.values().map(Vec::len).sum();
    match slots {
        0 => return Err(Failure::Arguments("empty request".into())),
        1..=MAX_SLOTS => {}
        _ => return Err(Failure::Arguments(format!("{slots} slots in one question: at most {MAX_SLOTS}"))),
    }
    let value = |address, key: JsonStorageKey| Ok(handle.reader.storage(block, address, key.as_b256().into())?.into());
    let values = |(address, keys): (Address, Vec<JsonStorageKey>)| {
        Ok((address, keys.into_iter().map(|key| value(address, key)).collect::<Answer<_>>()?))
    };
    asked.into_iter().map(values).collect()
}
