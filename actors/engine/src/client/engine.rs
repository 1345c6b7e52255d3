//! Build, execute and commit by means of an execution client.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_consensus::{Block, Header, TxEnvelope};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV3, ForkchoiceState, PayloadAttributes};
use alys_blocks::ChainSpec;

use super::Config;
use super::answer::{BuiltPayload, PayloadStatus, Verdict};
use super::call::{CallError, Client};
use crate::core::block::Invalid;
use crate::core::build::Attributes;
use crate::core::burns::Burn;
use crate::core::forks::Rules;
use crate::core::genesis::{self, GenesisError};
use crate::core::{header, verify};
use crate::engine::Execution;

/// What the Engine API must offer.
const METHODS: [&str; 3] = ["engine_newPayloadV3", "engine_forkchoiceUpdatedV3", "engine_getPayloadV3"];

/// Executed blocks that are remembered: one for each round of a height, so few. One that fell out is executed again.
const MAX_EXECUTED: usize = 64;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The client is away, or answers nonsense: ask again.
    #[error(transparent)]
    Client(#[from] CallError),
    /// The client cannot do it now: it syncs, or it builds what the chain forbids.
    #[error("{0}")]
    Unfit(String),
    /// The question was wrong, or comes too early.
    #[error("{0}")]
    Refused(String),
    /// This client can never serve this chain.
    #[error("{0}")]
    Configuration(String),
}

/// A block that the client has executed, as far as it is remembered.
#[derive(Clone, Debug)]
struct Executed {
    header: Header,
    burns: Vec<Burn>,
}

/// What a build gave.
#[derive(Debug)]
pub struct Built {
    /// The block.
    pub payload: ExecutionPayloadV3,
    /// Its hash.
    pub hash: B256,
    /// Base fees and tips together, wei.
    pub fees: U256,
    /// Its burns.
    pub burns: Vec<Burn>,
}

/// A commit.
#[derive(Debug)]
pub struct Committed {
    /// The head now.
    pub head: (B256, Header),
    /// Burns of the block that was asked for.
    pub burns: Vec<Burn>,
    /// It was not committed before.
    pub first: bool,
}

/// The execution client, and what must be known between calls: what [`crate::engine::Engine`] is for the embedded EVM.
pub struct ClientEngine {
    pub(super) client: Client,
    rules: Rules,
    pub(super) genesis: B256,
    chain_id: u64,
    build_time: Duration,
    /// Committed head. `None`: not asked for since the client was away.
    pub(super) head: Option<(B256, Header)>,
    executed: BTreeMap<B256, Executed>,
}

impl ClientEngine {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The specification cannot be a genesis.
    pub fn new(client: Client, config: &Config, spec: &ChainSpec) -> Result<Self, GenesisError> {
        Ok(Self {
            client,
            rules: genesis::rules(spec),
            genesis: genesis::genesis(spec)?.hash,
            chain_id: spec.chain_id,
            build_time: config.build_time,
            head: None,
            executed: BTreeMap::new(),
        })
    }

    /// The head as last seen, and how many executed blocks are remembered.
    pub(super) fn seen(&self) -> (Option<&(B256, Header)>, usize) {
        (self.head.as_ref(), self.executed.len())
    }

    /// The committed head, asked of the client: it may have been restarted, or have lost its data.
    ///
    /// # Errors
    /// The client is away, or is one of another chain.
    pub async fn head(&mut self) -> Result<(B256, Header), Failure> {
        if self.head.is_none() {
            self.introduce().await?;
        }
        let latest = self.client.header_by_number(BlockNumberOrTag::Latest).await?;
        let latest = latest.ok_or_else(|| Failure::Unfit("the execution client shows no block at all".into()))?;
        let finalized = self.client.header_by_number(BlockNumberOrTag::Finalized).await?;
        // What is committed is finalized. The latest may be a child of it whose receipts were asked for; when it is further
        // ahead, the client has forgotten over a restart what was finalized.
        let is_child = |finalized: &Header| latest.1.number <= finalized.number.saturating_add(1);
        let head = finalized.filter(|(_, finalized)| is_child(finalized)).unwrap_or(latest);
        self.head = Some(head.clone());
        Ok(head)
    }

    /// Is it a client for this chain?
    async fn introduce(&self) -> Result<(), Failure> {
        let chain_id = self.client.chain_id().await?;
        if chain_id != self.chain_id {
            let text = format!("the execution client is of chain id {chain_id}, this chain has {}", self.chain_id);
            return Err(Failure::Configuration(text));
        }
        let zero = self.client.header_by_number(BlockNumberOrTag::Number(0)).await?;
        match zero {
            Some((hash, _)) if hash == self.genesis => {}
            Some((hash, _)) => {
                return Err(Failure::Configuration(format!(
                    "block 0 of the execution client is {hash}, this chain's is {}: start it on an empty data folder with the genesis that `alys engine genesis` prints",
                    self.genesis
                )));
            }
            None => return Err(Failure::Unfit("the execution client does not show its block 0".into())),
        }
        let has = self.client.capabilities(&METHODS).await?;
        let missing: Vec<_> = METHODS.into_iter().filter(|method| !has.contains(*method)).collect();
        if !missing.is_empty() {
            return Err(Failure::Configuration(format!("the execution client lacks {}: use a newer one", missing.join(", "))));
        }
        Ok(())
    }

