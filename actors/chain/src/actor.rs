//! The chain role's actor: messages become inputs of the core, effects of the core become messages.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use alys_blocks::{Certificate, ChainSpec};
use alys_cluster::{ActorError, Cluster, Cx, LocalSender, Remote, RoleActor, RoleMetrics, Status};
use alys_peg::{BurnRef, InclusionProof, PayoutRecorded, PegInProof};
use alys_pow::MinedHash;
use alys_proto::{Refused, Reply, bridge, chain, common, engine, network, storage, stream, sync};
use malachite_ed25519::PrivateKey;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::core::rules::ChainRules;
use crate::core::{Claim, ImportedBlock, Input, State, StateError, WorkStatus};
use crate::io::boot::Loader;
use crate::io::engine::EngineDoor;
use crate::io::{bridge as bitcoin, clock, key};
use crate::metrics::Metrics;
use crate::rpc;
use crate::shell::{Shell, Waiter};
use crate::trail::Accepting;

/// The roles that chain talks to.
#[derive(Clone)]
pub struct Peers {
    /// Head, blocks, ledger, log.
    pub storage: Remote<storage::Inbox>,
    /// Builds and executes.
    pub engine: Remote<engine::Inbox>,
    /// Knows Bitcoin.
    pub bridge: Remote<bridge::Inbox>,
    /// Gossip.
    pub network: Remote<network::Inbox>,
    /// Told of every block.
    pub stream: Remote<stream::Inbox>,
    /// Told when we are behind.
    pub sync: Remote<sync::Inbox>,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        Self {
            storage: cluster.remote(),
            engine: cluster.remote(),
            bridge: cluster.remote(),
            network: cluster.remote(),
            stream: cluster.remote(),
            sync: cluster.remote(),
        }
    }
}

impl Peers {
    /// Whoever is away reads the block from storage when it is back.
    pub(crate) fn tell_committed(&self, block: &common::CommittedBlock, facts: &[storage::LedgerFact]) {
        let _away = self.stream.tell(block.clone());
        let told = bridge::FinalizedBlock { height: block.height, hash: block.hash.clone(), facts: facts.to_vec() };
        let _away = self.bridge.tell(told);
    }
}

/// Timers, and answers of tasks.
pub enum Local {
    /// For the core.
    Input(Input),
    /// Try again what could not be done.
    Pump,
    /// A miner's call.
    Asked(chain::Inbox),
    /// Going on is of no use.
    End(ActorError),
}

/// The chain role.
pub struct ChainActor {
    config: Config,
    rules: Arc<ChainRules>,
    key: Option<PrivateKey>,
    peers: Peers,
    /// `None` until it has started.
    shell: Option<Shell>,
    miners: Option<rpc::ServerHandle>,
}

impl ChainActor {
    /// Reads the key and checks the specification.
    pub fn new(config: Config, spec: Arc<ChainSpec>, peers: Peers) -> Result<Self, ActorError> {
        let rules = ChainRules::new(ChainSpec::clone(&spec)).map_err(|cause| ActorError::Configuration(cause.to_string()))?;
        let key = match &config.validator_key {
            Some(path) => Some(key::load(path).map_err(|cause| ActorError::Configuration(cause.to_string()))?),
            None => None,
        };
        Ok(Self { config, rules: Arc::new(rules), key, peers, shell: None, miners: None })
    }

    fn chain_head(shell: &Shell) -> chain::ChainHead {
        let status = shell.status();
        chain::ChainHead {
            height: status.height,
            hash: status.hash.to_vec(),
            slot: status.slot,
            el_block_hash: status.el_hash.to_vec(),
            producing: status.producing,
            committed_unix_millis: status.committed_unix_millis,
        }
    }
}

