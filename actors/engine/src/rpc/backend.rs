//! What methods work on, and the bound on how many work at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::Address;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::StateReader;
use crate::core::view::{AccountView, BlockView};
use crate::pool::{Account, SharedPool};

use super::failure::{Answer, Failure};
use super::sent::Sent;

/// Quick calls that run at the same time, each on a blocking thread: a few reads from the disk.
pub(super) const QUICK_AT_ONCE: usize = 8;
/// Slow calls that run at the same time: EVM runs and scans. More only take the processors from consensus.
pub(super) const SLOW_AT_ONCE: usize = 4;
/// Calls that wait in each lane; the next is refused. A few seconds of the slowest calls.
pub(super) const WAITING: usize = 512;

/// What JSON-RPC reads and where it puts transactions.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Committed blocks and states.
    pub reader: StateReader,
    /// The pool, shared with the actor.
    pub pool: SharedPool,
    /// Where transactions go that the pool took.
    pub sent: Sent,
}

/// Which calls wait for each other, so that slow ones never hold up quick ones.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lane {
    Quick,
    Slow,
}

/// The handle with its bounds.
#[derive(Debug)]
pub(super) struct Backend {
    handle: Handle,
    quick: Gate,
    slow: Gate,
}

/// The bound of one lane.
#[derive(Debug)]
struct Gate {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Gate {
    fn new(at_once: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(at_once)), waiting: AtomicUsize::new(0) }
    }

    async fn enter(&self) -> Answer<OwnedSemaphorePermit> {
        let _place = Place::take(&self.waiting)?;
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Failure::Internal)
    }
}

impl Backend {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, quick: Gate::new(QUICK_AT_ONCE), slow: Gate::new(SLOW_AT_ONCE) }
    }

    /// For looks that cost nothing.
    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `work` on a blocking thread, after those before it in its lane.
    pub(super) async fn run<T, F>(&self, lane: Lane, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Handle) -> Answer<T> + Send + 'static,
    {
        let gate = match lane {
            Lane::Quick => &self.quick,
            Lane::Slow => &self.slow,
        };
        let permit = gate.enter().await?;
        let handle = self.handle.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&handle)
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "a json-rpc method ended without an answer");
            Failure::Internal
        })?
    }
}

/// One waiting call; counted until dropped, also when the caller goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Answer<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        if before >= WAITING { Err(Failure::Busy(before)) } else { Ok(place) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handle {
    /// Number of the head.
    pub(super) fn head_number(&self) -> Answer<u64> {
        Ok(self.reader.head()?.header.number)
    }

    /// Number that a tag stands for. There is nothing after the head that could be shown, so pending is the head.
    pub(super) fn number_of_tag(&self, tag: BlockNumberOrTag) -> Answer<u64> {
        match tag {
            BlockNumberOrTag::Number(number) => Ok(number),
            BlockNumberOrTag::Earliest => Ok(0),
            BlockNumberOrTag::Latest | BlockNumberOrTag::Safe | BlockNumberOrTag::Finalized | BlockNumberOrTag::Pending => {
                self.head_number()
            }
        }
    }

    /// Number of an existing block; the head when nothing is said.
    pub(super) fn number_of(&self, id: Option<BlockId>) -> Answer<u64> {
        let number = match id.unwrap_or_default() {
            BlockId::Number(tag) => self.number_of_tag(tag)?,
            BlockId::Hash(hash) => {
                let block = self.reader.block_by_hash(hash.block_hash)?;
                return block.map(|block| block.header.number).ok_or(Failure::NoBlock);
            }
        };
        if number > self.head_number()? { Err(Failure::NoBlock) } else { Ok(number) }
    }

    /// A block, or `None` when there is none by this name.
    pub(super) fn block(&self, id: BlockId) -> Answer<Option<Arc<BlockView>>> {
        match id {
            BlockId::Hash(hash) => Ok(self.reader.block_by_hash(hash.block_hash)?),
            BlockId::Number(tag) => Ok(self.reader.block_by_number(self.number_of_tag(tag)?)?),
        }
    }

    /// An account at the head, as the pool wants it.
    pub(super) fn sender(&self, address: Address) -> Answer<Account> {
        let account = self.reader.account(self.head_number()?, address)?;
        Ok(account.map_or_else(Account::default, |AccountView { nonce, balance, code_hash }| Account {
            nonce,
            balance,
            has_code: code_hash != alloy_primitives::KECCAK256_EMPTY,
        }))
    }
}
