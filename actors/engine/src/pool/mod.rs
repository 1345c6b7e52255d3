//! Transactions that wait for a block. Pure: no clock, no disk, no runtime; states of accounts come in as arguments.
//!
//! A sender's transactions are kept by nonce. *Pending* are those whose nonces follow the account's without a gap; only
//! they can go into a block. The others are *queued*. Decision table for a transaction that passed [`check`]:
//!
//! | same nonce in the pool    | fees                | room                                | answer                  |
//! |---------------------------|---------------------|-------------------------------------|-------------------------|
//! | no                        | -                   | sender and pool have room           | added                   |
//! | yes, same hash            | -                   | -                                   | `AlreadyKnown`          |
//! | yes                       | both ≥ +10 %        | -                                   | added, old one dropped  |
//! | yes                       | else                | -                                   | `ReplacementUnderpriced`|
//! | no                        | -                   | sender has `Limits::per_sender`     | `SenderFull`            |
//! | no                        | worst of a full pool| none                                | `PoolFull`              |
//! | no                        | better than another | none                                | added, worst one evicted|

mod best;
mod check;
mod decode;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_consensus::Transaction as _;
use alloy_consensus::transaction::{Recovered, TxEnvelope};
use alloy_primitives::{Address, B256, U256};

pub use best::Best;
pub use check::{Account, Rejection, Rules};
pub use decode::{MAX_TRANSACTION_BYTES, decode};
pub use entry::Pooled;

use entry::Sender;

/// A replacement pays at least this much more, in percent, of both fees.
pub const REPLACEMENT_PERCENT: u128 = 10;

/// Bounds of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most transactions in all. 8,192 transfers of ~110 bytes are five full blocks of 30 million gas.
    pub total: usize,
    /// Most bytes in all: 64 MiB are 512 of the largest transactions.
    pub total_bytes: usize,
    /// Most transactions of one sender, pending and queued; also the farthest nonce after the account's.
    pub per_sender: usize,
    /// Smallest tip in wei per gas.
    pub min_tip: u128,
    /// Blocks after which a transaction that got into none is dropped: six hours at 2 s.
    pub max_age_blocks: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 8_192, total_bytes: 64 << 20, per_sender: 256, min_tip: 1, max_age_blocks: 10_800 }
    }
}

/// The transaction is in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its hash.
    pub hash: B256,
    /// The one with the same nonce that it replaced.
    pub replaced: Option<B256>,
    /// Whether it can go into the next block, else it waits for a smaller nonce.
    pub pending: bool,
}

/// What fell out of the pool other than by a block, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// By a better paying one while the pool was full.
    pub evicted: u64,
    /// By one with the same nonce and higher fees.
    pub replaced: u64,
    /// Too old.
    pub expired: u64,
    /// The sender's balance no longer covers it.
    pub unfunded: u64,
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    rules: Rules,
    limits: Limits,
    height: u64,
    arrivals: u64,
    bytes: usize,
    senders: BTreeMap<Address, Sender>,
    by_hash: HashMap<B256, (Address, u64)>,
    dropped: Dropped,
}

/// A pool that JSON-RPC and the actor share. Held for microseconds, never across an await.
#[derive(Clone, Debug)]
pub struct SharedPool(Arc<Mutex<Pool>>);

impl SharedPool {
    /// Shares `pool`.
    pub fn new(pool: Pool) -> Self {
        Self(Arc::new(Mutex::new(pool)))
    }

    /// Locks it. Whoever adds a transaction reads the sender's account *under* this lock, so that no commit comes between.
    pub fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(rules: Rules, limits: Limits) -> Self {
        Self {
            rules,
            limits,
            height: 0,
            arrivals: 0,
            bytes: 0,
            senders: BTreeMap::new(),
            by_hash: HashMap::new(),
            dropped: Dropped::default(),
        }
    }

    /// Checks a transaction against the rules and `account`, its sender's state at the head, and keeps it.
    pub fn add(&mut self, transaction: Recovered<TxEnvelope>, account: Account) -> Result<Added, Rejection> {
        let hash = *transaction.tx_hash();
        if self.by_hash.contains_key(&hash) {
            return Err(Rejection::AlreadyKnown);
        }
        let (address, nonce) = (transaction.signer(), transaction.nonce());
        self.rules.check(&transaction, &account, &self.limits)?;
        let entry = Arc::new(Pooled::new(transaction, self.arrivals, self.height));
        let replaced = self.make_way(&entry, &account)?;
        self.arrivals = self.arrivals.saturating_add(1);
        self.settle(address, account);
        self.insert(entry, account.nonce);
        self.shrink();
        if !self.by_hash.contains_key(&hash) {
            return Err(Rejection::PoolFull);
        }
        let pending = self.senders.get(&address).is_some_and(|sender| sender.is_pending(nonce));
        Ok(Added { hash, replaced, pending })
    }

    /// The head moved to `height`; `changed` are accounts with their states there. Accounts without transactions here
    /// are ignored. Included transactions leave by their nonce, unaffordable and too old ones are dropped.
    pub fn update(&mut self, height: u64, changed: impl IntoIterator<Item = (Address, Account)>) {
        self.height = height;
        for (address, account) in changed {
            self.settle(address, account);
        }
        let oldest = height.saturating_sub(self.limits.max_age_blocks);
        let expired: Vec<B256> = self.iter().filter(|entry| entry.since < oldest).map(|entry| entry.hash()).collect();
        for hash in expired {
            if self.remove(hash).is_some() {
                self.dropped.expired = self.dropped.expired.saturating_add(1);
            }
        }
    }

