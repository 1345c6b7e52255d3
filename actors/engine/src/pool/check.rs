//! What a transaction must fulfil to wait here. Messages start with the words that wallets and tools look for.

use alloy_consensus::transaction::TxEnvelope;
use alloy_consensus::{Transaction as _, Typed2718 as _};
use alloy_primitives::U256;
use revm::context_interface::cfg::gas::calculate_initial_tx_gas;
use revm::primitives::eip3860::MAX_INITCODE_SIZE;
use revm::primitives::hardfork::SpecId;

use super::Limits;
use super::entry::{cost, tip_cap};

/// The sender's account at the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Next nonce.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Whether it is a contract: such cannot send (EIP-3607).
    pub has_code: bool,
}

/// What the chain demands of every transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// EVM chain id.
    pub chain_id: u64,
    /// Gas limit of a block.
    pub block_gas_limit: u64,
    /// Fork whose gas rules hold.
    pub fork: SpecId,
}

/// Why a transaction is not in the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not an envelope of a known type.
    #[error("rlp: cannot decode transaction: {0}")]
    Malformed(String),
    /// No key signed it, or its s value is in the upper half.
    #[error("invalid sender: the signature is not valid")]
    BadSignature,
    /// Above 128 KiB.
    #[error("oversized data: transaction size {size}, limit {limit}")]
    TooLarge {
        /// Bytes.
        size: usize,
        /// Most bytes.
        limit: usize,
    },
    /// Blobs are off on this chain, and authorisations come with a later fork.
    #[error("transaction type not supported: type {0}")]
    UnsupportedType(u8),
    /// It could be replayed on other chains.
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    NotReplayProtected,
    /// For another chain.
    #[error("invalid sender: invalid chain id for signer: have {have} want {want}")]
    WrongChain {
        /// In the transaction.
        have: u64,
        /// Ours.
        want: u64,
    },
    /// In the pool.
    #[error("already known")]
    AlreadyKnown,
    /// Used up.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// Of the account.
        next: u64,
        /// Of the transaction.
        nonce: u64,
    },
    /// Farther from the account's than a sender may have transactions waiting, or the last number there is.
    #[error("nonce too high: next nonce {next}, tx nonce {nonce}")]
    NonceTooHigh {
        /// Of the account.
        next: u64,
        /// Of the transaction.
        nonce: u64,
    },
    /// Costs more than the sender has, with its waiting transactions.
    #[error("insufficient funds for gas * price + value: balance {balance}, queued cost {queued}, tx cost {cost}")]
    InsufficientFunds {
        /// Wei.
        balance: U256,
        /// Wei of the sender's other transactions here.
        queued: U256,
        /// Wei.
        cost: U256,
    },
    /// Below what any execution of it needs.
    #[error("intrinsic gas too low: gas {gas}, minimum needed {minimum}")]
    IntrinsicGas {
        /// Of the transaction.
        gas: u64,
        /// Needed.
        minimum: u64,
    },
    /// Fits no block.
    #[error("exceeds block gas limit: gas {gas}, limit {limit}")]
    GasLimit {
        /// Of the transaction.
        gas: u64,
        /// Of a block.
        limit: u64,
    },
    /// Tip cap below the pool's minimum.
    #[error("transaction underpriced: gas tip cap {tip}, minimum needed {minimum}")]
    Underpriced {
        /// Wei per gas.
        tip: u128,
        /// Wei per gas.
        minimum: u128,
    },
    /// Tip cap above fee cap.
    #[error("max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas {tip}, maxFeePerGas {fee}")]
    TipAboveFee {
        /// Wei per gas.
        tip: u128,
        /// Wei per gas.
        fee: u128,
    },
    /// Same nonce without 10 % more of both fees.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// Contract code to deploy is too long.
    #[error("max initcode size exceeded: code size {size}, limit {limit}")]
    InitCode {
        /// Bytes.
        size: usize,
        /// Most bytes.
        limit: usize,
    },
    /// A contract as sender.
    #[error("sender not an eoa")]
    SenderHasCode,
    /// The sender has as many here as it may.
    #[error("account limit exceeded: a sender may have {limit} transactions waiting")]
    SenderFull {
        /// How many.
        limit: usize,
    },
    /// The pool is full of better paying ones.
    #[error("txpool is full")]
    PoolFull,
}

