//! The role with an execution client behind it: the messages of the embedded engine, answered by calls.

use std::sync::Arc;
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_cluster::{ActorError, Cx, RoleActor, RoleMetrics, Status};
use alys_proto::engine::{
    Balance, BlockTemplate, BuildBlockRequest, Burns, CommitExecution, ExecuteBlock, ExecutionHead, ExecutionResult, GetBalance,
    GetBurns, Inbox, ProcessTransaction, TransactionResult,
};
use alys_proto::{Message, Refused, Reply, common};
use axum::http::Uri;

use super::call::{CallError, Client};
use super::engine::{ClientEngine, Failure};
use super::metrics::Metrics;
use super::wallets::Wallets;
use crate::actor::trail::Trail;
use crate::actor::{Peers, convert, tell_bridge, tell_network};
use crate::config::Config;
use crate::core::genesis;
use crate::{pool, rpc};

/// The engine role, by means of an execution client.
pub struct ClientActor {
    config: Config,
    spec: Arc<ChainSpec>,
    peers: Peers,
    trail: Trail,
    open: Option<Open>,
    client_name: String,
    /// Why the client cannot be used. `None`: it answers.
    trouble: Option<String>,
    failures: u64,
}

struct Open {
    engine: ClientEngine,
    client: Client,
    wallets: Option<Wallets>,
    sent: rpc::Sent,
}

/// What the watch over the client found.
pub struct Watched(Result<String, CallError>);

impl ClientActor {
    /// A role that has not called its client yet.
    ///
    /// # Errors
    /// The specification cannot be a genesis.
    pub fn new(config: Config, spec: Arc<ChainSpec>, peers: Peers) -> Result<Self, ActorError> {
        genesis::genesis(&spec).map_err(|error| ActorError::Configuration(error.to_string()))?;
        let trouble = Some("the execution client has not answered yet".to_owned());
        Ok(Self { config, spec, peers, trail: Trail::default(), open: None, client_name: String::new(), trouble, failures: 0 })
    }

    /// Answers. What is refused goes to the asker; a client of another chain ends the role.
    fn answer<T: Message>(&mut self, reply: Reply<T>, result: Result<T, Failure>) -> Result<(), ActorError> {
        match result {
            Ok(answer) => {
                reply.send(answer);
                Ok(())
            }
            Err(Failure::Refused(reason)) => {
                reply.refuse(Refused::Failed(reason));
                Ok(())
            }
            Err(Failure::Configuration(reason)) => {
                reply.refuse(Refused::Failed(reason.clone()));
                Err(ActorError::Configuration(reason))
            }
            Err(failure @ (Failure::Client(_) | Failure::Unfit(_))) => {
                let reason = failure.to_string();
                self.failed(&reason);
                reply.refuse(Refused::NotReady(reason));
                Ok(())
            }
        }
    }

    fn failed(&mut self, reason: &str) {
        self.failures = self.failures.saturating_add(1);
        if self.trouble.as_deref() != Some(reason) {
            tracing::warn!(reason, "the execution client cannot be used");
            self.trouble = Some(reason.to_owned());
        }
        // It may come back as another: the head is asked for again.
        if let Some(open) = &mut self.open {
            open.engine.forget();
        }
    }

    async fn build(&mut self, request: BuildBlockRequest) -> Result<BlockTemplate, Failure> {
        let engine = self.engine()?;
        let (parent, attributes, budget) = convert::attributes(&request).map_err(refused)?;
        let built = engine.build(parent, &attributes, budget).await?;
        self.trail.built(built.hash, &request.mints);
        Ok(BlockTemplate {
            transactions: u32::try_from(built.payload.payload_inner.payload_inner.transactions.len()).unwrap_or(u32::MAX),
            payload: alys_blocks::encode_payload(&built.payload),
            block_hash: built.hash.to_vec(),
            fees_wei: built.fees.to_be_bytes_vec(),
            burns: built.burns.iter().map(Into::into).collect(),
        })
    }

    async fn execute(&mut self, request: ExecuteBlock) -> Result<ExecutionResult, Failure> {
        let root = convert::hash("parent_beacon_block_root", &request.parent_beacon_block_root).map_err(refused)?;
        Ok(convert::execution(self.engine()?.execute(&request.payload, root).await?))
    }

    async fn commit(&mut self, request: CommitExecution) -> Result<ExecutionHead, Failure> {
        let hash = convert::hash("block_hash", &request.block_hash).map_err(refused)?;
        let committed = self.engine()?.commit(hash).await?;
        let (head_hash, header) = committed.head;
        let burns: Vec<common::Burn> = committed.burns.iter().map(Into::into).collect();
        if committed.first {
            self.trail.committed(hash, &burns);
        }
        tell_bridge(&self.peers.bridge, header.number, burns).await;
        Ok(convert::head(head_hash, &header))
    }

    async fn head(&mut self) -> Result<ExecutionHead, Failure> {
        let (hash, header) = self.engine()?.head().await?;
        Ok(convert::head(hash, &header))
    }

    async fn process(&mut self, request: ProcessTransaction) -> Result<TransactionResult, Failure> {
        let transaction = match pool::decode(&request.transaction) {
            Ok(transaction) => transaction,
            Err(rejection) => return Ok(TransactionResult { transaction_hash: Vec::new(), rejected: rejection.to_string() }),
        };
        let rejected = self.engine()?.process(&request.transaction.into()).await?.err().unwrap_or_default();
        Ok(TransactionResult { transaction_hash: transaction.inner().tx_hash().to_vec(), rejected })
    }

