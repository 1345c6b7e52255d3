//! The database as it was after one commit. Readers hold one for as long as a question takes; commits do not disturb it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{BlockBody, Header, ReceiptEnvelope, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use redb::{Database, Key, ReadOnlyTable, ReadableDatabase, TableDefinition, Value};

use super::{codec, tables};
use crate::core::state::{AccountRecord, StateError, StateSource};
use crate::core::view::BlockView;

/// Open tables of one read transaction.
pub struct Snapshot {
    pub(super) accounts: ReadOnlyTable<[u8; 20], &'static [u8]>,
    pub(super) storage: ReadOnlyTable<[u8; 52], &'static [u8]>,
    code: ReadOnlyTable<[u8; 32], &'static [u8]>,
    account_trie: ReadOnlyTable<&'static [u8], &'static [u8]>,
    storage_trie: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) account_history: ReadOnlyTable<[u8; 28], &'static [u8]>,
    pub(super) storage_history: ReadOnlyTable<[u8; 60], &'static [u8]>,
    headers: ReadOnlyTable<u64, &'static [u8]>,
    bodies: ReadOnlyTable<u64, &'static [u8]>,
    senders: ReadOnlyTable<u64, &'static [u8]>,
    receipts: ReadOnlyTable<u64, &'static [u8]>,
    block_numbers: ReadOnlyTable<[u8; 32], u64>,
    transactions: ReadOnlyTable<[u8; 32], (u64, u32)>,
    burn_blocks: ReadOnlyTable<u64, u32>,
    head: Arc<BlockView>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("head", &self.head.header.number).finish_non_exhaustive()
    }
}

/// What stands for the head until it is read.
fn no_block() -> BlockView {
    BlockView {
        hash: B256::ZERO,
        header: Header::default(),
        transactions: Vec::new(),
        receipts: Vec::new(),
        withdrawals: Vec::new(),
    }
}

/// Wraps a failed read.
pub(super) fn failed<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> StateError {
    move |cause| StateError::read(what, cause)
}

impl Snapshot {
    /// The database as it is now, with a head that agrees with its state. `written`: the head, if it was just written,
    /// so that it need not be read back.
    ///
    /// # Errors
    /// `Damaged` when head, header, and state root do not belong together.
    pub fn open(database: &Database, written: Option<Arc<BlockView>>) -> Result<Self, StateError> {
        let transaction = database.begin_read().map_err(failed("the database"))?;
        fn table<K: Key, V: Value>(
            transaction: &redb::ReadTransaction,
            definition: TableDefinition<'static, K, V>,
        ) -> Result<ReadOnlyTable<K, V>, StateError> {
            transaction.open_table(definition).map_err(failed("a table"))
        }
        let meta = table(&transaction, tables::META)?;
        let head = meta.get("head").map_err(failed("the head"))?;
        let head = head.ok_or_else(|| StateError::Damaged("the database has no head".into()))?;
        let (number, hash) = codec::decode_head(head.value())?;
        let mut snapshot = Self {
            accounts: table(&transaction, tables::ACCOUNTS)?,
            storage: table(&transaction, tables::STORAGE)?,
            code: table(&transaction, tables::CODE)?,
            account_trie: table(&transaction, tables::ACCOUNT_TRIE)?,
            storage_trie: table(&transaction, tables::STORAGE_TRIE)?,
            account_history: table(&transaction, tables::ACCOUNT_HISTORY)?,
            storage_history: table(&transaction, tables::STORAGE_HISTORY)?,
            headers: table(&transaction, tables::HEADERS)?,
            bodies: table(&transaction, tables::BODIES)?,
            senders: table(&transaction, tables::SENDERS)?,
            receipts: table(&transaction, tables::RECEIPTS)?,
            block_numbers: table(&transaction, tables::BLOCK_NUMBERS)?,
            transactions: table(&transaction, tables::TRANSACTIONS)?,
            burn_blocks: table(&transaction, tables::BURN_BLOCKS)?,
            head: written.unwrap_or_else(|| Arc::new(no_block())),
        };
        if snapshot.head.hash != hash {
            let head =
                snapshot.block(number)?.ok_or_else(|| StateError::Damaged(format!("block {number}, the head, is missing")))?;
            snapshot.head = Arc::new(head);
        }
        let root = snapshot.account_node(&[])?.map_or(alloy_trie::EMPTY_ROOT_HASH, keccak256);
        if snapshot.head.hash != hash || snapshot.head.header.state_root != root {
            return Err(StateError::Damaged(format!("head {number} does not agree with the state")));
        }
        Ok(snapshot)
    }

    /// The head of this snapshot.
    pub const fn head(&self) -> &Arc<BlockView> {
        &self.head
    }

    /// A header by number.
    ///
    /// # Errors
    /// A failed read.
    pub fn header(&self, number: u64) -> Result<Option<Header>, StateError> {
        let bytes = self.headers.get(number).map_err(failed("a header"))?;
        bytes.map(|bytes| codec::decode("header", bytes.value())).transpose()
    }