impl Rules {
    /// Everything that needs no look at the other transactions in the pool.
    pub(super) fn check(&self, transaction: &TxEnvelope, account: &Account, limits: &Limits) -> Result<(), Rejection> {
        self.check_form(transaction)?;
        self.check_gas(transaction)?;
        check_fees(transaction, limits)?;
        if account.has_code {
            return Err(Rejection::SenderHasCode);
        }
        check_nonce(transaction.nonce(), account.nonce, limits)?;
        affordable(account.balance, U256::ZERO, cost(transaction))
    }

    fn check_form(&self, transaction: &TxEnvelope) -> Result<(), Rejection> {
        match transaction {
            TxEnvelope::Legacy(_) | TxEnvelope::Eip2930(_) | TxEnvelope::Eip1559(_) => {}
            TxEnvelope::Eip4844(_) | TxEnvelope::Eip7702(_) => return Err(Rejection::UnsupportedType(transaction.ty())),
        }
        let have = transaction.chain_id().ok_or(Rejection::NotReplayProtected)?;
        if have != self.chain_id {
            return Err(Rejection::WrongChain { have, want: self.chain_id });
        }
        let size = transaction.input().len();
        if transaction.is_create() && size > MAX_INITCODE_SIZE {
            return Err(Rejection::InitCode { size, limit: MAX_INITCODE_SIZE });
        }
        Ok(())
    }

    fn check_gas(&self, transaction: &TxEnvelope) -> Result<(), Rejection> {
        let gas = transaction.gas_limit();
        if gas > self.block_gas_limit {
            return Err(Rejection::GasLimit { gas, limit: self.block_gas_limit });
        }
        let minimum = intrinsic_gas(transaction, self.fork);
        if gas < minimum {
            return Err(Rejection::IntrinsicGas { gas, minimum });
        }
        Ok(())
    }
}

/// Gas that is paid before the first instruction runs.
fn intrinsic_gas(transaction: &TxEnvelope, fork: SpecId) -> u64 {
    let (accounts, slots) = transaction.access_list().map_or((0, 0), |list| (list.0.len(), list.storage_keys_count()));
    // Lengths are bounded by MAX_TRANSACTION_BYTES: they fit any integer.
    let wide = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let gas = calculate_initial_tx_gas(fork, transaction.input(), transaction.is_create(), wide(accounts), wide(slots), 0, None);
    gas.initial_regular_gas.saturating_add(gas.initial_state_gas).max(gas.floor_gas)
}

fn check_fees(transaction: &TxEnvelope, limits: &Limits) -> Result<(), Rejection> {
    let (tip, fee) = (tip_cap(transaction), transaction.max_fee_per_gas());
    if tip > fee {
        return Err(Rejection::TipAboveFee { tip, fee });
    }
    if tip < limits.min_tip {
        return Err(Rejection::Underpriced { tip, minimum: limits.min_tip });
    }
    Ok(())
}

fn check_nonce(nonce: u64, next: u64, limits: &Limits) -> Result<(), Rejection> {
    if nonce < next {
        return Err(Rejection::NonceTooLow { next, nonce });
    }
    let farthest = next.saturating_add(u64::try_from(limits.per_sender).unwrap_or(u64::MAX));
    // EIP-2681: the last number is never a nonce.
    if nonce > farthest || nonce == u64::MAX {
        return Err(Rejection::NonceTooHigh { next, nonce });
    }
    Ok(())
}

/// `balance` covers the sender's other transactions and this one.
pub(super) fn affordable(balance: U256, queued: U256, cost: U256) -> Result<(), Rejection> {
    if queued.checked_add(cost).is_none_or(|total| total > balance) {
        return Err(Rejection::InsufficientFunds { balance, queued, cost });
    }
    Ok(())
}
