//! What a start finds: head, ledger and log from storage, the engine brought up to the head.
//!
//! | storage | engine | then |
//! |---|---|---|
//! | away | | wait |
//! | head n | away | wait |
//! | head n | head n, same block | start |
//! | head n | head < n | replay from storage |
//! | head n, pruned below m | head < m - 1 | stop: nothing here makes the engine anew |
//! | head n | head > n, or another block | stop: the two do not belong together |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use alys_blocks::{Block, Certificate};
use alys_cluster::{ActorError, Remote};
use alys_peg::Ledger;
use alys_proto::{Ask, Height, Refused, common, storage};
use malachite_ed25519::PrivateKey;

use super::engine::EngineDoor;
use crate::core::rules::{ChainRules, Head, payload_hash};
use crate::core::{Boot, EngineFailure};

/// Blocks per question to storage.
const BLOCKS_PER_READ: u32 = 256;

/// A committed block and what it states about the peg.
pub(crate) type LastBlock = (common::CommittedBlock, Vec<storage::LedgerFact>);

/// Reads everything; waits as long as storage or engine are away.
pub(crate) struct Loader<'a> {
    pub(crate) rules: &'a Arc<ChainRules>,
    pub(crate) storage: &'a Remote<storage::Inbox>,
    pub(crate) engine: &'a EngineDoor,
    pub(crate) retry: Duration,
    pub(crate) deadline: Duration,
}

