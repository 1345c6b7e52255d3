//! The engine without messages: rules applied to the database and to what is executed above it. Blocking.
//!
//! | parent of a block is | build, execute |
//! |---|---|
//! | the committed head | on committed state |
//! | executed, above the head | on its state |
//! | committed, below the head | never: committed blocks are final |
//! | unknown | not yet: replay first |

use std::path::Path;
use std::sync::Arc;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Header, TxEnvelope};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY};
use alys_blocks::ChainSpec;

use crate::core::block::{ExecuteError, ExecutedBlock, Invalid};
use crate::core::build::{self, Attributes, Built};
use crate::core::burns::{self, Burn};
use crate::core::forks::Rules;
use crate::core::genesis::{self, GenesisError};
use crate::core::layers::Layers;
use crate::core::state::{AccountRecord, StateDiff, StateError, StateSource};
use crate::core::tree::Tree;
use crate::core::verify;
use crate::core::view::BlockView;
use crate::io::reader::StateReader;
use crate::io::snapshot::Snapshot;
use crate::io::store::{Options, Store, StoreError};
use crate::pool::Account;

/// Most burns in one answer: about 3 MiB.
pub(crate) const MAX_BURNS: usize = 10_000;

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The specification cannot be a chain.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The question was wrong, or comes too early.
    #[error("{0}")]
    Refused(String),
    /// We are broken.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StateError> for EngineError {
    fn from(cause: StateError) -> Self {
        Self::Store(cause.into())
    }
}

/// What executing a payload found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Execution {
    /// It is a block, here or before.
    Valid {
        /// Its hash.
        hash: B256,
        /// Its burns.
        burns: Vec<Burn>,
    },
    /// It is none, and never will be.
    Invalid {
        /// As the payload says.
        hash: B256,
        /// Why.
        reason: Invalid,
    },
    /// Its parent is not known here.
    Syncing {
        /// As the payload says.
        hash: B256,
    },
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The head now.
    pub head: Arc<BlockView>,
    /// Burns of the block that was asked for.
    pub burns: Vec<Burn>,
    /// The block, when it was not committed before.
    pub block: Option<Arc<ExecutedBlock>>,
}

enum Parent {
    Known { header: Box<Header>, layers: Vec<Arc<ExecutedBlock>> },
    Final { head: u64 },
    Unknown,
}

/// The embedded EVM with its database.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    store: Store,
    tree: Tree,
}

impl Engine {
    /// Opens or makes the database of a chain in a folder.
    ///
    /// # Errors
    /// The database or the specification cannot be used.
    pub fn open(folder: &Path, options: Options, spec: &ChainSpec) -> Result<Self, OpenError> {
        let genesis = genesis::genesis(spec)?;
        Ok(Self::with_genesis(folder, options, genesis::rules(spec), &genesis)?)
    }

    /// Opens or makes the database of a chain with any rules and genesis.
    ///
    /// # Errors
    /// The database cannot be used.
    pub fn with_genesis(folder: &Path, options: Options, rules: Rules, genesis: &ExecutedBlock) -> Result<Self, StoreError> {
        let store = Store::open(folder, options, genesis)?;
        Ok(Self { rules, store, tree: Tree::default() })
    }

    /// The chain's rules.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A reader that follows commits.
    pub fn reader(&self) -> StateReader {
        StateReader::new(self.rules, &self.store)
    }

    /// The committed head.
    pub fn head(&self) -> Arc<BlockView> {
        Arc::clone(self.store.snapshot().head())
    }

    /// Blocks executed and not committed, and how many fell out of that set.
    pub fn executed(&self) -> (usize, u64) {
        (self.tree.len(), self.tree.dropped())
    }

    /// Builds a block and keeps it as executed. Answers it with the transactions that should leave the pool.
    ///
    /// # Errors
    /// `Refused` when the parent cannot be built upon or the attributes break a rule.
    pub fn build<C>(
        &mut self,
        parent_hash: B256,
        attributes: &Attributes,
        candidates: impl FnOnce(&Header) -> C,
        out_of_time: impl FnMut() -> bool,
    ) -> Result<(Arc<ExecutedBlock>, Vec<B256>), EngineError>
    where
        C: IntoIterator<Item = Recovered<TxEnvelope>>,
    {
        let snapshot = self.store.snapshot();
        let (parent, layers) = match self.parent(&snapshot, parent_hash)? {
            Parent::Known { header, layers } => (header, layers),
            Parent::Final { head } => {
                return Err(EngineError::Refused(format!("parent {parent_hash} is below the committed head {head}")));
            }
            Parent::Unknown => return Err(EngineError::Refused(format!("parent {parent_hash} is not executed here"))),
        };
        if attributes.timestamp <= parent.timestamp {
            let text = format!("timestamp {} is not after the parent's {}", attributes.timestamp, parent.timestamp);
            return Err(EngineError::Refused(text));
        }
        // What cannot run above executed blocks may still run on the head, should another block be committed.
        let above_head = !layers.is_empty();
        let source = Layers::new(&*snapshot, layers);
        let candidates = candidates(&parent);
        let built = build::build(&source, &self.rules, (&parent, parent_hash), attributes, candidates, out_of_time);
        let Built { block, invalid } = built.map_err(|error| match error {
            ExecuteError::Invalid(reason) => EngineError::Refused(reason.to_string()),
            ExecuteError::State(cause) => cause.into(),
        })?;
        let block = Arc::new(block);
        self.tree.insert(Arc::clone(&block));
        Ok((block, if above_head { Vec::new() } else { invalid }))
    }

