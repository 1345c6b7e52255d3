//! An execution client for tests of this folder: the embedded engine behind the Engine API, whose answers a test can
//! twist. The real ones are in `tests/tests/execution_client.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_engine::{ExecutionPayloadV3, ForkchoiceState, PayloadAttributes};
use jsonrpsee::RpcModule;
use jsonrpsee::core::client::ClientT as _;
use jsonrpsee::server::{Server, ServerHandle};
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee_http_client::{HttpClient, HttpClientBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Config;
use crate::core::build::Attributes;
use crate::engine::{Engine, Execution};
use crate::io::store::Options;
use crate::pool::{Pool, SharedPool};
use crate::rpc;
use crate::testing::spec;

/// What a method does in the place of what it should.
enum Twist {
    /// Nothing; it answers this.
    Instead(Value),
    /// All of it; its answer becomes another.
    After(Box<dyn Fn(Value) -> Result<Value, ErrorObjectOwned> + Send>),
}

/// Methods that are passed to the embedded engine's own JSON-RPC.
const ETH: [&str; 8] = [
    "web3_clientVersion",
    "eth_chainId",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getBlockReceipts",
    "eth_getLogs",
    "eth_getBalance",
    "eth_sendRawTransaction",
];
const ENGINE: [&str; 4] =
    ["engine_exchangeCapabilities", "engine_newPayloadV3", "engine_forkchoiceUpdatedV3", "engine_getPayloadV3"];

/// The client. It ends with the value.
pub(super) struct Fake {
    /// What the role is told about it.
    pub(super) config: Config,
    inner: Arc<Inner>,
    _servers: [ServerHandle; 2],
    _folder: TempDir,
}

struct Inner {
    running: tokio::sync::Mutex<Running>,
    twists: Mutex<BTreeMap<&'static str, Twist>>,
}

/// What a loss of all data replaces.
struct Running {
    engine: Engine,
    pool: SharedPool,
    eth: HttpClient,
    built: Vec<(ExecutionPayloadV3, String)>,
    finalized: Option<B256>,
    _server: rpc::ServerHandle,
    _folder: TempDir,
}

impl Running {
    async fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, quick_repair: false };
        let engine = Engine::open(folder.path(), options, &spec()).unwrap();
        let rules = crate::pool::Rules {
            chain_id: spec().chain_id,
            block_gas_limit: spec().execution.gas_limit,
            fork: revm::primitives::hardfork::SpecId::CANCUN,
        };
        let pool = SharedPool::new(Pool::new(rules, crate::pool::Limits::default()));
        let (sent, _news) = rpc::Sent::channel();
        let mut config = rpc::Config::default();
        config.listen.set_port(0);
        let handle = rpc::Handle { reader: engine.reader(), pool: pool.clone(), sent };
        let server = rpc::serve(&config, handle).await.unwrap();
        let eth = HttpClientBuilder::new().build(format!("http://{}", server.address())).unwrap();
        Self { engine, pool, eth, built: Vec::new(), finalized: None, _server: server, _folder: folder }
    }

    async fn answer(&mut self, method: &'static str, params: Vec<Value>) -> Result<Value, ErrorObjectOwned> {
        let argument = |index: usize| params.get(index).cloned().unwrap_or(Value::Null);
        match method {
            "engine_exchangeCapabilities" => Ok(json!(ENGINE)),
            "engine_newPayloadV3" => {
                let payload: ExecutionPayloadV3 = serde_json::from_value(argument(0)).unwrap();
                let root: B256 = serde_json::from_value(argument(2)).unwrap();
                let bytes = alys_blocks::encode_payload(&payload);
                Ok(match self.engine.execute(&bytes, root).unwrap() {
                    Execution::Valid { hash, .. } => {
                        json!({ "status": "VALID", "latestValidHash": hash, "validationError": null })
                    }
                    Execution::Invalid { reason, .. } => {
                        json!({ "status": "INVALID", "latestValidHash": null, "validationError": reason.to_string() })
                    }
                    Execution::Syncing { .. } => json!({ "status": "SYNCING", "latestValidHash": null, "validationError": null }),
                })
            }
            "engine_forkchoiceUpdatedV3" => {
                let state: ForkchoiceState = serde_json::from_value(argument(0)).unwrap();
                let attributes: Option<PayloadAttributes> = serde_json::from_value(argument(1)).unwrap();
                Ok(self.forkchoice(state, attributes))
            }
            "engine_getPayloadV3" => {
                let id = u64::from_str_radix(argument(0).as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
                let (payload, value) = &self.built[usize::try_from(id).unwrap()];
                Ok(json!({
                    "executionPayload": payload, "blockValue": value, "shouldOverrideBuilder": false,
                    "blobsBundle": { "commitments": [], "proofs": [], "blobs": [] },
                }))
            }
            "eth_getBlockByNumber" if argument(0) == "finalized" => match self.finalized {
                Some(hash) => Ok(self.eth.request("eth_getBlockByHash", vec![json!(hash), json!(false)]).await.unwrap()),
                None => Err(ErrorObjectOwned::owned(-39_001, "finalized block not found", None::<()>)),
            },
            _ => self
                .eth
                .request(method, params)
                .await
                .map_err(|error| ErrorObjectOwned::owned(-32_000, error.to_string(), None::<()>)),
        }
    }

    fn forkchoice(&mut self, state: ForkchoiceState, attributes: Option<PayloadAttributes>) -> Value {
        let hash = state.head_block_hash;
        let says = |status: &str, id: Option<String>| json!({ "payloadStatus": { "status": status, "latestValidHash": null, "validationError": null }, "payloadId": id });
        if hash != self.engine.head().hash {
            let Ok(committed) = self.engine.commit(hash) else { return says("SYNCING", None) };
            if let Some(block) = committed.block {
                self.pool.lock().update(block.header().number, crate::engine::changed_accounts(&block.diff));
            }
        }
        self.finalized = Some(state.finalized_block_hash);
        let Some(attributes) = attributes else { return says("VALID", None) };
        let wanted = Attributes {
            timestamp: attributes.timestamp,
            prev_randao: attributes.prev_randao,
            parent_beacon_block_root: attributes.parent_beacon_block_root.unwrap(),
            fee_recipient: attributes.suggested_fee_recipient,
            withdrawals: attributes.withdrawals.unwrap(),
        };
        let pool = self.pool.clone();
        let best = |parent: &alloy_consensus::Header| {
            let best = pool.lock().best(crate::core::header::next_base_fee(parent));
            best.map(|entry| entry.transaction().clone()).collect::<Vec<_>>()
        };
        let (block, _) = self.engine.build(hash, &wanted, best, || false).unwrap();
        let base = alloy_primitives::U256::from(block.header().base_fee_per_gas.unwrap() * block.header().gas_used);
        self.built
            .push((ExecutionPayloadV3::from_block_unchecked(block.hash, &block.block), format!("{:#x}", block.fees - base)));
        says("VALID", Some(format!("0x{:016x}", self.built.len() - 1)))
    }
}

