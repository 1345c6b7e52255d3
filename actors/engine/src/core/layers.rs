//! Committed state with executed but uncommitted blocks on top.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};

use super::block::ExecutedBlock;
use super::state::{AccountRecord, StateError, StateSource};

/// A state source below a chain of executed blocks.
#[derive(Debug)]
pub struct Layers<'a, S> {
    base: &'a S,
    /// Newest first.
    blocks: Vec<Arc<ExecutedBlock>>,
}

impl<'a, S: StateSource> Layers<'a, S> {
    /// `blocks` newest first; the last one is a child of what `base` holds.
    pub const fn new(base: &'a S, blocks: Vec<Arc<ExecutedBlock>>) -> Self {
        Self { base, blocks }
    }
}

impl<S: StateSource> StateSource for Layers<'_, S> {
    fn account(&self, address: Address) -> Result<Option<AccountRecord>, StateError> {
        match self.blocks.iter().find_map(|block| block.diff.accounts.get(&address)) {
            Some(diff) => Ok(diff.after),
            None => self.base.account(address),
        }
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        for diff in self.blocks.iter().filter_map(|block| block.diff.accounts.get(&address)) {
            if let Some((_, after)) = diff.storage.get(&slot) {
                return Ok(*after);
            }
            if diff.wiped {
                return Ok(U256::ZERO);
            }
        }
        self.base.storage(address, slot)
    }

    fn storage_slots(&self, address: Address) -> Result<BTreeMap<U256, U256>, StateError> {
        let mut slots = self.base.storage_slots(address)?;
        for diff in self.blocks.iter().rev().filter_map(|block| block.diff.accounts.get(&address)) {
            slots.extend(diff.storage.iter().map(|(slot, (_, after))| (*slot, *after)));
        }
        slots.retain(|_, value| !value.is_zero());
        Ok(slots)
    }

    fn code(&self, hash: B256) -> Result<Option<Bytes>, StateError> {
        match self.blocks.iter().find_map(|block| block.diff.code.get(&hash)) {
            Some(code) => Ok(Some(code.clone())),
            None => self.base.code(hash),
        }
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        match self.blocks.iter().find(|block| block.header().number == number) {
            Some(block) => Ok(Some(block.hash)),
            None => self.base.block_hash(number),
        }
    }

    fn account_node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.blocks.iter().find_map(|block| block.diff.account_nodes.get(path)) {
            Some(node) => Ok(node.clone()),
            None => self.base.account_node(path),
        }
    }

    fn storage_node(&self, address: Address, path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        for block in &self.blocks {
            let nodes = block.diff.storage_nodes.get(&address);
            if let Some(node) = nodes.and_then(|nodes| nodes.get(path)) {
                return Ok(node.clone());
            }
            if block.diff.accounts.get(&address).is_some_and(|diff| diff.wiped) {
                return Ok(None);
            }
        }
        self.base.storage_node(address, path)
    }
}
