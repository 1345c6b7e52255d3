//! The engine, as chain needs it: build, execute, commit, and catch up from storage when it has lost its memory.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use alys_blocks::{Block, FEE_SINK};
use alys_cluster::{ActorError, Remote};
use alys_peg::Withdrawal;
use alys_proto::engine::execution_result::Status;
use alys_proto::{Refused, common, engine, storage};

use crate::core::{EngineFailure, Execution, Template, TemplateRequest};

/// A handler may wait so long for another task that replays blocks.
const LONGEST_REPLAY: Duration = Duration::from_secs(600);

/// Blocks per question to storage while catching up.
const BLOCKS_PER_READ: u32 = 64;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct EngineDoor {
    engine: Remote<engine::Inbox>,
    storage: Remote<storage::Inbox>,
    deadline: Duration,
    /// One catch-up at a time.
    catching_up: Arc<tokio::sync::Mutex<()>>,
}

impl EngineDoor {
    pub(crate) fn new(engine: Remote<engine::Inbox>, storage: Remote<storage::Inbox>, deadline: Duration) -> Self {
        Self { engine, storage, deadline, catching_up: Arc::default() }
    }

    pub(crate) async fn head(&self) -> Result<engine::ExecutionHead, Refused> {
        self.engine.ask(engine::GetExecutionHead {}).await
    }

    /// Builds. When the engine cannot, it may have lost the parent: it is brought up to storage's head for the next try.
    pub(crate) async fn build(&self, wanted: TemplateRequest) -> Result<Template, EngineFailure> {
        let causes = wanted.causes.iter().map(|cause| cause.key().to_vec()).chain(std::iter::repeat(Vec::new()));
        let mint = |(credit, cause): (&Withdrawal, Vec<u8>)| engine::MintTokensRequest {
            index: credit.index,
            recipient: credit.recipient.to_vec(),
            amount_gwei: credit.gwei,
            cause,
        };
        let mints = wanted.withdrawals.iter().zip(causes).map(mint).collect();
        let request = engine::BuildBlockRequest {
            parent_hash: wanted.parent_el_hash.to_vec(),
            timestamp: wanted.timestamp,
            prev_randao: wanted.parent_hash.to_vec(),
            parent_beacon_block_root: wanted.parent_hash.to_vec(),
            fee_recipient: FEE_SINK.to_vec(),
            mints,
            time_budget_millis: wanted.time_budget_millis,
        };
        match self.engine.ask_within(self.deadline, request).await {
            Ok(template) => Ok(Template { payload: template.payload, burns: template.burns }),
            Err(refused) => {
                if !refused.is_passing() {
                    self.catch_up().await?;
                }
                Err(EngineFailure(refused.to_string()))
            }
        }
    }

    /// Executes; an engine that does not know the parent is caught up first.
    pub(crate) async fn execute(&self, payload: Vec<u8>, parent_beacon_block_root: B256) -> Result<Execution, EngineFailure> {
        if let Some(execution) = self.execute_once(payload.clone(), parent_beacon_block_root).await? {
            return Ok(execution);
        }
        self.catch_up().await?;
        let again = self.execute_once(payload, parent_beacon_block_root).await?;
        again.ok_or_else(|| EngineFailure("the engine does not know the parent".into()))
    }

    /// `None`: the parent is not known there.
    async fn execute_once(&self, payload: Vec<u8>, root: B256) -> Result<Option<Execution>, EngineFailure> {
        let request = engine::ExecuteBlock { payload, parent_beacon_block_root: root.to_vec() };
        let result = self.engine.ask_within(self.deadline, request).await.map_err(failure)?;
        match result.status() {
            Status::Valid => {
                let el_hash = B256::try_from(result.block_hash.as_slice())
                    .map_err(|_| EngineFailure("the engine answered with a malformed hash".into()))?;
                Ok(Some(Execution::Valid { el_hash, burns: result.burns }))
            }
            Status::Invalid => Ok(Some(Execution::Invalid(result.reason))),
            Status::Syncing => Ok(None),
            Status::Unspecified => Err(EngineFailure("the engine answered without a status".into())),
        }
    }

    /// Makes an executed block head. Storage has it already, so an engine that forgot it gets it from there.
    pub(crate) async fn commit(&self, height: u64, el_hash: B256) -> Result<(), EngineFailure> {
        let request = engine::CommitExecution { block_hash: el_hash.to_vec() };
        match self.engine.ask_within(self.deadline, request).await {
            Ok(head) if head.number >= height => Ok(()),
            Ok(head) => Err(EngineFailure(format!("the engine's head is {} after committing {height}", head.number))),
            Err(refused) if refused.is_passing() => Err(failure(refused)),
            Err(_forgotten) => self.catch_up().await,
        }
    }

    /// Executes and commits the blocks of storage that the engine lacks.
    pub(crate) async fn catch_up(&self) -> Result<(), EngineFailure> {
        // Another task may be replaying thousands of blocks; each of them is a question with a deadline of its own.
        let waiting = alys_cluster::waiting_for("engine to catch up", LONGEST_REPLAY);
        let _one_at_a_time = self.catching_up.lock().await;
        drop(waiting);
        loop {
            let head = self.head().await.map_err(failure)?;
            let stored = self.storage.ask(storage::GetHead {}).await.map_err(failure)?;
            if head.number >= stored.height {
                return Ok(());
            }
            let request = storage::GetBlocks { from_height: head.number.saturating_add(1), limit: BLOCKS_PER_READ };
            let read = self.storage.ask_within(self.deadline, request).await.map_err(failure)?;
            if read.blocks.is_empty() {
                return Err(EngineFailure(format!("storage has no block {}", head.number.saturating_add(1))));
            }
            tracing::info!(from = head.number, to = stored.height, "bringing the engine up to the head");
            for block in &read.blocks {
                self.replay(block).await?;
            }
        }
    }

    /// After a failure: no retry helps an engine that lacks blocks which storage has pruned.
    pub(crate) async fn ensure_can_catch_up(&self) -> Result<(), ActorError> {
        let Ok(engine) = self.head().await else { return Ok(()) };
        let Ok(stored) = self.storage.ask(storage::GetHead {}).await else { return Ok(()) };
        let Ok(condition) = self.storage.ask(storage::GetCondition {}).await else { return Ok(()) };
        let next = engine.number.saturating_add(1);
        if next > stored.height || next >= condition.pruned_below {
            return Ok(());
        }
        Err(ActorError::Configuration(format!(
            "the engine's data end at block {} and cannot be made anew: this node keeps blocks from {} on only; put the engine's \
             folder back, or empty the folders of storage and engine so that the node syncs again from others (docs/database.md)",
            engine.number, condition.pruned_below
        )))
    }

    async fn replay(&self, stored: &common::CommittedBlock) -> Result<(), EngineFailure> {
        let block =
            Block::decode(&stored.block).map_err(|cause| EngineFailure(format!("stored block {}: {cause}", stored.height)))?;
        match self.execute_once(block.body.payload.to_vec(), block.header.parent).await? {
            Some(Execution::Valid { el_hash, .. }) => {
                let request = engine::CommitExecution { block_hash: el_hash.to_vec() };
                self.engine.ask_within(self.deadline, request).await.map(|_head| ()).map_err(failure)
            }
            Some(Execution::Invalid(reason)) => {
                Err(EngineFailure(format!("the engine calls the stored block {} invalid: {reason}", stored.height)))
            }
            None => Err(EngineFailure(format!("the engine does not know the parent of block {}", stored.height))),
        }
    }
}

fn failure(refused: Refused) -> EngineFailure {
    EngineFailure(refused.to_string())
}
