//! A [`StateSource`] as revm wants to see it.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::bytecode::Bytecode;
use revm::state::AccountInfo;
use revm::{Database, DatabaseRef};

use crate::core::state::{StateError, StateSource};

/// Reads through to the source.
#[derive(Debug)]
pub(in crate::core) struct SourceDatabase<'a, S>(pub(in crate::core) &'a S);

impl<S: StateSource> DatabaseRef for SourceDatabase<'_, S> {
    type Error = StateError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        let account = self.0.account(address)?;
        Ok(account.map(|record| AccountInfo {
            balance: record.balance,
            nonce: record.nonce,
            code_hash: record.code_hash,
            // Loaded by hash when it is run.
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, StateError> {
        if hash == KECCAK256_EMPTY || hash.is_zero() {
            return Ok(Bytecode::default());
        }
        let code = self.0.code(hash)?.ok_or_else(|| StateError::Damaged(format!("code {hash} is missing")))?;
        Bytecode::new_raw_checked(code).map_err(|cause| StateError::read("code", cause))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.0.storage(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, StateError> {
        Ok(self.0.block_hash(number)?.unwrap_or_default())
    }
}

impl<S: StateSource> Database for SourceDatabase<'_, S> {
    type Error = StateError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, StateError> {
        self.basic_ref(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, StateError> {
        self.code_by_hash_ref(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.storage_ref(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, StateError> {
        self.block_hash_ref(number)
    }
}
