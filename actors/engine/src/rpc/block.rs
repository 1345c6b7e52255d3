//! Blocks.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, U64};
use alloy_rpc_types_eth::Block;

use super::backend::Handle;
use super::convert;
use super::failure::Answer;
use super::methods::Arguments;

/// `eth_blockNumber`.
pub(super) fn number(handle: &Handle, _: Arguments<'_>) -> Answer<U64> {
    Ok(U64::from(handle.head_number()?))
}

/// `eth_getBlockByNumber(number or tag, with transactions)`.
pub(super) fn by_number(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<Block>> {
    let tag: BlockNumberOrTag = arguments.next()?;
    block(handle, tag.into(), arguments.optional_next()?)
}

/// `eth_getBlockByHash(hash, with transactions)`.
pub(super) fn by_hash(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<Block>> {
    let hash: B256 = arguments.next()?;
    block(handle, hash.into(), arguments.optional_next()?)
}

fn block(handle: &Handle, id: BlockId, full: Option<bool>) -> Answer<Option<Block>> {
    let found = handle.block(id)?;
    Ok(found.map(|found| convert::block(&found, full.unwrap_or(false))))
}

/// `eth_getBlockTransactionCountByNumber(number or tag)`.
pub(super) fn count_by_number(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<U64>> {
    let tag: BlockNumberOrTag = arguments.next()?;
    let found = handle.block(tag.into())?;
    Ok(found.map(|found| U64::from(found.transactions.len())))
}

/// `eth_getBlockTransactionCountByHash(hash)`.
pub(super) fn count_by_hash(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<U64>> {
    let hash: B256 = arguments.next()?;
    let found = handle.block(hash.into())?;
    Ok(found.map(|found| U64::from(found.transactions.len())))
}

/// `eth_getUncleCountByBlockNumber` and `…Hash`: blocks have no uncles.
pub(super) fn uncle_count(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<U64>> {
    let id: BlockId = arguments.next()?;
    Ok(handle.block(id)?.map(|_| U64::ZERO))
}
