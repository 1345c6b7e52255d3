//! Between messages and the engine's types.

use std::time::Duration;

use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use alys_proto::Refused;
use alys_proto::engine::execution_result::Status;
use alys_proto::engine::{BlockTemplate, BuildBlockRequest, ExecutionHead, ExecutionResult, MintTokensRequest};

use crate::core::block::ExecutedBlock;
use crate::core::build::Attributes;
use crate::engine::Execution;

pub(crate) fn hash(field: &str, bytes: &[u8]) -> Result<B256, Refused> {
    B256::try_from(bytes).map_err(|_| Refused::Malformed(format!("{field}: {} bytes instead of 32", bytes.len())))
}

pub(crate) fn address(field: &str, bytes: &[u8]) -> Result<Address, Refused> {
    Address::try_from(bytes).map_err(|_| Refused::Malformed(format!("{field}: {} bytes instead of 20", bytes.len())))
}

/// Parent, attributes and time budget of a request.
pub(crate) fn attributes(request: &BuildBlockRequest) -> Result<(B256, Attributes, Duration), Refused> {
    let withdrawals = request.mints.iter().map(withdrawal).collect::<Result<_, _>>()?;
    let attributes = Attributes {
        timestamp: request.timestamp,
        prev_randao: hash("prev_randao", &request.prev_randao)?,
        parent_beacon_block_root: hash("parent_beacon_block_root", &request.parent_beacon_block_root)?,
        fee_recipient: address("fee_recipient", &request.fee_recipient)?,
        withdrawals,
    };
    Ok((hash("parent_hash", &request.parent_hash)?, attributes, Duration::from_millis(request.time_budget_millis)))
}

/// There are no validator indices on this chain: 0 everywhere.
fn withdrawal(mint: &MintTokensRequest) -> Result<Withdrawal, Refused> {
    let address = address("mints.recipient", &mint.recipient)?;
    Ok(Withdrawal { index: mint.index, validator_index: 0, address, amount: mint.amount_gwei })
}

pub(crate) fn template(block: &ExecutedBlock) -> BlockTemplate {
    let payload = ExecutionPayloadV3::from_block_unchecked(block.hash, &block.block);
    BlockTemplate {
        payload: alys_blocks::encode_payload(&payload),
        block_hash: block.hash.to_vec(),
        transactions: u32::try_from(block.senders.len()).unwrap_or(u32::MAX),
        fees_wei: block.fees.to_be_bytes_vec(),
        burns: block.burns.iter().map(Into::into).collect(),
    }
}

pub(crate) fn execution(execution: Execution) -> ExecutionResult {
    let (status, reason, hash, burns) = match execution {
        Execution::Valid { hash, burns } => (Status::Valid, String::new(), hash, burns),
        Execution::Invalid { hash, reason } => (Status::Invalid, reason.to_string(), hash, Vec::new()),
        Execution::Syncing { hash } => (Status::Syncing, "its parent is not known here".into(), hash, Vec::new()),
    };
    ExecutionResult { status: status.into(), reason, block_hash: hash.to_vec(), burns: burns.iter().map(Into::into).collect() }
}

pub(crate) fn head(hash: B256, header: &Header) -> ExecutionHead {
    ExecutionHead { number: header.number, block_hash: hash.to_vec(), state_root: header.state_root.to_vec() }
}