impl Fake {
    pub(super) async fn start() -> Self {
        let inner = Arc::new(Inner { running: tokio::sync::Mutex::new(Running::empty().await), twists: Mutex::default() });
        let (engine_url, engine) = serve(&inner, &ENGINE).await;
        let (rpc_url, eth) = serve(&inner, &ETH).await;
        let folder = tempfile::tempdir().unwrap();
        let jwt_file = folder.path().join("jwt.hex");
        std::fs::write(&jwt_file, "ab".repeat(32)).unwrap();
        let config = Config { engine_url, rpc_url, jwt_file: Some(jwt_file), ..Config::default() };
        Self { config, inner, _servers: [engine, eth], _folder: folder }
    }

    /// From now on the answer of a method is what becomes of the true one.
    pub(super) fn twist(&self, method: &'static str, twist: impl Fn(Value) -> Result<Value, ErrorObjectOwned> + Send + 'static) {
        self.inner.twists.lock().unwrap().insert(method, Twist::After(Box::new(twist)));
    }

    /// From now on a method has this answer, and does nothing.
    pub(super) fn say(&self, method: &'static str, answer: Value) {
        self.inner.twists.lock().unwrap().insert(method, Twist::Instead(answer));
    }

    /// The truth again.
    pub(super) fn be_honest(&self) {
        self.inner.twists.lock().unwrap().clear();
    }

    /// A transaction comes to its pool from elsewhere.
    pub(super) async fn pool(&self, transaction: Bytes) {
        let running = self.inner.running.lock().await;
        let _hash: B256 = running.eth.request("eth_sendRawTransaction", vec![json!(transaction)]).await.unwrap();
    }

    /// It comes back without its data.
    pub(super) async fn lose_everything(&self) {
        *self.inner.running.lock().await = Running::empty().await;
    }
}

async fn serve(inner: &Arc<Inner>, methods: &[&'static str]) -> (String, ServerHandle) {
    let mut module = RpcModule::new(inner.clone());
    for &method in methods {
        let answer = move |params: Params<'static>, inner: Arc<Arc<Inner>>, _| async move {
            let params: Vec<Value> = params.parse()?;
            if let Some(Twist::Instead(answer)) = inner.twists.lock().unwrap().get(method) {
                return Ok(answer.clone());
            }
            let truth = inner.running.lock().await.answer(method, params).await;
            match inner.twists.lock().unwrap().get(method) {
                Some(Twist::After(twist)) => twist(truth.unwrap_or(Value::Null)),
                _ => truth,
            }
        };
        module.register_async_method(method, answer).unwrap();
    }
    let server = Server::builder().build("127.0.0.1:0").await.unwrap();
    (format!("http://{}", server.local_addr().unwrap()), server.start(module))
}
