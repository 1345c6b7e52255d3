//! `eth_getLogs`.

use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};

use super::backend::Handle;
use super::convert;
use super::failure::{Answer, Failure};
use super::methods::Arguments;
use crate::core::view::BlockView;

/// Most blocks in one query: each costs a read of its header.
const MAX_BLOCKS: u64 = 10_000;
/// Most logs in one answer: ~10 MiB with data of a usual size.
const MAX_LOGS: usize = 20_000;
/// Most addresses, and most values of one topic.
const MAX_ALTERNATIVES: usize = 1_000;

/// `eth_getLogs(filter)`.
pub(super) fn logs(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<Vec<Log>> {
    let filter: Filter = arguments.next()?;
    find(handle, &filter)
}

/// Bounds of a filter.
pub(super) fn check(filter: &Filter) -> Answer<()> {
    let alternatives = filter.topics.iter().map(|topic| topic.len()).chain([filter.address.len()]);
    if alternatives.max().unwrap_or(0) > MAX_ALTERNATIVES {
        return Err(Failure::Limit(format!("a filter may name {MAX_ALTERNATIVES} addresses or values of a topic")));
    }
    Ok(())
}

/// All logs of a filter.
pub(super) fn find(handle: &Handle, filter: &Filter) -> Answer<Vec<Log>> {
    check(filter)?;
    let mut found = Vec::new();
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = handle.reader.block_by_hash(hash)?;
            let block = block.ok_or_else(|| Failure::Execution("unknown block".to_owned()))?;
            collect(filter, &block, &mut found)?;
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let (from, to) = range(handle, from_block, to_block)?;
            for number in from..=to {
                scan(handle, filter, number, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// The blocks to look at, both included; empty when the first is after the head.
fn range(handle: &Handle, from: Option<BlockNumberOrTag>, to: Option<BlockNumberOrTag>) -> Answer<(u64, u64)> {
    let head = handle.head_number()?;
    let from = handle.number_of_tag(from.unwrap_or(BlockNumberOrTag::Latest))?;
    let to = handle.number_of_tag(to.unwrap_or(BlockNumberOrTag::Latest))?;
    if from > to && from <= head {
        return Err(Failure::Arguments(format!("invalid block range: from {from} is after to {to}")));
    }
    let to = to.min(head);
    if to.saturating_sub(from) >= MAX_BLOCKS {
        return Err(Failure::Limit(format!("a query may cover {MAX_BLOCKS} blocks: ask for {from} to {to} in parts")));
    }
    Ok((from, to))
}

/// The header's bloom tells whether the block has to be read.
pub(super) fn scan(handle: &Handle, filter: &Filter, number: u64, found: &mut Vec<Log>) -> Answer<()> {
    let Some(header) = handle.reader.header_by_number(number)? else { return Ok(()) };
    if !filter.matches_bloom(header.logs_bloom) {
        return Ok(());
    }
    match handle.reader.block_by_number(number)? {
        Some(block) => collect(filter, &block, found),
        None => Ok(()),
    }
}

fn collect(filter: &Filter, block: &BlockView, found: &mut Vec<Log>) -> Answer<()> {
    for receipt in convert::receipts(block) {
        found.extend(receipt.logs().iter().filter(|log| filter.matches(&log.inner)).cloned());
    }
    if found.len() > MAX_LOGS {
        let number = block.header.number;
        return Err(Failure::Limit(format!("query returned more than {MAX_LOGS} results up to block {number}: narrow it")));
    }
    Ok(())
}
