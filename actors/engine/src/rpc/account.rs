//! Accounts at a block.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_serde::JsonStorageKey;

use super::backend::Handle;
use super::failure::Answer;
use super::methods::Arguments;

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
    let (address, slot): (Address, JsonStorageKey) = (arguments.next()?, arguments.next()?);
    let block = handle.number_of(arguments.optional_next()?)?;
    let value = handle.reader.storage(block, address, slot.as_b256().into())?;
    Ok(value.into())
}