impl Loader<'_> {
    /// What the core starts from, and the last block with its facts.
    pub(crate) async fn load(&self, key: Option<PrivateKey>) -> Result<(Boot, Option<LastBlock>), ActorError> {
        let stored: storage::Head = self.ask(storage::GetHead {}).await;
        let (head, last) = if stored.height == 0 {
            (None, None)
        } else {
            self.stored_head(&stored).await.map(|(head, last)| (Some(head), Some(last)))?
        };
        let head = self.with_engine(head).await?;
        let facts = self.facts(&head).await?;
        let ledger = Ledger::replay(&self.rules.spec, Height(head.height), &facts)
            .map_err(|cause| ActorError::Broken(format!("the stored ledger: {cause}")))?;
        let last = last.map(|block| (block, facts.into_iter().filter(|fact| fact.height == head.height).collect()));
        let unsettled = self.unsettled(&ledger).await?;
        let condition: storage::Condition = self.ask(storage::GetCondition {}).await;
        let votes_lost = condition.votes_lost;
        if votes_lost && key.is_some() {
            tracing::warn!("the database was restored from a backup: no vote until a block from after this start is committed");
        }
        let log = match key {
            Some(_) => self.log(head.height.saturating_add(1)).await,
            None => Vec::new(),
        };
        tracing::info!(height = head.height, hash = %head.hash, logged = log.len(), "chain state loaded");
        Ok((Boot { rules: self.rules.clone(), head, ledger, key, unsettled, log, votes_lost }, last))
    }

    async fn stored_head(&self, stored: &storage::Head) -> Result<(Head, common::CommittedBlock), ActorError> {
        let read: storage::Blocks = self.ask(storage::GetBlocks { from_height: stored.height, limit: 1 }).await;
        let broken = |what: String| ActorError::Broken(format!("stored block {}: {what}", stored.height));
        let last = read.blocks.into_iter().next().ok_or_else(|| broken("missing, although it is the head".into()))?;
        let block = Block::decode(&last.block).map_err(|cause| broken(cause.to_string()))?;
        let certificate = Certificate::decode(&last.certificate).map_err(|cause| broken(cause.to_string()))?;
        let hash = self.rules.domain.block_hash(&block.header);
        if hash.as_slice() != stored.hash || certificate.block != hash {
            return Err(ActorError::Configuration(
                "the database holds another chain than the chain specification describes; use the specification it was made with, or another data folder".into(),
            ));
        }
        let head = Head {
            height: block.header.height,
            hash,
            slot: block.header.slot,
            time: block.header.time,
            el_hash: payload_hash(&block).map_err(|cause| broken(cause.to_string()))?,
            view: block.header.bitcoin_view,
            certificate,
        };
        Ok((head, last))
    }

    /// Brings the engine up to the head; on an empty chain the engine says what its genesis block is.
    async fn with_engine(&self, head: Option<Head>) -> Result<Head, ActorError> {
        loop {
            let attempt = async {
                self.engine.catch_up().await?;
                self.engine.head().await.map_err(|refused| EngineFailure(refused.to_string()))
            };
            let executed = match attempt.await {
                Ok(executed) => executed,
                Err(EngineFailure(reason)) => {
                    self.engine.ensure_can_catch_up().await?;
                    tracing::warn!(%reason, "waiting for the engine");
                    tokio::time::sleep(self.retry).await;
                    continue;
                }
            };
            let el_hash = B256::try_from(executed.block_hash.as_slice())
                .map_err(|_| ActorError::Broken("the engine answered with a malformed hash".into()))?;
            let expected = head.as_ref().map_or(0, |head| head.height);
            let same_block = head.as_ref().is_none_or(|head| head.el_hash == el_hash);
            if executed.number != expected || !same_block {
                return Err(ActorError::Configuration(format!(
                    "the engine's head {} ({el_hash}) is not the chain's head {expected}; remove the engine's data folder so that it is rebuilt from storage",
                    executed.number
                )));
            }
            return Ok(head.unwrap_or_else(|| self.rules.genesis(el_hash)));
        }
    }

    async fn facts(&self, head: &Head) -> Result<Vec<storage::LedgerFact>, ActorError> {
        let mut facts = Vec::new();
        let mut from_height = 0;
        let height = loop {
            let page: storage::Ledger = self.ask(storage::GetLedger { paged: true, from_height }).await;
            facts.extend(page.facts);
            if page.next_height == 0 {
                break page.height;
            }
            from_height = page.next_height;
        };
        if height != head.height {
            return Err(ActorError::Broken(format!("the stored ledger is of height {height}, the head is {}", head.height)));
        }
        Ok(facts)
    }

    /// Hashes of the blocks that wait for work: a bundle names them.
    async fn unsettled(&self, ledger: &Ledger) -> Result<BTreeMap<u64, B256>, ActorError> {
        let mut hashes = BTreeMap::new();
        let Some(work) = &self.rules.work else { return Ok(hashes) };
        let (mut next, head) = (work.settled(ledger).end.height.saturating_add(1), ledger.height().0);
        while next <= head {
            let read: storage::Blocks = self.ask(storage::GetBlocks { from_height: next, limit: BLOCKS_PER_READ }).await;
            if read.blocks.is_empty() {
                return Err(ActorError::Broken(format!("stored block {next} is missing below the head {head}")));
            }
            for block in read.blocks {
                let hash = B256::try_from(block.hash.as_slice())
                    .map_err(|_| ActorError::Broken(format!("stored block {}: malformed hash", block.height)))?;
                next = block.height.saturating_add(1);
                hashes.insert(block.height, hash);
            }
        }
        Ok(hashes)
    }

    async fn log(&self, height: u64) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        let mut from_entry = 0;
        loop {
            let page: storage::Wal = self.ask(storage::GetWal { height, paged: true, from_entry }).await;
            entries.extend(page.entries);
            if page.next_entry == 0 {
                return entries;
            }
            from_entry = page.next_entry;
        }
    }

    /// Storage is asked until it answers.
    async fn ask<M: Ask<storage::Inbox> + Clone>(&self, message: M) -> M::Reply {
        loop {
            match self.storage.ask_within(self.deadline, message.clone()).await {
                Ok(reply) => return reply,
                Err(refused) => self.wait(M::NAME, &refused).await,
            }
        }
    }

    async fn wait(&self, question: &str, refused: &Refused) {
        tracing::warn!(question, %refused, "waiting for storage");
        tokio::time::sleep(self.retry).await;
    }
}
