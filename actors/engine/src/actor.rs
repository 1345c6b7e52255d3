//! The shell: messages to the blocking engine and back.
//!
//! One message at a time, each on a blocking thread, so blocks are built, executed and committed in the order asked.
//! A panic in there (a damaged database can make the store do that) is caught by the thread and ends the role as broken.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Header, TxEnvelope};
use alloy_primitives::Bytes;
use alys_blocks::ChainSpec;
use alys_cluster::{ActorError, Cluster, Cx, Remote, RoleActor, RoleMetrics, Status};
use alys_proto::engine::{
    Balance, BlockTemplate, BuildBlockRequest, Burns, CommitExecution, ExecuteBlock, ExecutionHead, ExecutionResult, GetBalance,
    GetBurns, Inbox, ProcessTransaction, TransactionResult,
};
use alys_proto::{Message, Refused, Reply, bridge, common, network};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::core::genesis;
use crate::core::header::next_base_fee;
use crate::core::view::BlockView;
use crate::engine::{Committed, Engine, EngineError, OpenError, changed_accounts};
use crate::io::store::{Options, StoreError};
use crate::metrics::Metrics;
use crate::pool::{Pool, SharedPool};
use crate::rpc;
use trail::Trail;

pub(crate) mod convert;
pub(crate) mod trail;

/// Building never takes longer than this, whatever is asked.
const MAX_BUILD_TIME: Duration = Duration::from_secs(2);

/// Roles that the engine tells things.
pub struct Peers {
    /// Told about burns.
    pub bridge: Remote<bridge::Inbox>,
    /// Told about transactions of our own wallets.
    pub network: Remote<network::Inbox>,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        Self { bridge: cluster.remote(), network: cluster.remote() }
    }
}

/// The engine role.
pub struct EngineActor {
    config: Config,
    spec: Arc<ChainSpec>,
    peers: Peers,
    open: Option<Open>,
    trail: Arc<Mutex<Trail>>,
}

struct Open {
    engine: Arc<Mutex<Engine>>,
    pool: SharedPool,
    server: Option<rpc::ServerHandle>,
    sent: rpc::Sent,
    head: Arc<BlockView>,
    executed: (usize, u64),
}

impl EngineActor {
    /// A role that has not opened its database yet.
    ///
    /// # Errors
    /// The specification cannot be a genesis.
    pub fn new(config: Config, spec: Arc<ChainSpec>, peers: Peers) -> Result<Self, ActorError> {
        genesis::genesis(&spec).map_err(|error| ActorError::Configuration(error.to_string()))?;
        Ok(Self { config, spec, peers, open: None, trail: Arc::default() })
    }

