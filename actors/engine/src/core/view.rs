//! What readers (JSON-RPC, the pool, tests) see of the chain. [`crate::StateReader`] answers with these.

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Header, ReceiptEnvelope, TxEnvelope};
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};

use super::state::{AccountRecord, StateError};

/// One committed block with everything that can be asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// Hash of the header.
    pub hash: B256,
    /// The header.
    pub header: Header,
    /// Transactions with their senders, in block order.
    pub transactions: Vec<Recovered<TxEnvelope>>,
    /// Receipts, one per transaction, with blooms.
    pub receipts: Vec<ReceiptEnvelope>,
    /// Mints of the bridge.
    pub withdrawals: Vec<Withdrawal>,
}

/// An account at some block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Transactions sent (contracts: contracts created, from 1).
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Keccak of the code; of nothing for an account without code.
    pub code_hash: B256,
}

/// An account and slots of it with the nodes that prove them, root first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account; empty when there is none.
    pub account: AccountRecord,
    /// Of the account trie.
    pub nodes: Vec<Bytes>,
    /// Value and nodes of the account's storage trie, per slot asked for.
    pub slots: Vec<(U256, Vec<Bytes>)>,
}

/// A call that is not a transaction: no signature, no nonce check, and no fee check when `gas_price` is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// Who calls; the zero address when nobody says.
    pub caller: Address,
    /// Callee, or creation.
    pub to: TxKind,
    /// Call data, or init code.
    pub input: Bytes,
    /// Wei sent along; the caller must have them.
    pub value: U256,
    /// Gas to spend at most. Cut to [`crate::core::call::MAX_CALL_GAS`].
    pub gas: u64,
    /// Wei per gas. With 0 the base fee is not checked, else it is and the caller must be able to pay.
    pub gas_price: u128,
    /// Slots declared beforehand.
    pub access_list: AccessList,
    /// What the state is pretended to be.
    pub overrides: Vec<AccountOverride>,
}

impl Default for CallRequest {
    fn default() -> Self {
        Self {
            caller: Address::ZERO,
            to: TxKind::Call(Address::ZERO),
            input: Bytes::new(),
            value: U256::ZERO,
            gas: super::call::MAX_CALL_GAS,
            gas_price: 0,
            access_list: AccessList::default(),
            overrides: Vec::new(),
        }
    }
}

/// Pretended state of one account for one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOverride {
    /// Which account.
    pub address: Address,
    /// Wei.
    pub balance: Option<U256>,
    /// Nonce.
    pub nonce: Option<u64>,
    /// Code.
    pub code: Option<Bytes>,
    /// The whole storage: slots not named are 0.
    pub state: Option<Vec<(U256, U256)>>,
    /// Single slots; the others stay. Ignored when `state` is given.
    pub state_diff: Vec<(U256, U256)>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It returned.
    Success {
        /// Returned bytes; the code of a creation.
        output: Bytes,
        /// Gas that a transaction would pay for, refund deducted.
        gas_used: u64,
        /// Gas given back at the end: needed during the call although not paid.
        gas_refunded: u64,
    },
    /// It reverted.
    Revert {
        /// Revert data.
        output: Bytes,
        /// Gas that a transaction would pay for.
        gas_used: u64,
    },
    /// It stopped on a fault: out of gas, bad opcode …
    Halt {
        /// The fault, for people.
        reason: String,
        /// Gas that a transaction would pay for.
        gas_used: u64,
    },
}

/// Why a reader cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The block is above the head.
    #[error("block {0} is not known: the head is {1}")]
    Unknown(u64, u64),
    /// The call cannot even begin (balance, nonce, gas).
    #[error("{0}")]
    Refused(String),
    /// The state cannot be read.
    #[error("state cannot be read: {0}")]
    State(#[from] StateError),
}
