#![allow(clippy::unwrap_used)]
use alloy_trie::root::state_root_unhashed;

use super::*;
use crate::testing::spec;

#[test]
fn the_state_root_is_that_of_all_accounts() {
    let block = genesis(&spec()).unwrap();
    let accounts = block.diff.accounts.iter().map(|(address, change)| (*address, change.after.unwrap()));
    assert_eq!(block.header().state_root, state_root_unhashed(accounts));
    let mut state = MemoryState::default();
    state.apply(&block);
    let bridge = state.account(BRIDGE_CONTRACT).unwrap().unwrap();
    assert_eq!(keccak256(state.code(bridge.code_hash).unwrap().unwrap()), bridge.code_hash);
    assert_ne!(bridge.code_hash, EMPTY_ACCOUNT.code_hash);
}

#[test]
fn chains_that_differ_in_anything_differ_in_block_zero() {
    let hash = genesis(&spec()).unwrap().hash;
    let mut other = spec();
    other.peg.max_fee_rate += 1;
    assert_ne!(genesis(&other).unwrap().hash, hash);
}

#[test]
fn system_accounts_and_twins_are_refused() {
    let entry = |address| alys_blocks::spec::GenesisAccount { address, balance: U256::from(1) };
    let mut reserved = spec();
    reserved.execution.alloc.push(entry(BRIDGE_CONTRACT));
    assert!(matches!(genesis(&reserved), Err(GenesisError::Reserved(BRIDGE_CONTRACT))));
    let mut twice = spec();
    twice.execution.alloc.extend([entry(Address::ZERO), entry(Address::ZERO)]);
    assert!(matches!(genesis(&twice), Err(GenesisError::Twice(Address::ZERO))));
}