    /// Runs engine work on a blocking thread and answers. What is refused goes to the asker, what is broken ends the role.
    async fn run<T, F>(&mut self, reply: Reply<T>, work: F) -> Result<(), ActorError>
    where
        T: Message + 'static,
        F: FnOnce(&mut Engine, &SharedPool) -> Result<T, EngineError> + Send + 'static,
    {
        let Some(open) = &mut self.open else { return Ok(()) };
        let (engine, pool) = (Arc::clone(&open.engine), open.pool.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
            let result = work(&mut engine, &pool);
            (result, engine.head(), engine.executed())
        });
        let (result, head, executed) =
            done.await.map_err(|died| ActorError::Broken(format!("the engine died at work: {died}")))?;
        (open.head, open.executed) = (head, executed);
        match result {
            Ok(answer) => {
                reply.send(answer);
                Ok(())
            }
            Err(EngineError::Refused(reason)) => {
                reply.refuse(Refused::Failed(reason));
                Ok(())
            }
            Err(EngineError::Store(error)) => {
                reply.refuse(Refused::Failed(error.to_string()));
                Err(fatal(&error))
            }
        }
    }

    async fn build(&mut self, request: BuildBlockRequest, reply: Reply<BlockTemplate>) -> Result<(), ActorError> {
        let (parent, attributes, budget) = match convert::attributes(&request) {
            Ok(parsed) => parsed,
            Err(refused) => {
                reply.refuse(refused);
                return Ok(());
            }
        };
        let until = Instant::now() + budget.min(MAX_BUILD_TIME);
        let trail = Arc::clone(&self.trail);
        self.run(reply, move |engine, pool| {
            let candidates = |parent: &Header| best(pool, next_base_fee(parent));
            let (block, invalid) = engine.build(parent, &attributes, candidates, || Instant::now() >= until)?;
            trail.lock().unwrap_or_else(PoisonError::into_inner).built(block.hash, &request.mints);
            let mut pool = pool.lock();
            for hash in invalid {
                pool.remove(hash);
            }
            Ok(convert::template(&block))
        })
        .await
    }

    async fn execute(&mut self, request: ExecuteBlock, reply: Reply<ExecutionResult>) -> Result<(), ActorError> {
        match convert::hash("parent_beacon_block_root", &request.parent_beacon_block_root) {
            Ok(root) => self.run(reply, move |engine, _| Ok(convert::execution(engine.execute(&request.payload, root)?))).await,
            Err(refused) => {
                reply.refuse(refused);
                Ok(())
            }
        }
    }

    async fn commit(&mut self, request: CommitExecution, reply: Reply<ExecutionHead>) -> Result<(), ActorError> {
        let hash = match convert::hash("block_hash", &request.block_hash) {
            Ok(hash) => hash,
            Err(refused) => {
                reply.refuse(refused);
                return Ok(());
            }
        };
        let (bridge, trail) = (self.peers.bridge.clone(), Arc::clone(&self.trail));
        let runtime = tokio::runtime::Handle::current();
        self.run(reply, move |engine, pool| {
            let Committed { head, burns, block } = engine.commit(hash)?;
            let burns: Vec<common::Burn> = burns.iter().map(Into::into).collect();
            if let Some(block) = block {
                trail.lock().unwrap_or_else(PoisonError::into_inner).committed(hash, &burns);
                // After the head is visible to readers: who adds to the pool reads accounts there, under the pool's lock.
                pool.lock().update(head.header.number, changed_accounts(&block.diff));
            }
            runtime.block_on(tell_bridge(&bridge, head.header.number, burns));
            Ok(convert::head(head.hash, &head.header))
        })
        .await
    }

    async fn process(&mut self, request: ProcessTransaction, reply: Reply<TransactionResult>) -> Result<(), ActorError> {
        self.run(reply, move |engine, pool| {
            let transaction = match crate::pool::decode(&request.transaction) {
                Ok(transaction) => transaction,
                Err(rejection) => return Ok(TransactionResult { transaction_hash: Vec::new(), rejected: rejection.to_string() }),
            };
            let transaction_hash = transaction.inner().tx_hash().to_vec();
            let mut pool = pool.lock();
            let account = engine.committed_account(transaction.signer())?;
            let rejected = pool.add(transaction, account).err().map(|rejection| rejection.to_string()).unwrap_or_default();
            Ok(TransactionResult { transaction_hash, rejected })
        })
        .await
    }

    async fn balance(&mut self, request: GetBalance, reply: Reply<Balance>) -> Result<(), ActorError> {
        match convert::address("address", &request.address) {
            Ok(address) => {
                self.run(reply, move |engine, _| {
                    Ok(Balance { wei: engine.committed_account(address)?.balance.to_be_bytes_vec() })
                })
                .await
            }
            Err(refused) => {
                reply.refuse(refused);
                Ok(())
            }
        }
    }

    async fn burns(&mut self, request: GetBurns, reply: Reply<Burns>) -> Result<(), ActorError> {
        self.run(reply, move |engine, _| {
            let burns = engine.burns(request.from_height, request.to_height)?;
            Ok(Burns { burns: burns.iter().map(Into::into).collect() })
        })
        .await
    }
}

