//! What debuggers ask: blocks as they are encoded, and what a transaction does step by step.

use alloy_consensus::{Block, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::common::TraceResult;
use alloy_rpc_types_trace::geth::{GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace};

use super::backend::Handle;
use super::failure::{Answer, Failure};
use super::methods::Arguments;
use super::{call, convert};
use crate::core::view::BlockView;

/// `debug_getRawHeader(block)`.
pub(super) fn raw_header(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Bytes> {
    Ok(alloy_rlp::encode(&existing(handle, arguments.next()?)?.header).into())
}

/// `debug_getRawBlock(block)`.
pub(super) fn raw_block(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Bytes> {
    let block = existing(handle, arguments.next()?)?;
    let body = convert::body(&block);
    Ok(alloy_rlp::encode(Block::<TxEnvelope> { header: block.header.clone(), body }).into())
}

/// `debug_getRawReceipts(block)`.
pub(super) fn raw_receipts(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Vec<Bytes>> {
    let block = existing(handle, arguments.next()?)?;
    Ok(block.receipts.iter().map(|receipt| receipt.encoded_2718().into()).collect())
}

/// `debug_getRawTransaction(hash)`: of a block or of the pool; nothing when it is in neither.
pub(super) fn raw_transaction(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Bytes> {
    let text: String = arguments.next()?;
    let malformed = || Failure::Arguments(format!("`{text}` is not a hash: 0x and 64 hex digits"));
    let hash: B256 = text.starts_with("0x").then(|| text.parse().ok()).flatten().ok_or_else(malformed)?;
    if let Some(entry) = handle.pool.lock().get(hash) {
        return Ok(entry.transaction().inner().encoded_2718().into());
    }
    let Some((number, index)) = handle.reader.transaction_position(hash)? else { return Ok(Bytes::new()) };
    let block = handle.reader.block_by_number(number)?.ok_or(Failure::NoBlock)?;
    let transaction = block.transactions.get(index).ok_or(Failure::NoBlock)?;
    Ok(transaction.inner().encoded_2718().into())
}

/// `debug_traceTransaction(hash, options)`.
pub(super) fn trace_transaction(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<GethTrace> {
    let hash: B256 = arguments.next()?;
    let options: Option<GethDebugTracingOptions> = arguments.optional_next()?;
    let place = handle.reader.transaction_position(hash)?;
    let (number, index) = place.ok_or_else(|| Failure::Execution("transaction not found".into()))?;
    let traces = handle.reader.trace(number, Some(index), &options.unwrap_or_default())?;
    let (_, trace) = traces.into_iter().next().ok_or_else(|| Failure::Execution("transaction not found".into()))?;
    Ok(trace)
}

/// The traces of a block.
pub(super) type BlockTrace = Vec<TraceResult<GethTrace, String>>;

/// `debug_traceBlockByNumber(number or tag, options)`.
pub(super) fn trace_by_number(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<BlockTrace> {
    let tag: BlockNumberOrTag = arguments.next()?;
    trace(handle, tag.into(), arguments.optional_next()?)
}

/// `debug_traceBlockByHash(hash, options)`.
pub(super) fn trace_by_hash(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<BlockTrace> {
    let hash: B256 = arguments.next()?;
    trace(handle, hash.into(), arguments.optional_next()?)
}

fn trace(handle: &Handle, id: BlockId, options: Option<GethDebugTracingOptions>) -> Answer<BlockTrace> {
    let block = existing(handle, id)?;
    if block.header.number == 0 {
        return Err(Failure::Execution("genesis is not traceable".into()));
    }
    let traces = handle.reader.trace(block.header.number, None, &options.unwrap_or_default())?;
    let shown = |(hash, result)| TraceResult::Success { result, tx_hash: Some(hash) };
    Ok(traces.into_iter().map(shown).collect())
}

/// `debug_traceCall(request, block, options)`.
pub(super) fn trace_call(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<GethTrace> {
    let asked: TransactionRequest = arguments.next()?;
    let block: Option<BlockId> = arguments.optional_next()?;
    let options: GethDebugTracingCallOptions = arguments.optional_next()?.unwrap_or_default();
    if options.block_overrides.is_some() || options.tx_index.is_some() {
        return Err(Failure::Arguments("blockOverrides and txIndex are not supported".into()));
    }
    let at = handle.number_of(block)?;
    let request = call::request(handle, at, asked, options.state_overrides)?;
    Ok(handle.reader.trace_call(at, &request, &options.tracing_options)?)
}

/// A block that must be there.
fn existing(handle: &Handle, id: BlockId) -> Answer<std::sync::Arc<BlockView>> {
    let name = || match id {
        BlockId::Hash(hash) => hash.block_hash.to_string(),
        BlockId::Number(tag) => tag.to_string(),
    };
    handle.block(id)?.ok_or_else(|| Failure::Execution(format!("block {} not found", name())))
}
