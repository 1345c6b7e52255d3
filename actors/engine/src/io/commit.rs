//! Writing one block: everything in one transaction, so head and state agree whatever happens to the machine.

use std::ops::Bound;

use alloy_consensus::BlockBody;
use alloy_primitives::{Address, U256};
use redb::{Database, StorageError, Table, WriteTransaction};

use super::store::StoreError;
use super::{codec, tables};
use crate::core::block::ExecutedBlock;
use crate::core::state::{NodeChanges, StateDiff};

/// Writes a block and makes it head. On disk when this returns.
///
/// # Errors
/// The store cannot be written; nothing has changed then.
pub fn commit(database: &Database, quick_repair: bool, block: &ExecutedBlock) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(StoreError::write)?;
    transaction.set_quick_repair(quick_repair);
    write(&transaction, block)?;
    transaction.commit().map_err(StoreError::write)
}

/// Writes a block into an open transaction.
pub(super) fn write(transaction: &WriteTransaction, block: &ExecutedBlock) -> Result<(), StoreError> {
    let number = block.header().number;
    write_accounts(transaction, number, &block.diff)?;
    write_storage(transaction, number, &block.diff)?;
    write_tries(transaction, &block.diff)?;
    write_block(transaction, block)?;
    let mut meta = transaction.open_table(tables::META).map_err(StoreError::write)?;
    meta.insert("head", codec::encode_head(number, block.hash).as_slice()).map_err(StoreError::write)?;
    Ok(())
}

fn write_accounts(transaction: &WriteTransaction, number: u64, diff: &StateDiff) -> Result<(), StoreError> {
    let mut accounts = transaction.open_table(tables::ACCOUNTS).map_err(StoreError::write)?;
    let mut history = transaction.open_table(tables::ACCOUNT_HISTORY).map_err(StoreError::write)?;
    for (address, change) in &diff.accounts {
        let key = address.0.0;
        match &change.after {
            Some(account) => accounts.insert(key, codec::encode_account(Some(account)).as_slice()),
            None => accounts.remove(key),
        }
        .map_err(StoreError::write)?;
        let before = codec::encode_account(change.before.as_ref());
        history.insert(codec::account_history_key(*address, number), before.as_slice()).map_err(StoreError::write)?;
    }
    let mut code = transaction.open_table(tables::CODE).map_err(StoreError::write)?;
    for (hash, bytes) in &diff.code {
        code.insert(hash.0, bytes.as_ref()).map_err(StoreError::write)?;
    }
    Ok(())
}

fn write_storage(transaction: &WriteTransaction, number: u64, diff: &StateDiff) -> Result<(), StoreError> {
    let mut storage = transaction.open_table(tables::STORAGE).map_err(StoreError::write)?;
    let mut history = transaction.open_table(tables::STORAGE_HISTORY).map_err(StoreError::write)?;
    // A destroyed account names every slot it had, so slot by slot is all there is to do.
    for (address, change) in &diff.accounts {
        for (slot, (before, after)) in &change.storage {
            write_slot(&mut storage, *address, *slot, *after).map_err(StoreError::write)?;
            let key = codec::storage_history_key(*address, *slot, number);
            history.insert(key, codec::encode_word(*before).as_slice()).map_err(StoreError::write)?;
        }
    }
    Ok(())
}

fn write_slot(storage: &mut Table<'_, [u8; 52], &[u8]>, address: Address, slot: U256, value: U256) -> Result<(), StorageError> {
    let key = codec::slot_key(address, slot);
    if value.is_zero() {
        storage.remove(key)?;
    } else {
        storage.insert(key, codec::encode_word(value).as_slice())?;
    }
    Ok(())
}

fn write_tries(transaction: &WriteTransaction, diff: &StateDiff) -> Result<(), StoreError> {
    let mut accounts = transaction.open_table(tables::ACCOUNT_TRIE).map_err(StoreError::write)?;
    write_nodes(&mut accounts, &[], &diff.account_nodes).map_err(StoreError::write)?;
    let mut storage = transaction.open_table(tables::STORAGE_TRIE).map_err(StoreError::write)?;
    for (address, change) in &diff.accounts {
        if change.wiped {
            // Paths hold nibbles only, so 16 bounds the account's keys.
            let (first, last) = (address.to_vec(), codec::node_key(*address, &[16]));
            let all = (Bound::Included(first.as_slice()), Bound::Excluded(last.as_slice()));
            storage.retain_in::<&[u8], _>(all, |_, _| false).map_err(StoreError::write)?;
        }
    }
    for (address, nodes) in &diff.storage_nodes {
        write_nodes(&mut storage, address.as_slice(), nodes).map_err(StoreError::write)?;
    }
    Ok(())
}

fn write_nodes(table: &mut Table<'_, &[u8], &[u8]>, prefix: &[u8], nodes: &NodeChanges) -> Result<(), StorageError> {
    for (path, node) in nodes {
        let key = [prefix, path].concat();
        match node {
            Some(node) => table.insert(key.as_slice(), node.as_slice())?,
            None => table.remove(key.as_slice())?,
        };
    }
    Ok(())
}

fn write_block(transaction: &WriteTransaction, block: &ExecutedBlock) -> Result<(), StoreError> {
    let number = block.header().number;
    let body: &BlockBody<_> = &block.block.body;
    let rows = [
        (tables::HEADERS, alloy_rlp::encode(block.header())),
        (tables::BODIES, alloy_rlp::encode(body)),
        (tables::SENDERS, block.senders.iter().flatten().copied().collect()),
        (tables::RECEIPTS, codec::encode_receipts(&block.receipts)),
    ];
    for (definition, bytes) in rows {
        let mut table = transaction.open_table(definition).map_err(StoreError::write)?;
        table.insert(number, bytes.as_slice()).map_err(StoreError::write)?;
    }
    let mut numbers = transaction.open_table(tables::BLOCK_NUMBERS).map_err(StoreError::write)?;
    numbers.insert(block.hash.0, number).map_err(StoreError::write)?;
    let mut places = transaction.open_table(tables::TRANSACTIONS).map_err(StoreError::write)?;
    for (index, item) in (0u32..).zip(&body.transactions) {
        places.insert(item.tx_hash().0, (number, index)).map_err(StoreError::write)?;
    }
    let mut burns = transaction.open_table(tables::BURN_BLOCKS).map_err(StoreError::write)?;
    if let Some(count) = u32::try_from(block.burns.len()).ok().filter(|count| *count > 0) {
        burns.insert(number, count).map_err(StoreError::write)?;
    }
    Ok(())
}
