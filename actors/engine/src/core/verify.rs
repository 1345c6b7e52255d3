//! Checking a block that somebody else made.

use alloy_consensus::proofs::calculate_receipt_root;
use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{Block, Header, TxEnvelope};
use alloy_primitives::{Address, B256};
use alloy_rpc_types_engine::ExecutionPayloadV3;

use super::block::{ExecuteError, ExecutedBlock, Invalid};
use super::burns;
use super::execute::{TransactionError, logs_bloom, run};
use super::forks::Rules;
use super::header::{check, equal};
use super::state::StateSource;

/// The block that a payload describes.
///
/// # Errors
/// `Payload` when it is none, `Hash` when the payload's own hash is another.
pub fn from_payload(payload: ExecutionPayloadV3, parent_beacon_block_root: B256) -> Result<(B256, Block<TxEnvelope>), Invalid> {
    let stated = payload.payload_inner.payload_inner.block_hash;
    let mut block: Block<TxEnvelope> = payload.try_into_block().map_err(|cause| Invalid::Payload(cause.to_string()))?;
    block.header.parent_beacon_block_root = Some(parent_beacon_block_root);
    let actual = block.header.hash_slow();
    if actual != stated {
        return Err(Invalid::Hash { actual, stated });
    }
    Ok((actual, block))
}

/// Executes a block on its parent's state and compares everything it claims.
///
/// # Errors
/// The first claim that is wrong, or a state that cannot be read.
pub fn verify<S: StateSource>(
    source: &S,
    rules: &Rules,
    parent: (&Header, B256),
    hash: B256,
    block: Block<TxEnvelope>,
) -> Result<ExecutedBlock, ExecuteError> {
    check(rules, parent.0, parent.1, &block)?;
    let senders = recover(&block)?;
    let withdrawals = block.body.withdrawals.as_deref().map(Vec::as_slice).unwrap_or_default();
    let outcome = run(source, rules, &block.header, withdrawals, |run_one| {
        for (index, (transaction, sender)) in block.body.transactions.iter().zip(&senders).enumerate() {
            let invalid = |reason: String| ExecuteError::from(Invalid::Transaction { index, reason });
            run_one(&Recovered::new_unchecked(transaction.clone(), *sender)).map_err(|error| match error {
                TransactionError::Invalid(reason) => invalid(reason),
                TransactionError::Stale => invalid("its nonce is used already".into()),
                TransactionError::NoRoom => invalid("its gas limit is more than the block has left".into()),
                TransactionError::Broken(cause) => cause.into(),
            })?;
        }
        Ok(())
    })?;
    let header = &block.header;
    equal("gas used", header.gas_used, outcome.gas_used)?;
    equal("receipts root", header.receipts_root, calculate_receipt_root(&outcome.receipts))?;
    equal("logs bloom", header.logs_bloom, logs_bloom(&outcome.receipts))?;
    equal("state root", header.state_root, outcome.state_root)?;
    let hashes = block.body.transactions.iter().map(|transaction| *transaction.tx_hash());
    let burns = burns::find(header.number, &outcome.receipts, hashes);
    Ok(ExecutedBlock { hash, senders, receipts: outcome.receipts, diff: outcome.diff, burns, fees: outcome.fees, block })
}

fn recover(block: &Block<TxEnvelope>) -> Result<Vec<Address>, Invalid> {
    let recover = |(index, transaction): (usize, &TxEnvelope)| {
        transaction.recover_signer().map_err(|_| Invalid::Transaction { index, reason: "its signature is not valid".into() })
    };
    block.body.transactions.iter().enumerate().map(recover).collect()
}
