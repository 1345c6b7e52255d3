//! The world state: what is read, and what one block changes.

use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};

/// An account as the state trie has it: nonce, balance, storage root, code hash.
pub type AccountRecord = TrieAccount;

/// Changed trie nodes by path, one nibble per byte. `None`: the node is gone.
pub type NodeChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// State that can be executed on. Committed state on disk, that state with uncommitted blocks above it, and the
/// memory of tests are the implementations.
pub trait StateSource: fmt::Debug {
    /// The account, or `None` when there is none.
    fn account(&self, address: Address) -> Result<Option<AccountRecord>, StateError>;
    /// One storage slot; 0 when never written.
    fn storage(&self, address: Address, slot: U256) -> Result<U256, StateError>;
    /// All slots of an account that are not 0. Only for accounts that are destroyed, which is rare.
    fn storage_slots(&self, address: Address) -> Result<BTreeMap<U256, U256>, StateError>;
    /// Code by its hash.
    fn code(&self, hash: B256) -> Result<Option<Bytes>, StateError>;
    /// Hash of an ancestor by number.
    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError>;
    /// A node of the account trie by path.
    fn account_node(&self, path: &[u8]) -> Result<Option<Vec<u8>>, StateError>;
    /// A node of an account's storage trie by path.
    fn storage_node(&self, address: Address, path: &[u8]) -> Result<Option<Vec<u8>>, StateError>;
}

/// The state cannot be read. Never the fault of a block.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// What is there contradicts itself.
    #[error("{0}")]
    Damaged(String),
    /// The store failed.
    #[error("reading {what}")]
    Read {
        /// What was read.
        what: &'static str,
        /// Why it failed.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StateError {
    /// Wraps a failure of the store.
    pub fn read(what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Read { what, cause: Box::new(cause) }
    }
}

impl revm::database_interface::DBErrorMarker for StateError {}

/// What one block changes in the state, with the tries that follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDiff {
    /// Accounts touched so that they differ afterwards.
    pub accounts: BTreeMap<Address, AccountDiff>,
    /// New code.
    pub code: BTreeMap<B256, Bytes>,
    /// Nodes of the account trie.
    pub account_nodes: NodeChanges,
    /// Nodes of storage tries. For a [`AccountDiff::wiped`] account every node not named here is gone.
    pub storage_nodes: BTreeMap<Address, NodeChanges>,
}

/// One account before and after a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountDiff {
    /// Before; `None` when it did not exist.
    pub before: Option<AccountRecord>,
    /// After; `None` when it does not exist any more.
    pub after: Option<AccountRecord>,
    /// It was destroyed in between: storage starts from nothing. `storage` names every slot that was not 0.
    pub wiped: bool,
    /// Changed slots: before and after.
    pub storage: BTreeMap<U256, (U256, U256)>,
}

/// An account that nobody has touched: what `before` of a new one is filled from.
pub const EMPTY_ACCOUNT: AccountRecord =
    TrieAccount { nonce: 0, balance: U256::ZERO, storage_root: EMPTY_ROOT_HASH, code_hash: KECCAK256_EMPTY };