impl RoleActor for EngineActor {
    type Inbox = Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        let (config, spec) = (self.config.clone(), Arc::clone(&self.spec));
        let options =
            Options { cache_bytes: usize::try_from(config.cache_size).unwrap_or(usize::MAX), quick_repair: config.quick_repair };
        let opened = tokio::task::spawn_blocking(move || Engine::open(&config.data_dir, options, &spec));
        let engine = match opened.await {
            Ok(Ok(engine)) => engine,
            Ok(Err(OpenError::Genesis(error))) => return Err(ActorError::Configuration(error.to_string())),
            Ok(Err(OpenError::Store(error))) => return Err(fatal(&error)),
            Err(died) => {
                let path = self.config.data_dir.display();
                return Err(ActorError::Broken(format!(
                    "the engine's database in {path} is damaged ({died}): move it away and the engine builds it again from the stored blocks"
                )));
            }
        };
        let rules = crate::pool::Rules {
            chain_id: self.spec.chain_id,
            block_gas_limit: self.spec.execution.gas_limit,
            fork: revm::primitives::hardfork::SpecId::CANCUN,
        };
        let pool = SharedPool::new(Pool::new(rules, self.config.pool));
        let (sent, taken) = rpc::Sent::channel();
        tokio::spawn(tell_network(taken, self.peers.network.clone()));
        let handle = rpc::Handle { reader: engine.reader(), pool: pool.clone(), sent: sent.clone() };
        let server = rpc::serve(&self.config.rpc, handle).await.map_err(|error| ActorError::Configuration(error.to_string()))?;
        let (head, executed) = (engine.head(), engine.executed());
        tracing::info!(height = head.header.number, hash = %head.hash, "engine is ready");
        self.open = Some(Open { engine: Arc::new(Mutex::new(engine)), pool, server: Some(server), sent, head, executed });
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::BuildBlockRequest(request, reply) => self.build(request, reply).await,
            Inbox::ExecuteBlock(request, reply) => self.execute(request, reply).await,
            Inbox::CommitExecution(request, reply) => self.commit(request, reply).await,
            Inbox::GetExecutionHead(_, reply) => {
                let answer = |engine: &mut Engine, _: &SharedPool| {
                    let head = engine.head();
                    Ok(convert::head(head.hash, &head.header))
                };
                self.run(reply, answer).await
            }
            Inbox::ProcessTransaction(request, reply) => self.process(request, reply).await,
            Inbox::GetBalance(request, reply) => self.balance(request, reply).await,
            Inbox::GetBurns(request, reply) => self.burns(request, reply).await,
        }
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        if let Some(server) = self.open.as_mut().and_then(|open| open.server.take()) {
            server.stop().await;
        }
        // Closes the database: a successor can open it.
        self.open = None;
    }

    fn status(&self) -> Status {
        let Some(open) = &self.open else { return Status::degraded("not open".into(), Vec::new()) };
        let (pending, queued) = open.pool.lock().status();
        let address = open.server.as_ref().map(|server| server.address().to_string()).unwrap_or_default();
        Status::ready(vec![
            ("height", open.head.header.number.to_string()),
            ("head", open.head.hash.to_string()),
            ("executed", open.executed.0.to_string()),
            ("executed_dropped", open.executed.1.to_string()),
            ("pool_pending", pending.to_string()),
            ("pool_queued", queued.to_string()),
            ("transactions_untold", open.sent.lost().to_string()),
            ("json_rpc", address),
        ])
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        let open = self.open.as_ref()?;
        let (pool_pending, pool_queued) = open.pool.lock().status();
        let header = &open.head.header;
        Some(Box::new(Metrics {
            height: header.number,
            head_timestamp_seconds: header.timestamp,
            head_gas_used: header.gas_used,
            head_gas_limit: header.gas_limit,
            head_base_fee_wei: header.base_fee_per_gas.unwrap_or(0),
            executed_blocks: open.executed.0,
            executed_dropped_total: open.executed.1,
            pool_pending,
            pool_queued,
            pool_capacity: self.config.pool.total,
            transactions_untold_total: open.sent.lost(),
        }))
    }
}

/// Candidates for a block. A snapshot, so the pool is not held while it is built.
fn best(pool: &SharedPool, base_fee: u64) -> impl Iterator<Item = Recovered<TxEnvelope>> {
    let best = pool.lock().best(base_fee);
    best.map(|entry| entry.transaction().clone())
}

/// Burns of a committed block. Only news: bridge reads them from the ledger facts of finalised blocks as well.
pub(crate) async fn tell_bridge(bridge: &Remote<bridge::Inbox>, height: u64, burns: Vec<common::Burn>) {
    if !burns.is_empty()
        && let Err(refused) = bridge.post(bridge::BurnEventDetected { burns }).await
    {
        tracing::warn!(height, %refused, "bridge was not told of burns");
    }
}

/// Hands transactions of our own wallets to gossip, until JSON-RPC is gone. Those from gossip never come here.
pub(crate) async fn tell_network(mut taken: mpsc::Receiver<Bytes>, network: Remote<network::Inbox>) {
    while let Some(transaction) = taken.recv().await {
        if let Err(refused) = network.tell(network::PublishTransaction { transaction: transaction.into() }) {
            // It is in our own pool: our next block takes it.
            tracing::debug!(%refused, "network was not told of a transaction");
        }
    }
}

fn fatal(error: &StoreError) -> ActorError {
    if error.is_full() {
        ActorError::Temporary(error.to_string())
    } else if error.is_configuration() {
        ActorError::Configuration(error.to_string())
    } else {
        ActorError::Broken(error.to_string())
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