impl RoleActor for ChainActor {
    type Inbox = chain::Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let engine = EngineDoor::new(self.peers.engine.clone(), self.peers.storage.clone(), self.config.execution_deadline);
        let loader = Loader {
            rules: &self.rules,
            storage: &self.peers.storage,
            engine: &engine,
            retry: self.config.retry,
            deadline: self.config.storage_deadline,
        };
        let (boot, last) = loader.load(self.key.clone()).await?;
        let (state, effects) = State::boot(boot, clock::now()).map_err(|cause| match cause {
            StateError::NotAValidator(_) => ActorError::Configuration(cause.to_string()),
            StateError::Machine(_) => ActorError::Broken(cause.to_string()),
        })?;
        let mut shell = Shell::new(state, effects, self.peers.clone(), engine, cx.local().clone(), self.config.clone());
        if let Some((block, facts)) = last {
            // We may have died between storing it and telling it.
            let _away = self.peers.network.tell(block.clone());
            self.peers.tell_committed(&block, &facts);
        }
        shell.pump().await?;
        self.shell = Some(shell);
        self.miners = rpc::serve(&self.config.mining, calls(cx.local().clone()))
            .await
            .map_err(|cause| ActorError::Configuration(cause.to_string()))?;
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: chain::Inbox) -> Result<(), ActorError> {
        let Some(shell) = self.shell.as_mut() else { return Ok(()) };
        match message {
            chain::Inbox::GetChainHead(_, reply) => {
                reply.send(Self::chain_head(shell));
                Ok(())
            }
            chain::Inbox::BitcoinViewChanged(changed) => match changed.tip.as_ref().and_then(bitcoin::tip) {
                Some(view) => shell.own_input(Input::BitcoinView(view)).await,
                None => Ok(()),
            },
            message if shell.stuck.is_some() => {
                refuse_while_stuck(message);
                Ok(())
            }
            chain::Inbox::PegInValidationRequest(request, reply) => match peg_in(&request) {
                Ok(claim) => {
                    let accepting = Accepting::of(&claim, shell.state.ledger());
                    shell.claim(claim, Waiter::PegIn(reply, accepting)).await
                }
                Err(reason) => {
                    reply.send(chain::PegInVerdict { accepted: false, reason });
                    Ok(())
                }
            },
            chain::Inbox::ProposePayout(request, reply) => shell.proposal(payout(&request), reply).await,
            chain::Inbox::PayoutConfirmed(request, reply) => shell.proposal(settlement(&request), reply).await,
            chain::Inbox::ProposeRefund(request, reply) => shell.proposal(refund(request), reply).await,
            chain::Inbox::BlockReceived(received) => match received.block.and_then(imported) {
                Some(block) => shell.input(Input::BlockReceived(block)).await,
                None => {
                    shell.refused_messages = shell.refused_messages.saturating_add(1);
                    Ok(())
                }
            },
            chain::Inbox::ValidatedBlockBatch(batch, reply) => {
                let blocks: Option<Vec<ImportedBlock>> = batch.blocks.into_iter().map(imported).collect();
                let Some(blocks) = blocks else {
                    reply.refuse(Refused::Malformed("a certificate of the batch does not decode".into()));
                    return Ok(());
                };
                let ticket = shell.ticket(Waiter::Batch(reply));
                shell.input(Input::BatchBlockImport { ticket, blocks }).await
            }
            chain::Inbox::ConsensusMessage(message) => shell.input(Input::ConsensusMessage(message.message)).await,
            chain::Inbox::CreateAuxBlock(request, reply) => match Address::try_from(request.fee_recipient.as_slice()) {
                Ok(fee_recipient) => {
                    let ticket = shell.ticket(Waiter::AuxBlock(reply));
                    shell.input(Input::AuxBlockWanted { ticket, fee_recipient }).await
                }
                Err(_) => {
                    reply.refuse(Refused::Malformed("fee_recipient is not 20 bytes".into()));
                    Ok(())
                }
            },
            chain::Inbox::SubmitAuxBlock(request, reply) => match B256::try_from(request.hash.as_slice()) {
                Ok(hash) => {
                    let ticket = shell.ticket(Waiter::Proposal(reply, Accepting::default()));
                    shell.input(Input::AuxBlockSolved { ticket, hash: MinedHash(hash), proof: request.proof }).await
                }
                Err(_) => {
                    reply.refuse(Refused::Malformed("hash is not 32 bytes".into()));
                    Ok(())
                }
            },
            chain::Inbox::GovernanceBlockProposal(request, reply) => {
                shell.proposal(Ok(Claim::Record(request.record)), reply).await
            }
        }
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        let message = match message {
            Local::Asked(message) => return self.handle(cx, message).await,
            Local::End(why) => return Err(why),
            message => message,
        };
        let Some(shell) = self.shell.as_mut() else { return Ok(()) };
        match message {
            Local::Input(input) => shell.own_input(input).await,
            Local::Pump => shell.pump().await,
            Local::Asked(_) | Local::End(_) => Ok(()),
        }
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        if let Some(server) = self.miners.take() {
            server.stop().await;
        }
    }

    fn status(&self) -> Status {
        let Some(shell) = &self.shell else { return Status::degraded("waiting for storage and engine".into(), Vec::new()) };
        let status = shell.status();
        let mut fields = vec![
            ("height", status.height.to_string()),
            ("hash", status.hash.to_string()),
            ("slot", status.slot.to_string()),
            ("producing", status.producing.to_string()),
            ("round", status.round.map_or_else(|| "-".into(), |round| round.to_string())),
            ("pending_claims", status.pending_claims.to_string()),
            ("missed_slots", status.missed_slots.to_string()),
            ("block_latency_ms", status.latency_millis.to_string()),
            ("bitcoin_height", status.bitcoin.map_or_else(|| "-".into(), |view| view.height.to_string())),
            ("peg", status.peg_paused.map_or_else(|| "open".into(), |since| format!("paused since block {since}"))),
            ("sync_target", status.sync_target.to_string()),
            ("equivocations", status.equivocations.to_string()),
            ("proposed", status.proposed.to_string()),
            ("refused_messages", shell.refused_messages.to_string()),
        ];
        if let Some(work) = &status.work {
            fields.extend(work_fields(work));
        }
        fields.extend(self.miners.as_ref().map(|server| ("mining_rpc", server.address().to_string())));
        let wants_work = status.work.is_some_and(|work| work.wanted && !work.pending);
        match (status.halted, &shell.stuck) {
            (Some(reason), _) => Status::degraded(format!("halted: {reason}"), fields),
            (None, Some(reason)) => Status::degraded(format!("waiting: {reason}"), fields),
            (None, None) if status.votes_lost => Status::degraded(
                "restored from a backup: no vote before the others have made a block; if there are no others, see `alys storage restore --vote-at-once`".into(),
                fields,
            ),
            (None, None) if wants_work => Status::degraded("waiting: the next block needs work of miners".into(), fields),
            (None, None) => Status::ready(fields),
        }
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        let shell = self.shell.as_ref()?;
        Some(Box::new(Metrics::of(&shell.state, &shell.status(), shell.refused_messages)))
    }
}

