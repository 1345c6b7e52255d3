//! Transactions: sent, waiting and done.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64};
use alloy_rpc_types_eth::{Index, Transaction, TransactionReceipt};
use std::collections::BTreeMap;

use super::backend::Handle;
use super::convert;
use super::failure::Answer;
use super::methods::Arguments;
use crate::pool;

/// `eth_sendRawTransaction(bytes)`.
pub(super) fn send_raw(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<B256> {
    let bytes: Bytes = arguments.next()?;
    let transaction = pool::decode(&bytes)?;
    let added = {
        let mut pool = handle.pool.lock();
        // Read under the lock: no commit comes between the account and the pool.
        let account = handle.sender(transaction.signer())?;
        pool.add(transaction, account)?
    };
    handle.sent.tell(bytes);
    Ok(added.hash)
}

/// `eth_getTransactionByHash(hash)`: of a block or of the pool.
pub(super) fn by_hash(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<Transaction>> {
    let hash: B256 = arguments.next()?;
    if let Some(entry) = handle.pool.lock().get(hash) {
        return Ok(Some(convert::pooled(&entry)));
    }
    let Some((number, index)) = handle.reader.transaction_position(hash)? else { return Ok(None) };
    let block = handle.reader.block_by_number(number)?;
    Ok(block.and_then(|block| convert::transaction(&block, index)))
}

/// `eth_getTransactionByBlockNumberAndIndex(number or tag, index)`.
pub(super) fn by_number_and_index(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<Transaction>> {
    let tag: BlockNumberOrTag = arguments.next()?;
    by_position(handle, tag.into(), arguments.next()?)
}

/// `eth_getTransactionByBlockHashAndIndex(hash, index)`.
pub(super) fn by_block_hash_and_index(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<Transaction>> {
    let hash: B256 = arguments.next()?;
    by_position(handle, hash.into(), arguments.next()?)
}

fn by_position(handle: &Handle, block: BlockId, index: Index) -> Answer<Option<Transaction>> {
    Ok(handle.block(block)?.and_then(|block| convert::transaction(&block, index.0)))
}

/// `eth_getTransactionReceipt(hash)`; null while it waits.
pub(super) fn receipt(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<TransactionReceipt>> {
    let hash: B256 = arguments.next()?;
    let Some((number, index)) = handle.reader.transaction_position(hash)? else { return Ok(None) };
    let block = handle.reader.block_by_number(number)?;
    Ok(block.and_then(|block| convert::receipts(&block).into_iter().nth(index)))
}

/// `eth_getBlockReceipts(block)`.
pub(super) fn block_receipts(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Option<Vec<TransactionReceipt>>> {
    let id: BlockId = arguments.next()?;
    Ok(handle.block(id)?.map(|block| convert::receipts(&block)))
}

/// How many wait.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct PoolStatus {
    /// Can go into the next block.
    pending: U64,
    /// Wait for a smaller nonce.
    queued: U64,
}

/// `txpool_status`.
pub(super) fn pool_status(handle: &Handle, _: Arguments<'_>) -> Answer<PoolStatus> {
    let (pending, queued) = handle.pool.lock().status();
    Ok(PoolStatus { pending: U64::from(pending), queued: U64::from(queued) })
}

/// Transactions by sender and nonce.
type ByNonce = BTreeMap<Address, BTreeMap<String, Transaction>>;

/// Everything that waits.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct PoolContent {
    pending: ByNonce,
    queued: ByNonce,
}

/// `txpool_content`. Bounded by the pool's own bounds and the size of a response.
pub(super) fn pool_content(handle: &Handle, _: Arguments<'_>) -> Answer<PoolContent> {
    let mut content = PoolContent::default();
    for (entry, is_pending) in handle.pool.lock().entries() {
        let part = if is_pending { &mut content.pending } else { &mut content.queued };
        part.entry(entry.sender()).or_default().insert(entry.nonce().to_string(), convert::pooled(entry));
    }
    Ok(content)
}

/// What one sender has waiting, by nonce.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct SenderContent {
    pending: BTreeMap<String, Transaction>,
    queued: BTreeMap<String, Transaction>,
}

/// `txpool_contentFrom(address)`.
pub(super) fn pool_content_from(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<SenderContent> {
    let sender: Address = arguments.next()?;
    let mut content = SenderContent::default();
    for (entry, is_pending) in handle.pool.lock().entries().filter(|(entry, _)| entry.sender() == sender) {
        let part = if is_pending { &mut content.pending } else { &mut content.queued };
        part.insert(entry.nonce().to_string(), convert::pooled(entry));
    }
    Ok(content)
}
