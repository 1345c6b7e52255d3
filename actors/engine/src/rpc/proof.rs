//! Proofs of accounts and slots against a state root.

use alloy_eips::BlockId;
use alloy_primitives::Address;
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::JsonStorageKey;

use super::account::MAX_SLOTS;
use super::backend::Handle;
use super::failure::{Answer, Failure};
use super::methods::Arguments;

/// `eth_getProof(address, slots, block)`: of the head, whose tries are the only ones that are kept.
pub(super) fn account(handle: &Handle, mut arguments: Arguments<'_>) -> Answer<EIP1186AccountProofResponse> {
    let (address, keys): (Address, Vec<JsonStorageKey>) = (arguments.next()?, arguments.next()?);
    let block: Option<BlockId> = arguments.optional_next()?;
    if keys.len() > MAX_SLOTS {
        return Err(Failure::Arguments(format!("{} slots in one question: at most {MAX_SLOTS}", keys.len())));
    }
    let slots: Vec<_> = keys.iter().map(|key| key.as_b256().into()).collect();
    let proof = handle.reader.proof(handle.number_of(block)?, address, &slots)?;
    let storage_proof = keys.into_iter().zip(proof.slots).map(|(key, (value, proof))| EIP1186StorageProof { key, value, proof });
    Ok(EIP1186AccountProofResponse {
        address,
        balance: proof.account.balance,
        code_hash: proof.account.code_hash,
        nonce: proof.account.nonce,
        storage_hash: proof.account.storage_root,
        account_proof: proof.nodes,
        storage_proof: storage_proof.collect(),
    })
}