    /// Takes out a transaction, for instance one that the executor refused.
    pub fn remove(&mut self, hash: B256) -> Option<Arc<Pooled>> {
        let (address, nonce) = self.by_hash.remove(&hash)?;
        let sender = self.senders.get_mut(&address)?;
        let entry = sender.transactions.remove(&nonce)?;
        self.bytes = self.bytes.saturating_sub(entry.size());
        if sender.transactions.is_empty() {
            self.senders.remove(&address);
        }
        Some(entry)
    }

    /// Pending transactions for a block with this base fee: highest effective tip first, nonces of a sender in order,
    /// earlier arrival first when tips are equal. A snapshot: the pool may change meanwhile.
    pub fn best(&self, base_fee: u64) -> Best {
        Best::new(self.senders.values().map(Sender::pending), base_fee)
    }

    /// The transaction with this hash.
    pub fn get(&self, hash: B256) -> Option<Arc<Pooled>> {
        let (address, nonce) = self.by_hash.get(&hash)?;
        self.senders.get(address)?.transactions.get(nonce).cloned()
    }

    /// The nonce after the last pending transaction of `address`; `None` when it has none here.
    pub fn next_nonce(&self, address: Address) -> Option<u64> {
        self.senders.get(&address).map(Sender::next_nonce)
    }

    /// Numbers of (pending, queued) transactions.
    pub fn status(&self) -> (usize, usize) {
        let pending: usize = self.senders.values().map(|sender| sender.pending().count()).sum();
        (pending, self.by_hash.len().saturating_sub(pending))
    }

    /// Whether this address has transactions here.
    pub fn has_sender(&self, address: Address) -> bool {
        self.senders.contains_key(&address)
    }

    /// How many arrived so far.
    pub const fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Hashes of those still here that arrived when [`Self::arrivals`] was at least `arrival`, in that order.
    pub fn arrived_since(&self, arrival: u64) -> Vec<B256> {
        let mut found: Vec<_> = self.iter().filter(|entry| entry.arrival >= arrival).collect();
        found.sort_by_key(|entry| entry.arrival);
        found.into_iter().map(|entry| entry.hash()).collect()
    }

    /// What fell out so far.
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// All transactions with whether each is pending, by sender and nonce.
    pub fn entries(&self) -> impl Iterator<Item = (&Arc<Pooled>, bool)> {
        self.senders
            .values()
            .flat_map(|sender| sender.transactions.iter().map(|(nonce, entry)| (entry, sender.is_pending(*nonce))))
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Pooled>> {
        self.senders.values().flat_map(|sender| sender.transactions.values())
    }

    /// Applies the replacement rule and the sender's bounds; afterwards the place of the nonce is free.
    fn make_way(&mut self, entry: &Pooled, account: &Account) -> Result<Option<B256>, Rejection> {
        let Some(sender) = self.senders.get(&entry.sender()) else { return Ok(None) };
        let old = sender.transactions.get(&entry.nonce());
        if let Some(old) = old
            && !entry.outbids(old)
        {
            return Err(Rejection::ReplacementUnderpriced);
        }
        if old.is_none() && sender.transactions.len() >= self.limits.per_sender {
            return Err(Rejection::SenderFull { limit: self.limits.per_sender });
        }
        let freed = old.map_or(U256::ZERO, |old| old.cost());
        let queued = sender.cost_from(account.nonce).saturating_sub(freed);
        check::affordable(account.balance, queued, entry.cost())?;
        let replaced = old.map(|old| old.hash());
        if let Some(hash) = replaced {
            self.remove(hash);
            self.dropped.replaced = self.dropped.replaced.saturating_add(1);
        }
        Ok(replaced)
    }

    fn insert(&mut self, entry: Arc<Pooled>, account_nonce: u64) {
        self.bytes = self.bytes.saturating_add(entry.size());
        self.by_hash.insert(entry.hash(), (entry.sender(), entry.nonce()));
        let sender = self.senders.entry(entry.sender()).or_default();
        sender.nonce = account_nonce;
        sender.transactions.insert(entry.nonce(), entry);
    }

    /// Brings a sender to the state of its account: nonces below it leave, then the last ones until the balance covers
    /// all.
    fn settle(&mut self, address: Address, account: Account) {
        let Some(sender) = self.senders.get_mut(&address) else {
            return;
        };
        sender.nonce = account.nonce;
        let mined: Vec<B256> = sender.transactions.range(..account.nonce).map(|(_, entry)| entry.hash()).collect();
        let unfunded = sender.unfunded(account.balance);
        self.dropped.unfunded = self.dropped.unfunded.saturating_add(count(unfunded.len()));
        for hash in mined.into_iter().chain(unfunded) {
            self.remove(hash);
        }
    }

    /// Evicts the worst last transactions until the pool is within its bounds.
    fn shrink(&mut self) {
        while self.by_hash.len() > self.limits.total || self.bytes > self.limits.total_bytes {
            let Some(worst) = self.senders.values().filter_map(Sender::last).min_by_key(|last| last.rank()) else {
                return;
            };
            let hash = worst.hash();
            self.remove(hash);
            self.dropped.evicted = self.dropped.evicted.saturating_add(1);
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