    /// Executes a payload and keeps it when it is valid. Asking again is cheap and answers the same.
    ///
    /// # Errors
    /// Only our own: what is wrong with the payload is in the answer.
    pub fn execute(&mut self, payload: &[u8], parent_beacon_block_root: B256) -> Result<Execution, EngineError> {
        let payload = match alys_blocks::decode_payload(payload) {
            Ok(payload) => payload,
            Err(error) => {
                return Ok(Execution::Invalid { hash: B256::ZERO, reason: Invalid::Payload(error.to_string()) });
            }
        };
        let stated = payload.payload_inner.payload_inner.block_hash;
        let (hash, block) = match verify::from_payload(payload, parent_beacon_block_root) {
            Ok(block) => block,
            Err(reason) => return Ok(Execution::Invalid { hash: stated, reason }),
        };
        let snapshot = self.store.snapshot();
        if let Some(burns) = self.known(&snapshot, hash)? {
            return Ok(Execution::Valid { hash, burns });
        }
        let (parent_hash, number) = (block.header.parent_hash, block.header.number);
        let (parent, layers) = match self.parent(&snapshot, parent_hash)? {
            Parent::Known { header, layers } => (header, layers),
            Parent::Final { head } => return Ok(Execution::Invalid { hash, reason: Invalid::Final { number, head } }),
            Parent::Unknown => return Ok(Execution::Syncing { hash }),
        };
        let source = Layers::new(&*snapshot, layers);
        match verify::verify(&source, &self.rules, (&parent, parent_hash), hash, block) {
            Ok(executed) => {
                let burns = executed.burns.clone();
                self.tree.insert(Arc::new(executed));
                Ok(Execution::Valid { hash, burns })
            }
            Err(ExecuteError::Invalid(reason)) => Ok(Execution::Invalid { hash, reason }),
            Err(ExecuteError::State(cause)) => Err(cause.into()),
        }
    }

    /// Makes an executed child of the head the head. On disk when this returns; doing it again changes nothing.
    ///
    /// # Errors
    /// `Refused` when the block is not executed here or does not build on the head.
    pub fn commit(&mut self, hash: B256) -> Result<Committed, EngineError> {
        let Some(block) = self.tree.get(hash).cloned() else {
            let snapshot = self.store.snapshot();
            let Some(burns) = self.known(&snapshot, hash)? else {
                return Err(EngineError::Refused(format!("block {hash} is not executed here: execute it first")));
            };
            return Ok(Committed { head: Arc::clone(snapshot.head()), burns, block: None });
        };
        let head = self.head();
        if block.header().parent_hash != head.hash {
            let text = format!(
                "block {hash} does not build on the head {} ({}): commit its parent first",
                head.header.number, head.hash
            );
            return Err(EngineError::Refused(text));
        }
        self.store.commit(&block)?;
        self.tree.committed(hash);
        Ok(Committed { head: self.head(), burns: block.burns.clone(), block: Some(block) })
    }

    /// An account at the head, as the pool wants to know it.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn committed_account(&self, address: Address) -> Result<Account, EngineError> {
        Ok(pool_account(self.store.snapshot().account(address)?.as_ref()))
    }

    /// Burns of committed blocks, both ends included.
    ///
    /// # Errors
    /// `Refused` when there are too many.
    pub fn burns(&self, from: u64, to: u64) -> Result<Vec<Burn>, EngineError> {
        let snapshot = self.store.snapshot();
        let mut found = Vec::new();
        for number in snapshot.burn_blocks(from, to)? {
            found.extend(burns_of(&snapshot, number)?);
            if found.len() > MAX_BURNS {
                return Err(EngineError::Refused(format!("more than {MAX_BURNS} burns up to block {number}: ask in parts")));
            }
        }
        Ok(found)
    }

    fn known(&self, snapshot: &Snapshot, hash: B256) -> Result<Option<Vec<Burn>>, StateError> {
        if let Some(block) = self.tree.get(hash) {
            return Ok(Some(block.burns.clone()));
        }
        snapshot.number(hash)?.map(|number| burns_of(snapshot, number)).transpose()
    }

    fn parent(&self, snapshot: &Snapshot, hash: B256) -> Result<Parent, StateError> {
        let head = snapshot.head();
        if hash == head.hash {
            return Ok(Parent::Known { header: Box::new(head.header.clone()), layers: Vec::new() });
        }
        match self.tree.path(hash, head.hash) {
            Some(layers) => Ok(match layers.first() {
                Some(tip) => Parent::Known { header: Box::new(tip.header().clone()), layers },
                None => Parent::Unknown,
            }),
            None if snapshot.number(hash)?.is_some() => Ok(Parent::Final { head: head.header.number }),
            None => Ok(Parent::Unknown),
        }
    }
}

/// Burns of a committed block.
fn burns_of(snapshot: &Snapshot, number: u64) -> Result<Vec<Burn>, StateError> {
    if snapshot.burn_blocks(number, number)?.is_empty() {
        return Ok(Vec::new());
    }
    let block = snapshot.block(number)?.ok_or_else(|| StateError::Damaged(format!("block {number} is missing")))?;
    let hashes = block.transactions.iter().map(|transaction| *transaction.inner().tx_hash());
    Ok(burns::find(number, &block.receipts, hashes))
}

/// Accounts that a block changed, as they are after it.
pub fn changed_accounts(diff: &StateDiff) -> impl Iterator<Item = (Address, Account)> {
    diff.accounts.iter().map(|(address, change)| (*address, pool_account(change.after.as_ref())))
}

/// An account as the pool wants to know it.
pub fn pool_account(account: Option<&AccountRecord>) -> Account {
    account.map_or_else(Account::default, |account| Account {
        nonce: account.nonce,
        balance: account.balance,
        has_code: account.code_hash != KECCAK256_EMPTY,
    })
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