    pub(super) async fn known_head(&mut self) -> Result<(B256, Header), Failure> {
        match &self.head {
            Some(head) => Ok(head.clone()),
            None => self.head().await,
        }
    }

    /// Builds a block on the committed head and has it executed.
    ///
    /// # Errors
    /// `Refused` for another parent, `Unfit` when what the client builds breaks a rule of the chain.
    pub async fn build(&mut self, parent: B256, wanted: &Attributes, budget: Duration) -> Result<Built, Failure> {
        let (hash, header) = self.known_head().await?;
        if parent != hash {
            return Err(Failure::Refused(format!("parent {parent} is not the committed head {} ({hash})", header.number)));
        }
        if wanted.timestamp <= header.timestamp {
            let text = format!("timestamp {} is not after the parent's {}", wanted.timestamp, header.timestamp);
            return Err(Failure::Refused(text));
        }
        let attributes = PayloadAttributes {
            timestamp: wanted.timestamp,
            prev_randao: wanted.prev_randao,
            suggested_fee_recipient: wanted.fee_recipient,
            withdrawals: Some(wanted.withdrawals.clone()),
            parent_beacon_block_root: Some(wanted.parent_beacon_block_root),
            slot_number: None,
            target_gas_limit: None,
        };
        let answer = self.client.forkchoice(ForkchoiceState::same_hash(hash), Some(attributes)).await?;
        let Some(id) = answer.payload_id else { return Err(self.not_head("build", &answer.payload_status)) };
        tokio::time::sleep(self.build_time.min(budget / 2)).await;
        let BuiltPayload { execution_payload: payload, block_value } = self.client.payload(id).await?;
        let (hash, block) = verify::from_payload(payload.clone(), wanted.parent_beacon_block_root).map_err(unfit)?;
        attributes_kept(&block, wanted).map_err(unfit)?;
        let tips = block_value;
        let base = U256::from(block.header.base_fee_per_gas.unwrap_or_default());
        let fees = base.saturating_mul(U256::from(block.header.gas_used)).saturating_add(tips);
        match self.judge(&payload, hash, block).await? {
            Execution::Valid { burns, .. } => Ok(Built { payload, hash, fees, burns }),
            Execution::Invalid { reason, .. } => Err(unfit(reason)),
            Execution::Syncing { .. } => Err(Failure::Unfit("the execution client does not execute what it has built".into())),
        }
    }

    /// Has a payload executed.
    ///
    /// # Errors
    /// Never for what is wrong with the payload: that is in the answer.
    pub async fn execute(&mut self, bytes: &[u8], root: B256) -> Result<Execution, Failure> {
        let payload = match alys_blocks::decode_payload(bytes) {
            Ok(payload) => payload,
            Err(error) => {
                return Ok(Execution::Invalid { hash: B256::ZERO, reason: Invalid::Payload(error.to_string()) });
            }
        };
        let stated = payload.payload_inner.payload_inner.block_hash;
        match verify::from_payload(payload.clone(), root) {
            Ok((hash, block)) => self.judge(&payload, hash, block).await,
            Err(reason) => Ok(Execution::Invalid { hash: stated, reason }),
        }
    }

    /// Our rules first, the client's after them: it knows neither our gas limit nor that there are no blobs.
    async fn judge(&mut self, payload: &ExecutionPayloadV3, hash: B256, block: Block<TxEnvelope>) -> Result<Execution, Failure> {
        let (head_hash, head) = self.known_head().await?;
        if let Some(executed) = self.executed.get(&hash) {
            return Ok(Execution::Valid { hash, burns: executed.burns.clone() });
        }
        let number = block.header.number;
        if number <= head.number {
            let committed = self.client.header_by_number(BlockNumberOrTag::Number(number)).await?;
            return match committed {
                Some((known, header)) if known == hash => {
                    Ok(Execution::Valid { hash, burns: self.burns_of(hash, &header, None).await? })
                }
                _ => Ok(Execution::Invalid { hash, reason: Invalid::Final { number, head: head.number } }),
            };
        }
        let parent_hash = block.header.parent_hash;
        let parent = if parent_hash == head_hash {
            head
        } else {
            match self.executed.get(&parent_hash) {
                Some(executed) => executed.header.clone(),
                None => return Ok(Execution::Syncing { hash }),
            }
        };
        if let Err(reason) = header::check(&self.rules, &parent, parent_hash, &block) {
            return Ok(Execution::Invalid { hash, reason });
        }
        let root = block.header.parent_beacon_block_root.unwrap_or_default();
        let answer = self.client.new_payload(payload, root).await?;
        match answer.status {
            Verdict::Valid => {
                let hashes = block.body.transactions.iter().map(|transaction| *transaction.tx_hash()).collect();
                let burns = self.burns_of(hash, &block.header, Some(hashes)).await?;
                self.remember(hash, Executed { header: block.header, burns: burns.clone() });
                Ok(Execution::Valid { hash, burns })
            }
            Verdict::Invalid | Verdict::InvalidBlockHash => {
                Ok(Execution::Invalid { hash, reason: Invalid::Rule(answer.reason()) })
            }
            Verdict::Syncing | Verdict::Accepted => {
                // It may have lost what it had: the next question for the head asks it.
                self.forget();
                Ok(Execution::Syncing { hash })
            }
        }
    }

