//! State in memory: what genesis is built on, and what tests execute on.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};

use super::block::ExecutedBlock;
use super::state::{AccountRecord, StateDiff, StateError, StateSource};

/// A whole state. Starts empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    accounts: BTreeMap<Address, AccountRecord>,
    storage: BTreeMap<Address, BTreeMap<U256, U256>>,
    code: BTreeMap<B256, Bytes>,
    hashes: BTreeMap<u64, B256>,
    account_nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    storage_nodes: BTreeMap<Address, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryState {
    /// Makes a block's changes.
    pub fn apply(&mut self, block: &ExecutedBlock) {
        self.hashes.insert(block.header().number, block.hash);
        self.apply_diff(&block.diff);
    }

    fn apply_diff(&mut self, diff: &StateDiff) {
        for (address, change) in &diff.accounts {
            match change.after {
                Some(account) => self.accounts.insert(*address, account),
                None => self.accounts.remove(address),
            };
            if change.wiped {
                self.storage.remove(address);
                self.storage_nodes.remove(address);
            }
            let slots = self.storage.entry(*address).or_default();
            slots.extend(change.storage.iter().map(|(slot, (_, after))| (*slot, *after)));
            slots.retain(|_, value| !value.is_zero());
        }
        self.code.extend(diff.code.iter().map(|(hash, code)| (*hash, code.clone())));
        write_nodes(&mut self.account_nodes, &diff.account_nodes);
        for (address, nodes) in &diff.storage_nodes {
            write_nodes(self.storage_nodes.entry(*address).or_default(), nodes);
        }
    }

    /// All accounts.
    pub const fn accounts(&self) -> &BTreeMap<Address, AccountRecord> {
        &self.accounts
    }

    /// Number of trie nodes, to see that none is left behind.
    pub fn node_count(&self) -> usize {
        self.account_nodes.len() + self.storage_nodes.values().map(BTreeMap::len).sum::<usize>()
    }
}

fn write_nodes(nodes: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: &super::state::NodeChanges) {
    for (path, node) in changes {
        match node {
            Some(node) => nodes.insert(path.clone(), node.clone()),
            None => nodes.remove(path),
        };
    }
}

impl StateSource for MemoryState {
    fn account(&self, address: Address) -> Result<Option<AccountRecord>, StateError> {
        Ok(self.accounts.get(&address).copied())
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        Ok(self.storage.get(&address).and_then(|slots| slots.get(&slot)).copied().unwrap_or_default())
    }

    fn storage_slots(&self, address: Address) -> Result<BTreeMap<U256, U256>, StateError> {
        Ok(self.storage.get(&address).cloned().unwrap_or_default())
    }

    fn code(&self, hash: B256) -> Result<Option<Bytes>, StateError> {
        Ok(self.code.get(&hash).cloned())
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        Ok(self.hashes.get(&number).copied())
    }

    fn account_node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.account_nodes.get(path).cloned())
    }

    fn storage_node(&self, address: Address, path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.storage_nodes.get(&address).and_then(|nodes| nodes.get(path)).cloned())
    }
}
