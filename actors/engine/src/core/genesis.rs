//! Block 0, from the chain specification.
//!
//! | account | from |
//! |---|---|
//! | bridge contract | `contracts/bridge.bin-runtime`, compiled from our Solidity source |
//! | EIP-4788 beacon roots | the code that every Cancun chain has there |
//! | balances | the specification, for test chains only |
//!
//! The extra data is the hash of the whole specification, so chains that differ in anything differ in block 0.

use std::collections::BTreeMap;

use alloy_consensus::constants::EMPTY_WITHDRAWALS;
use alloy_consensus::{Block, BlockBody, EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header};
use alloy_eips::eip4788::{BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alys_blocks::{BRIDGE_CONTRACT, ChainSpec};

use super::block::ExecutedBlock;
use super::forks::{ForkSchedule, Rules};
use super::memory::MemoryState;
use super::state::{AccountDiff, AccountRecord, EMPTY_ACCOUNT, StateDiff, StateError, StateSource};
use super::trie;

/// Hex text of the bridge contract's code.
const BRIDGE_CODE: &str = include_str!("../../contracts/bridge.bin-runtime");

/// An account of block 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Nonce.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Code, or nothing.
    pub code: Bytes,
    /// Slots that are not 0.
    pub storage: BTreeMap<U256, U256>,
}

/// The specification cannot be a genesis.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// It gives a balance to an account that genesis fills itself.
    #[error("execution.alloc: {0} is a system contract and must not have a balance; remove the entry")]
    Reserved(Address),
    /// It names an account twice.
    #[error("execution.alloc: {0} is listed twice; merge the entries")]
    Twice(Address),
    /// The build is broken: `bridge.bin-runtime` is not hex.
    #[error("the bridge contract's code is not hex; build this program again from a clean checkout")]
    Code,
    /// Cannot happen with a state in memory.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Rules of our chain.
pub const fn rules(spec: &ChainSpec) -> Rules {
    Rules {
        chain_id: spec.chain_id,
        forks: ForkSchedule { prague: None, osaka: None },
        gas_limit: Some(spec.execution.gas_limit),
        blobs: false,
    }
}

/// Block 0 of a chain, as if executed on nothing.
///
/// # Errors
/// When the specification's balances cannot be given.
pub fn genesis(spec: &ChainSpec) -> Result<ExecutedBlock, GenesisError> {
    Ok(block_zero(header(spec), &accounts(spec)?)?)
}

/// Accounts of block 0.
pub(super) fn accounts(spec: &ChainSpec) -> Result<BTreeMap<Address, GenesisAccount>, GenesisError> {
    let code = hex::decode(BRIDGE_CODE.trim()).map_err(|_| GenesisError::Code)?;
    let contract = |code: Bytes| GenesisAccount { nonce: 1, code, ..GenesisAccount::default() };
    let mut accounts =
        BTreeMap::from([(BRIDGE_CONTRACT, contract(code.into())), (BEACON_ROOTS_ADDRESS, contract(BEACON_ROOTS_CODE.clone()))]);
    for entry in &spec.execution.alloc {
        if [BRIDGE_CONTRACT, BEACON_ROOTS_ADDRESS].contains(&entry.address) {
            return Err(GenesisError::Reserved(entry.address));
        }
        let account = GenesisAccount { balance: entry.balance, ..GenesisAccount::default() };
        if accounts.insert(entry.address, account).is_some() {
            return Err(GenesisError::Twice(entry.address));
        }
    }
    Ok(accounts)
}

/// Block 0 without its state root.
pub(super) fn header(spec: &ChainSpec) -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        gas_limit: spec.execution.gas_limit,
        timestamp: spec.genesis_time,
        extra_data: Bytes::copy_from_slice(spec.genesis_hash().as_slice()),
        base_fee_per_gas: Some(spec.execution.initial_base_fee),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        ..Header::default()
    }
}

/// Block 0 with any accounts. The header's state root is filled in.
///
/// # Errors
/// None in practice: nothing is read from outside.
pub fn block_zero(mut header: Header, accounts: &BTreeMap<Address, GenesisAccount>) -> Result<ExecutedBlock, StateError> {
    let nothing = MemoryState::default();
    let mut diff = StateDiff::default();
    for (address, account) in accounts {
        let slots: BTreeMap<_, _> = account.storage.iter().filter(|(_, value)| !value.is_zero()).collect();
        let entries = slots.iter().map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), Some(alloy_rlp::encode(value))));
        let update = trie::update(|path| nothing.storage_node(*address, path), entries)?;
        let code_hash = if account.code.is_empty() { EMPTY_ACCOUNT.code_hash } else { keccak256(&account.code) };
        let after = AccountRecord { nonce: account.nonce, balance: account.balance, storage_root: update.root, code_hash };
        let storage = slots.into_iter().map(|(slot, value)| (*slot, (U256::ZERO, *value))).collect();
        if !account.code.is_empty() {
            diff.code.insert(code_hash, account.code.clone());
        }
        diff.storage_nodes.insert(*address, update.nodes);
        diff.accounts.insert(*address, AccountDiff { before: None, after: Some(after), wiped: false, storage });
    }
    let entries = diff.accounts.iter().map(|(address, change)| (keccak256(address), change.after.map(alloy_rlp::encode)));
    let update = trie::update(|path| nothing.account_node(path), entries)?;
    header.state_root = update.root;
    diff.account_nodes = update.nodes;
    let body = BlockBody { transactions: Vec::new(), ommers: Vec::new(), withdrawals: Some(Withdrawals::default()) };
    Ok(ExecutedBlock {
        hash: header.hash_slow(),
        block: Block { header, body },
        senders: Vec::new(),
        receipts: Vec::new(),
        diff,
        burns: Vec::new(),
        fees: U256::ZERO,
    })
}

#[cfg(test)]
#[path = "genesis_tests.rs"]
mod tests;