    /// Receipts by block number.
    ///
    /// # Errors
    /// A failed read.
    pub fn receipts(&self, number: u64) -> Result<Option<Vec<ReceiptEnvelope>>, StateError> {
        let bytes = self.receipts.get(number).map_err(failed("receipts"))?;
        bytes.map(|bytes| codec::decode_receipts(bytes.value())).transpose()
    }

    /// A whole block by number.
    ///
    /// # Errors
    /// A failed read, or `Damaged` when a part is missing.
    pub fn block(&self, number: u64) -> Result<Option<BlockView>, StateError> {
        let Some(header) = self.header(number)? else { return Ok(None) };
        let missing = || StateError::Damaged(format!("block {number} is not complete"));
        let body = self.bodies.get(number).map_err(failed("a body"))?.ok_or_else(missing)?;
        let body: BlockBody<TxEnvelope> = codec::decode("body", body.value())?;
        let senders = self.senders.get(number).map_err(failed("senders"))?.ok_or_else(missing)?;
        let senders = codec::decode_senders(senders.value())?;
        let receipts = self.receipts(number)?.ok_or_else(missing)?;
        if senders.len() != body.transactions.len() || receipts.len() != body.transactions.len() {
            return Err(missing());
        }
        let transactions = body.transactions.into_iter().zip(senders);
        Ok(Some(BlockView {
            hash: header.hash_slow(),
            header,
            transactions: transactions.map(|(transaction, sender)| Recovered::new_unchecked(transaction, sender)).collect(),
            receipts,
            withdrawals: body.withdrawals.unwrap_or_default().into_inner(),
        }))
    }

    /// Number of a block.
    ///
    /// # Errors
    /// A failed read.
    pub fn number(&self, hash: B256) -> Result<Option<u64>, StateError> {
        Ok(self.block_numbers.get(hash.0).map_err(failed("a block hash"))?.map(|number| number.value()))
    }

    /// Block and position of a transaction.
    ///
    /// # Errors
    /// A failed read.
    pub fn transaction(&self, hash: B256) -> Result<Option<(u64, u32)>, StateError> {
        Ok(self.transactions.get(hash.0).map_err(failed("a transaction"))?.map(|place| place.value()))
    }

    /// Blocks of a range that have burns.
    ///
    /// # Errors
    /// A failed read.
    pub fn burn_blocks(&self, from: u64, to: u64) -> Result<Vec<u64>, StateError> {
        if from > to {
            return Ok(Vec::new());
        }
        let range = self.burn_blocks.range(from..=to).map_err(failed("burns"))?;
        range.map(|entry| entry.map(|(block, _)| block.value()).map_err(failed("burns"))).collect()
    }

    /// All slots of an account that are not 0, as they are now.
    pub(super) fn slots(&self, address: Address) -> Result<BTreeMap<U256, U256>, StateError> {
        let (first, last) = (codec::slot_key(address, U256::ZERO), codec::slot_key(address, U256::MAX));
        let mut slots = BTreeMap::new();
        for entry in self.storage.range(first..=last).map_err(failed("storage"))? {
            let (key, value) = entry.map_err(failed("storage"))?;
            let key = key.value();
            slots.insert(codec::decode_word(&key[20..])?, codec::decode_word(value.value())?);
        }
        Ok(slots)
    }
}

impl StateSource for Snapshot {
    fn account(&self, address: Address) -> Result<Option<AccountRecord>, StateError> {
        let bytes = self.accounts.get(address.0.0).map_err(failed("an account"))?;
        bytes.map_or(Ok(None), |bytes| codec::decode_account(bytes.value()))
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        let bytes = self.storage.get(codec::slot_key(address, slot)).map_err(failed("storage"))?;
        bytes.map_or(Ok(U256::ZERO), |bytes| codec::decode_word(bytes.value()))
    }

    fn storage_slots(&self, address: Address) -> Result<BTreeMap<U256, U256>, StateError> {
        self.slots(address)
    }

    fn code(&self, hash: B256) -> Result<Option<Bytes>, StateError> {
        let bytes = self.code.get(hash.0).map_err(failed("code"))?;
        Ok(bytes.map(|bytes| Bytes::copy_from_slice(bytes.value())))
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        if number == self.head.header.number {
            return Ok(Some(self.head.hash));
        }
        Ok(self.header(number)?.map(|header| header.hash_slow()))
    }

    fn account_node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let bytes = self.account_trie.get(path).map_err(failed("a trie node"))?;
        Ok(bytes.map(|bytes| bytes.value().to_vec()))
    }

    fn storage_node(&self, address: Address, path: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let bytes = self.storage_trie.get(codec::node_key(address, path).as_slice()).map_err(failed("a trie node"))?;
        Ok(bytes.map(|bytes| bytes.value().to_vec()))
    }
}