    async fn balance(&mut self, request: GetBalance) -> Result<Balance, Failure> {
        let address = convert::address("address", &request.address).map_err(refused)?;
        Ok(Balance { wei: self.engine()?.balance(address).await?.to_be_bytes_vec() })
    }

    async fn burns(&mut self, request: GetBurns) -> Result<Burns, Failure> {
        let burns = self.engine()?.burns(request.from_height, request.to_height).await?;
        Ok(Burns { burns: burns.iter().map(Into::into).collect() })
    }

    fn engine(&mut self) -> Result<&mut ClientEngine, Failure> {
        let open = self.open.as_mut().ok_or_else(|| Failure::Refused("the role is not open".into()))?;
        Ok(&mut open.engine)
    }

    /// Asks the client whether it is there, after a while, on a task of its own.
    fn watch(&self, cx: &Cx<Self>, after: Duration) {
        let Some(open) = &self.open else { return };
        let (client, local) = (open.client.clone(), cx.local().clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            local.send(Watched(client.version().await));
        });
    }
}

fn refused(refused: Refused) -> Failure {
    Failure::Refused(refused.to_string())
}

impl RoleActor for ClientActor {
    type Inbox = Inbox;
    type Local = Watched;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let client = Client::new(&self.config.client).map_err(ActorError::Configuration)?;
        let engine = ClientEngine::new(client.clone(), &self.config.client, &self.spec)
            .map_err(|error| ActorError::Configuration(error.to_string()))?;
        let rpc_url: Uri = self.config.client.rpc_url.parse().map_err(|error| {
            ActorError::Configuration(format!("`engine.client.rpc_url`: {}: {error}", self.config.client.rpc_url))
        })?;
        let (sent, taken) = rpc::Sent::channel();
        tokio::spawn(tell_network(taken, self.peers.network.clone()));
        let wallets = Wallets::serve(&self.config.rpc, rpc_url, sent.clone()).await;
        let wallets = wallets.map_err(|error| ActorError::Configuration(error.to_string()))?;
        self.open = Some(Open { engine, client, wallets: Some(wallets), sent });
        self.watch(cx, Duration::ZERO);
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::BuildBlockRequest(request, reply) => {
                let result = self.build(request).await;
                self.answer(reply, result)
            }
            Inbox::ExecuteBlock(request, reply) => {
                let result = self.execute(request).await;
                self.answer(reply, result)
            }
            Inbox::CommitExecution(request, reply) => {
                let result = self.commit(request).await;
                self.answer(reply, result)
            }
            Inbox::GetExecutionHead(_, reply) => {
                let result = self.head().await;
                self.answer(reply, result)
            }
            Inbox::ProcessTransaction(request, reply) => {
                let result = self.process(request).await;
                self.answer(reply, result)
            }
            Inbox::GetBalance(request, reply) => {
                let result = self.balance(request).await;
                self.answer(reply, result)
            }
            Inbox::GetBurns(request, reply) => {
                let result = self.burns(request).await;
                self.answer(reply, result)
            }
        }
    }

    async fn local(&mut self, cx: &Cx<Self>, Watched(seen): Watched) -> Result<(), ActorError> {
        match seen {
            Ok(name) => {
                if self.trouble.take().is_some() || self.client_name != name {
                    tracing::info!(name, "the execution client answers");
                }
                self.client_name = name;
                // Whether it is one for this chain: found out now, not with the first block.
                let known = self.open.as_ref().is_none_or(|open| open.engine.seen().0.is_some());
                if !known {
                    match self.head().await {
                        Ok(_) => {}
                        Err(Failure::Configuration(reason)) => return Err(ActorError::Configuration(reason)),
                        Err(failure) => self.failed(&failure.to_string()),
                    }
                }
            }
            Err(error) => self.failed(&error.to_string()),
        }
        self.watch(cx, self.config.client.watch_interval);
        Ok(())
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        if let Some(wallets) = self.open.as_mut().and_then(|open| open.wallets.take()) {
            wallets.stop().await;
        }
        self.open = None;
    }

    fn status(&self) -> Status {
        let Some(open) = &self.open else { return Status::degraded("not open".into(), Vec::new()) };
        let (head, executed) = open.engine.seen();
        let address = open.wallets.as_ref().map(|wallets| wallets.address().to_string()).unwrap_or_default();
        let fields = vec![
            ("height", head.map(|(_, header)| header.number.to_string()).unwrap_or_default()),
            ("head", head.map(|(hash, _)| hash.to_string()).unwrap_or_default()),
            ("executed", executed.to_string()),
            ("client", self.client_name.clone()),
            ("client_failures", self.failures.to_string()),
            ("transactions_untold", open.sent.lost().to_string()),
            ("json_rpc", address),
        ];
        match &self.trouble {
            None => Status::ready(fields),
            Some(trouble) => Status::degraded(trouble.clone(), fields),
        }
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        let open = self.open.as_ref()?;
        let (head, executed_blocks) = open.engine.seen();
        let header = head.map(|(_, header)| header.clone()).unwrap_or_default();
        Some(Box::new(Metrics {
            height: header.number,
            head_timestamp_seconds: header.timestamp,
            head_gas_used: header.gas_used,
            head_gas_limit: header.gas_limit,
            head_base_fee_wei: header.base_fee_per_gas.unwrap_or(0),
            executed_blocks,
            transactions_untold_total: open.sent.lost(),
            client_answers: u8::from(self.trouble.is_none()),
            client_failures_total: self.failures,
        }))
    }
}