    /// Makes an executed child of the head the head; doing it again changes nothing.
    ///
    /// # Errors
    /// `Refused` when the block is not executed here or does not build on the head.
    pub async fn commit(&mut self, hash: B256) -> Result<Committed, Failure> {
        let head = self.known_head().await?;
        let Some(Executed { header, burns }) = self.executed.get(&hash).cloned() else {
            let known = self.client.header_by_hash(hash).await?.filter(|(_, header)| header.number <= head.1.number);
            let Some((_, header)) = known else {
                return Err(Failure::Refused(format!("block {hash} is not executed here: execute it first")));
            };
            let canonical = self.client.header_by_number(BlockNumberOrTag::Number(header.number)).await?;
            if canonical.is_none_or(|(canonical, _)| canonical != hash) {
                return Err(Failure::Refused(format!("another block than {hash} is committed at {}", header.number)));
            }
            return Ok(Committed { head, burns: self.burns_of(hash, &header, None).await?, first: false });
        };
        if header.parent_hash != head.0 {
            let text = format!("block {hash} does not build on the head {} ({}): commit its parent first", head.1.number, head.0);
            return Err(Failure::Refused(text));
        }
        let answer = self.client.forkchoice(ForkchoiceState::same_hash(hash), None).await?;
        if answer.payload_status.status != Verdict::Valid {
            return Err(self.not_head("commit", &answer.payload_status));
        }
        let number = header.number;
        self.executed.retain(|_, executed| executed.header.number > number);
        self.head = Some((hash, header.clone()));
        Ok(Committed { head: (hash, header), burns, first: true })
    }

    pub(super) async fn balance(&self, address: Address) -> Result<U256, Failure> {
        Ok(self.client.balance(address).await?)
    }

    /// Gives a transaction to the client's pool; what it says against it.
    pub(super) async fn process(&self, transaction: &Bytes) -> Result<Result<B256, String>, Failure> {
        match self.client.send(transaction).await {
            Ok(hash) => Ok(Ok(hash)),
            Err(CallError::Said { message, .. }) => Ok(Err(message)),
            Err(error) => Err(error.into()),
        }
    }

    /// The client does not take our head. It may be behind: chain brings it up, from what it has.
    fn not_head(&mut self, what: &str, status: &PayloadStatus) -> Failure {
        self.forget();
        let says = match status.status {
            Verdict::Valid => "VALID, but does not build".to_owned(),
            Verdict::Syncing | Verdict::Accepted => "that it has not executed our head".to_owned(),
            Verdict::Invalid | Verdict::InvalidBlockHash => format!("that our head is invalid: {}", status.reason()),
        };
        Failure::Refused(format!("{what}: the execution client says {says}"))
    }

    /// Nothing is known of the client any more.
    pub(super) fn forget(&mut self) {
        self.head = None;
        self.executed.clear();
    }

    fn remember(&mut self, hash: B256, executed: Executed) {
        if self.executed.len() >= MAX_EXECUTED
            && let Some(oldest) = self.executed.iter().min_by_key(|(_, known)| known.header.number).map(|(hash, _)| *hash)
        {
            self.executed.remove(&oldest);
        }
        self.executed.insert(hash, executed);
    }
}

/// What the client builds breaks a rule: a setting of the client, for the operator to mend.
fn unfit(reason: Invalid) -> Failure {
    Failure::Unfit(format!("the execution client builds a block that is not valid here: {reason}"))
}

/// The header's rules are checked with every block; these come from who proposes.
fn attributes_kept(block: &Block<TxEnvelope>, wanted: &Attributes) -> Result<(), Invalid> {
    let header = &block.header;
    header::equal("timestamp", header.timestamp, wanted.timestamp)?;
    header::equal("prev randao", header.mix_hash, wanted.prev_randao)?;
    header::equal("fee recipient", header.beneficiary, wanted.fee_recipient)?;
    let built = block.body.withdrawals.as_deref().map(Vec::as_slice).unwrap_or_default();
    if built == wanted.withdrawals { Ok(()) } else { Err(Invalid::Rule("its withdrawals are not those asked for".into())) }
}
