//! The execution payload: bound to the block around it, field by field. Its execution is the engine's part.

use alloy_primitives::B256;
use alys_blocks::payload::PayloadError;
use alys_blocks::{Block, FEE_SINK, decode_payload};
use alys_peg::{Fact, Ledger, Minted, Refunded, Withdrawal, withdrawals};

use super::{BlockRefusal, ChainRules, Head};

/// Hash of the EL block in a block's payload.
pub fn payload_hash(block: &Block) -> Result<B256, PayloadError> {
    Ok(decode_payload(&block.body.payload)?.payload_inner.payload_inner.block_hash)
}

pub(super) fn check(
    rules: &ChainRules,
    block: &Block,
    parent: &Head,
    ledger: &Ledger,
    facts: &[Fact],
) -> Result<(), BlockRefusal> {
    let payload = decode_payload(&block.body.payload).map_err(BlockRefusal::PayloadForm)?;
    let inner = &payload.payload_inner.payload_inner;
    if inner.block_number != block.header.height {
        return Err(BlockRefusal::PayloadNumber(inner.block_number));
    }
    if inner.parent_hash != parent.el_hash {
        return Err(BlockRefusal::PayloadParent(inner.parent_hash));
    }
    if inner.timestamp != block.header.time {
        return Err(BlockRefusal::PayloadTime(inner.timestamp));
    }
    if inner.prev_randao != parent.hash {
        return Err(BlockRefusal::PayloadRandao(inner.prev_randao));
    }
    if inner.fee_recipient != FEE_SINK {
        return Err(BlockRefusal::FeeRecipient(inner.fee_recipient));
    }
    if inner.gas_limit != rules.spec.execution.gas_limit {
        return Err(BlockRefusal::GasLimit(inner.gas_limit));
    }
    if payload.blob_gas_used != 0 || payload.excess_blob_gas != 0 {
        return Err(BlockRefusal::Blobs);
    }
    if payload.payload_inner.withdrawals.iter().any(|withdrawal| withdrawal.validator_index != 0) {
        return Err(BlockRefusal::WithdrawalValidator);
    }
    let found: Vec<Withdrawal> = payload
        .payload_inner
        .withdrawals
        .iter()
        .map(|withdrawal| Withdrawal { index: withdrawal.index, recipient: withdrawal.address, gwei: withdrawal.amount })
        .collect();
    withdrawals::check(&found, &justified(ledger, facts)?).map_err(BlockRefusal::Withdrawals)
}

/// The withdrawals that a block with these facts must have [PEG-5].
pub(in crate::core) fn justified(ledger: &Ledger, facts: &[Fact]) -> Result<Vec<Withdrawal>, BlockRefusal> {
    let minted: Vec<Minted> =
        facts.iter().filter_map(|fact| if let Fact::Minted(minted) = fact { Some(*minted) } else { None }).collect();
    let refunded: Vec<Refunded> =
        facts.iter().filter_map(|fact| if let Fact::Refunded(refunded) = fact { Some(*refunded) } else { None }).collect();
    withdrawals::justified(ledger, &minted, &refunded).map_err(BlockRefusal::Ledger)
}
