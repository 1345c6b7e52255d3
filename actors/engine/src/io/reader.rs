//! What JSON-RPC and the pool read. Every answer comes from one committed snapshot.

use std::sync::{Arc, RwLock};

use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace};

use super::history::StateAt;
use super::snapshot::Snapshot;
use super::store::{self, Store};
use crate::core::forks::Rules;
use crate::core::header::next_base_fee;
use crate::core::state::{EMPTY_ACCOUNT, StateError, StateSource};
use crate::core::view::{AccountProof, AccountView, BlockView, CallOutcome, CallRequest, ViewError};
use crate::core::{call, proof, trace};

/// Reads committed blocks and states. Cheap to clone. Reads the disk: call it where blocking is allowed.
#[derive(Clone, Debug)]
pub struct StateReader {
    rules: Rules,
    latest: Arc<RwLock<Arc<Snapshot>>>,
}

impl StateReader {
    /// A reader that follows the store's commits.
    pub fn new(rules: Rules, store: &Store) -> Self {
        Self { rules, latest: store.latest() }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        store::read(&self.latest)
    }

    /// EVM chain id.
    pub const fn chain_id(&self) -> u64 {
        self.rules.chain_id
    }

    /// The committed head; genesis counts. Nothing committed is ever undone, so it is safe and finalised too.
    ///
    /// # Errors
    /// None; as the other methods.
    pub fn head(&self) -> Result<Arc<BlockView>, ViewError> {
        Ok(Arc::clone(self.snapshot().head()))
    }

    /// A block, `None` above the head.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn block_by_number(&self, number: u64) -> Result<Option<Arc<BlockView>>, ViewError> {
        let snapshot = self.snapshot();
        if number == snapshot.head().header.number {
            return Ok(Some(Arc::clone(snapshot.head())));
        }
        Ok(snapshot.block(number)?.map(Arc::new))
    }

    /// A block by hash.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn block_by_hash(&self, hash: B256) -> Result<Option<Arc<BlockView>>, ViewError> {
        match self.snapshot().number(hash)? {
            Some(number) => self.block_by_number(number),
            None => Ok(None),
        }
    }

    /// A header, `None` above the head.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn header_by_number(&self, number: u64) -> Result<Option<Header>, ViewError> {
        Ok(self.snapshot().header(number)?)
    }

    /// Receipts of a block without the rest of it.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn receipts(&self, number: u64) -> Result<Option<Vec<ReceiptEnvelope>>, ViewError> {
        Ok(self.snapshot().receipts(number)?)
    }

    /// Block and position of a committed transaction.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn transaction_position(&self, hash: B256) -> Result<Option<(u64, usize)>, ViewError> {
        let place = self.snapshot().transaction(hash)?;
        let place = place.map(|(block, index)| usize::try_from(index).map(|index| (block, index)));
        place.transpose().map_err(|_| StateError::Damaged("a transaction's position is out of range".into()).into())
    }

    /// An account after block `at`.
    ///
    /// # Errors
    /// `Unknown` above the head, or a state that cannot be read.
    pub fn account(&self, at: u64, address: Address) -> Result<Option<AccountView>, ViewError> {
        let account = self.with_state(at, |state, _| state.account(address))??;
        Ok(account.map(|record| AccountView { nonce: record.nonce, balance: record.balance, code_hash: record.code_hash }))
    }

    /// Code of an account after block `at`; empty when it has none.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub fn code(&self, at: u64, address: Address) -> Result<Bytes, ViewError> {
        let code = self.with_state(at, |state, _| match state.account(address)? {
            Some(account) => state.code(account.code_hash),
            None => Ok(None),
        })??;
        Ok(code.unwrap_or_default())
    }

    /// A storage slot after block `at`.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub fn storage(&self, at: u64, address: Address, slot: U256) -> Result<U256, ViewError> {
        Ok(self.with_state(at, |state, _| state.storage(address, slot))??)
    }

    /// Runs a call on the state after block `at`, in that block's environment.
    ///
    /// # Errors
    /// `Refused` when the call cannot begin; else as [`Self::account`].
    pub fn call(&self, at: u64, request: &CallRequest) -> Result<CallOutcome, ViewError> {
        self.with_state(at, |state, header| call::call(state, &self.rules, header, request))?
    }

    /// Accounts and slots that a call touches, and how it ends when they are declared.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn access_list(&self, at: u64, request: &CallRequest) -> Result<(AccessList, CallOutcome), ViewError> {
        self.with_state(at, |state, header| call::access_list(state, &self.rules, header, request))?
    }

    /// Runs block `number` again and traces its transactions, or the one at `only`.
    ///
    /// # Errors
    /// `Refused` when the tracer is unknown; else as [`Self::account`].
    pub fn trace(
        &self,
        number: u64,
        only: Option<usize>,
        options: &GethDebugTracingOptions,
    ) -> Result<Vec<(B256, GethTrace)>, ViewError> {
        let unknown = || ViewError::Unknown(number, self.snapshot().head().header.number);
        let block = self.block_by_number(number)?.ok_or_else(unknown)?;
        let parent = number.checked_sub(1).ok_or_else(|| ViewError::Refused("genesis is not traceable".into()))?;
        self.with_state(parent, |state, _| trace::block(state, &self.rules, &block, only, options))?
    }

    /// Traces a call as [`Self::call`] runs it.
    ///
    /// # Errors
    /// As [`Self::call`], and when the tracer is unknown.
    pub fn trace_call(&self, at: u64, request: &CallRequest, options: &GethDebugTracingOptions) -> Result<GethTrace, ViewError> {
        self.with_state(at, |state, header| trace::one_call(state, &self.rules, header, request, options))?
    }

    /// An account with slots of it and what proves them against the state root of the head.
    ///
    /// # Errors
    /// `Refused` for another block than the head: only its tries are kept.
    pub fn proof(&self, at: u64, address: Address, slots: &[U256]) -> Result<AccountProof, ViewError> {
        let snapshot = self.snapshot();
        let head = snapshot.head().header.number;
        if at != head {
            return Err(ViewError::Refused(format!("proofs are kept for the head only, which is {head}")));
        }
        let account = snapshot.account(address)?.unwrap_or(EMPTY_ACCOUNT);
        let nodes = proof::prove(|path| snapshot.account_node(path), keccak256(address))?;
        let prove_slot = |slot: &U256| -> Result<_, StateError> {
            let key = keccak256(slot.to_be_bytes::<32>());
            Ok((snapshot.storage(address, *slot)?, proof::prove(|path| snapshot.storage_node(address, path), key)?))
        };
        Ok(AccountProof { account, nodes, slots: slots.iter().map(prove_slot).collect::<Result<_, _>>()? })
    }

    /// Base fee of the block after the head, wei per gas.
    ///
    /// # Errors
    /// None; as the other methods.
    pub fn next_base_fee(&self) -> Result<u64, ViewError> {
        Ok(next_base_fee(&self.snapshot().head().header))
    }

    /// Gas limit of the next block.
    pub fn gas_limit(&self) -> u64 {
        self.rules.gas_limit.unwrap_or_else(|| self.snapshot().head().header.gas_limit)
    }

    fn with_state<T>(&self, at: u64, read: impl FnOnce(&StateAt<'_>, &Header) -> T) -> Result<T, ViewError> {
        let snapshot = self.snapshot();
        let head = &snapshot.head().header;
        if at == head.number {
            return Ok(read(&StateAt::new(&snapshot, at), head));
        }
        let header = snapshot.header(at)?.ok_or(ViewError::Unknown(at, head.number))?;
        Ok(read(&StateAt::new(&snapshot, at), &header))
    }
}
