//! A block that was executed, and why a block cannot be.

use std::sync::Arc;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Block, Header, ReceiptEnvelope, TxEnvelope};
use alloy_primitives::{Address, B256, U256};

use super::burns::Burn;
use super::state::{StateDiff, StateError};
use super::view::BlockView;

/// Everything that committing a block writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutedBlock {
    /// Hash of the header.
    pub hash: B256,
    /// Header and body.
    pub block: Block<TxEnvelope>,
    /// Senders, one per transaction.
    pub senders: Vec<Address>,
    /// Receipts, one per transaction.
    pub receipts: Vec<ReceiptEnvelope>,
    /// What it changes.
    pub diff: StateDiff,
    /// Burns on the bridge contract, in log order.
    pub burns: Vec<Burn>,
    /// Base fees and tips together, wei.
    pub fees: U256,
}

impl ExecutedBlock {
    /// The header.
    pub const fn header(&self) -> &Header {
        &self.block.header
    }

    /// What readers see of it.
    pub fn view(&self) -> Arc<BlockView> {
        let transactions = self.block.body.transactions.iter().cloned().zip(&self.senders);
        Arc::new(BlockView {
            hash: self.hash,
            header: self.block.header.clone(),
            transactions: transactions.map(|(transaction, sender)| Recovered::new_unchecked(transaction, *sender)).collect(),
            receipts: self.receipts.clone(),
            withdrawals: self.block.body.withdrawals.clone().unwrap_or_default().into_inner(),
        })
    }
}

/// Why a block is not valid: for ever, and for everybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The payload is no block.
    #[error("the payload is not a block: {0}")]
    Payload(String),
    /// Header and payload disagree.
    #[error("the block hash is {actual}, the payload says {stated}")]
    Hash {
        /// As computed.
        actual: B256,
        /// As claimed.
        stated: B256,
    },
    /// A header field is not what the parent or the body demands.
    #[error("{field} is {actual}, expected {expected}")]
    Header {
        /// Name of the field.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// A transaction cannot be in a block.
    #[error("transaction {index}: {reason}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Why not.
        reason: String,
    },
    /// A rule outside of transactions failed: system calls, withdrawals.
    #[error("{0}")]
    Rule(String),
    /// It builds on a block that is not the committed head nor above it.
    #[error("its number is {number}, but block {head} is committed already")]
    Final {
        /// Number of the block.
        number: u64,
        /// Number of the head.
        head: u64,
    },
}

/// Why a block was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The block is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// We are: the state cannot be read, or the EVM broke.
    #[error(transparent)]
    State(#[from] StateError),
}