impl Shell {
    async fn claim(&mut self, claim: Claim, waiter: Waiter) -> Result<(), ActorError> {
        let ticket = self.ticket(waiter);
        self.input(Input::ClaimArrived { ticket, claim }).await
    }

    async fn proposal(&mut self, claim: Result<Claim, String>, reply: Reply<chain::ProposalVerdict>) -> Result<(), ActorError> {
        match claim {
            Ok(claim) => {
                let accepting = Accepting::of(&claim, self.state.ledger());
                self.claim(claim, Waiter::Proposal(reply, accepting)).await
            }
            Err(reason) => {
                reply.send(verdict(&reason));
                Ok(())
            }
        }
    }
}

/// Calls of miners wait here for a turn in the mailbox; a call more is answered as busy.
const MAX_CALLS: usize = 64;

/// Leads calls of miners into the role's mailbox.
fn calls(local: LocalSender<Local>) -> mpsc::Sender<chain::Inbox> {
    let (asker, mut asked) = mpsc::channel(MAX_CALLS);
    tokio::spawn(async move {
        while let Some(message) = asked.recv().await {
            local.send(Local::Asked(message));
        }
    });
    asker
}

fn work_fields(work: &WorkStatus) -> [(&'static str, String); 6] {
    [
        ("settled_height", work.settled_height.to_string()),
        ("blocks_since_work", work.unsettled.to_string()),
        ("bundles", work.bundles.to_string()),
        ("work_bits", format!("{:08x}", work.bits)),
        ("waits_for_work", work.wanted.to_string()),
        ("bundle_pending", work.pending.to_string()),
    ]
}

/// Senders repeat what matters: claims until the chain shows them, votes by rebroadcast, blocks by sync.
fn refuse_while_stuck(message: chain::Inbox) {
    let busy = || Refused::Busy("storage or the engine is away".into());
    match message {
        chain::Inbox::PegInValidationRequest(_, reply) => reply.refuse(busy()),
        chain::Inbox::ProposePayout(_, reply)
        | chain::Inbox::PayoutConfirmed(_, reply)
        | chain::Inbox::ProposeRefund(_, reply)
        | chain::Inbox::SubmitAuxBlock(_, reply)
        | chain::Inbox::GovernanceBlockProposal(_, reply) => reply.refuse(busy()),
        chain::Inbox::CreateAuxBlock(_, reply) => reply.refuse(busy()),
        chain::Inbox::ValidatedBlockBatch(_, reply) => reply.refuse(busy()),
        chain::Inbox::GetChainHead(_, reply) => reply.refuse(busy()),
        chain::Inbox::BitcoinViewChanged(_) | chain::Inbox::BlockReceived(_) | chain::Inbox::ConsensusMessage(_) => {}
    }
}

fn verdict(reason: &str) -> chain::ProposalVerdict {
    chain::ProposalVerdict { accepted: false, reason: reason.to_owned() }
}

fn peg_in(request: &chain::PegInValidationRequest) -> Result<Claim, String> {
    let deposit = request.deposit.as_ref().ok_or("deposit is missing")?;
    let proof = PegInProof::try_from(deposit).map_err(|cause| cause.to_string())?;
    Ok(Claim::PegIn { proof: Box::new(proof), approved_by: request.approved_by.clone() })
}

fn payout(request: &chain::ProposePayout) -> Result<Claim, String> {
    let payout = request.payout.as_ref().ok_or("payout is missing")?;
    Ok(Claim::Payout(Box::new(PayoutRecorded::try_from(payout).map_err(|cause| cause.to_string())?)))
}

fn settlement(request: &chain::PayoutConfirmed) -> Result<Claim, String> {
    let block = request.bitcoin_block.as_ref().and_then(bitcoin::tip).ok_or("bitcoin_block is missing or malformed")?;
    let proof =
        InclusionProof::from_parts(&request.txid, &request.merkle_proof, block.height).map_err(|cause| cause.to_string())?;
    Ok(Claim::Settlement { proof: Box::new(proof), bitcoin_hash: block.hash })
}

fn refund(request: chain::ProposeRefund) -> Result<Claim, String> {
    let burn = request.burn.ok_or("burn is missing")?;
    Ok(Claim::Refund { burn: BurnRef { height: burn.height, log_index: burn.log_index }, reason: request.reason })
}

/// `None` when the certificate does not decode. The block is decoded when its turn comes.
fn imported(block: common::CommittedBlock) -> Option<ImportedBlock> {
    let certificate = Certificate::decode(&block.certificate).ok()?;
    Some(ImportedBlock { height: block.height, block: block.block, certificate })
}
