//! One transaction in the pool, and all of one sender.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_consensus::transaction::{Recovered, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, U256};

use super::REPLACEMENT_PERCENT;

/// A transaction that passed the checks.
#[derive(Debug)]
pub struct Pooled {
    transaction: Recovered<TxEnvelope>,
    size: usize,
    cost: U256,
    pub(super) arrival: u64,
    pub(super) since: u64,
}

impl Pooled {
    pub(super) fn new(transaction: Recovered<TxEnvelope>, arrival: u64, since: u64) -> Self {
        let size = transaction.encode_2718_len();
        let cost = cost(&transaction);
        Self { transaction, size, cost, arrival, since }
    }

    /// The signed transaction with its sender.
    pub const fn transaction(&self) -> &Recovered<TxEnvelope> {
        &self.transaction
    }

    /// Its hash.
    pub fn hash(&self) -> B256 {
        *self.transaction.tx_hash()
    }

    /// Who signed it.
    pub fn sender(&self) -> Address {
        self.transaction.signer()
    }

    /// Its nonce.
    pub fn nonce(&self) -> u64 {
        self.transaction.nonce()
    }

    /// Bytes of the EIP-2718 envelope.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The most it can take from its sender, in wei: gas limit × fee cap + value.
    pub const fn cost(&self) -> U256 {
        self.cost
    }

    /// Wei per gas for the block's author at this base fee; `None` when the fee cap is below the base fee.
    pub fn tip(&self, base_fee: u64) -> Option<u128> {
        self.transaction.effective_tip_per_gas(base_fee)
    }

    /// The replacement rule: both fees at least [`REPLACEMENT_PERCENT`] above those of `old`.
    pub(super) fn outbids(&self, old: &Self) -> bool {
        let raised = |new: u128, before: u128| new >= raise(before);
        raised(self.transaction.max_fee_per_gas(), old.transaction.max_fee_per_gas())
            && raised(tip_cap(&self.transaction), tip_cap(&old.transaction))
    }
}

/// The smallest fee that replaces `fee`: 10 % more, rounded up, and at least 1 wei more.
fn raise(fee: u128) -> u128 {
    let step = fee.div_ceil(100 / REPLACEMENT_PERCENT).max(1);
    fee.saturating_add(step)
}

/// The most the author can get per gas.
pub(super) fn tip_cap(transaction: &TxEnvelope) -> u128 {
    transaction.max_priority_fee_per_gas().unwrap_or_else(|| transaction.max_fee_per_gas())
}

/// Gas limit × fee cap + value; saturates where no balance could cover it.
pub(super) fn cost(transaction: &TxEnvelope) -> U256 {
    let gas = U256::from(transaction.gas_limit());
    // 2^64 × 2^128 fits 256 bits; only adding the value can leave them.
    gas.saturating_mul(U256::from(transaction.max_fee_per_gas())).saturating_add(transaction.value())
}

/// All transactions of one sender. Never empty while it is in the pool.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// Nonce of the account at the head.
    pub(super) nonce: u64,
    /// By nonce, none below `nonce`.
    pub(super) transactions: BTreeMap<u64, Arc<Pooled>>,
}

/// The last transaction of a sender, as a candidate for eviction.
pub(super) struct Last<'a> {
    entry: &'a Pooled,
    pending: bool,
}

impl Last<'_> {
    pub(super) fn hash(&self) -> B256 {
        self.entry.hash()
    }

    /// Smallest is evicted first: queued before pending, then by what it can pay, the newest first.
    pub(super) fn rank(&self) -> (bool, u128, Reverse<u64>) {
        (self.pending, tip_cap(&self.entry.transaction), Reverse(self.entry.arrival))
    }
}

impl Sender {
    /// Those that follow the account's nonce without a gap.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Arc<Pooled>> {
        let expected = std::iter::successors(Some(self.nonce), |nonce| nonce.checked_add(1));
        expected.zip(&self.transactions).take_while(|(nonce, (found, _))| nonce == *found).map(|(_, (_, entry))| entry)
    }

    pub(super) fn is_pending(&self, nonce: u64) -> bool {
        self.transactions.contains_key(&nonce) && nonce < self.next_nonce()
    }

    /// First nonce that is not pending.
    pub(super) fn next_nonce(&self) -> u64 {
        self.pending().last().map_or(self.nonce, |last| last.nonce().saturating_add(1))
    }

    /// Costs of all transactions from `nonce` on.
    pub(super) fn cost_from(&self, nonce: u64) -> U256 {
        self.transactions.range(nonce..).fold(U256::ZERO, |sum, (_, entry)| sum.saturating_add(entry.cost()))
    }

    /// Those at the end that `balance` does not cover after all before them.
    pub(super) fn unfunded(&self, balance: U256) -> Vec<B256> {
        // Prefix sums, so that a saturated total cannot hide that a prefix is affordable.
        let mut total = U256::ZERO;
        let mut out = Vec::new();
        for (_, entry) in self.transactions.range(self.nonce..) {
            total = total.saturating_add(entry.cost());
            if total > balance {
                out.push(entry.hash());
            }
        }
        out
    }

    pub(super) fn last(&self) -> Option<Last<'_>> {
        let (nonce, entry) = self.transactions.last_key_value()?;
        Some(Last { entry, pending: self.is_pending(*nonce) })
    }
}
