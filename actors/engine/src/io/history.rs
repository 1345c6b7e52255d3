//! The state as it was after an old block: what a later block replaced, else what is there now.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};

use super::codec;
use super::snapshot::{Snapshot, failed};
use crate::core::state::{AccountRecord, StateError, StateSource};

/// State after block `at`.
#[derive(Debug)]
pub struct StateAt<'a> {
    snapshot: &'a Snapshot,
    at: u64,
}

impl<'a> StateAt<'a> {
    /// `at` must not be above the snapshot's head.
    pub const fn new(snapshot: &'a Snapshot, at: u64) -> Self {
        Self { snapshot, at }
    }

    fn is_head(&self) -> bool {
        self.at >= self.snapshot.head().header.number
    }
}

impl StateSource for StateAt<'_> {
    fn account(&self, address: Address) -> Result<Option<AccountRecord>, StateError> {
        if !self.is_head() {
            let first = codec::account_history_key(address, self.at.saturating_add(1));
            let last = codec::account_history_key(address, u64::MAX);
            let mut range = self.snapshot.account_history.range(first..=last).map_err(failed("account history"))?;
            if let Some(entry) = range.next() {
                let (_, before) = entry.map_err(failed("account history"))?;
                return codec::decode_account(before.value());
            }
        }
        self.snapshot.account(address)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        if !self.is_head() {
            let first = codec::storage_history_key(address, slot, self.at.saturating_add(1));
            let last = codec::storage_history_key(address, slot, u64::MAX);
            let mut range = self.snapshot.storage_history.range(first..=last).map_err(failed("storage history"))?;
            if let Some(entry) = range.next() {
                let (_, before) = entry.map_err(failed("storage history"))?;
                return codec::decode_word(before.value());
            }
        }
        self.snapshot.storage(address, slot)
    }

    /// Only what executes blocks needs this, and blocks are executed on the head.
    fn storage_slots(&self, address: Address) -> Result<BTreeMap<U256, U256>, StateError> {
        self.snapshot.storage_slots(address)
    }

    fn code(&self, hash: B256) -> Result<Option<Bytes>, StateError> {
        self.snapshot.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        self.snapshot.block_hash(number)
    }

    /// The tries of old states are not kept.
    fn account_node(&self, _path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn storage_node(&self, _address: Address, _path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }
}
