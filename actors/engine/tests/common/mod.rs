//! A chain of one engine without a mesh: real blocks, real JSON-RPC, blocks made when a test asks.
#![allow(dead_code, unreachable_pub)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256, address};
use alloy_rpc_types_eth::Block;
use alloy_signer_local::PrivateKeySigner;
use alys_blocks::spec::{ExecutionSpec, GenesisAccount};
use alys_blocks::{ChainSpec, FEE_SINK};
use alys_engine::StateReader;
use alys_engine::core::build::Attributes;
use alys_engine::core::header::next_base_fee;
use alys_engine::engine::{Engine, changed_accounts};
use alys_engine::io::store::Options;
use alys_engine::pool::{Limits, Pool, Rules, SharedPool};
use alys_engine::rpc::{self, Handle, Sent, ServerHandle};
use revm::primitives::hardfork::SpecId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// EVM chain id.
pub const CHAIN_ID: u64 = 212_121;
/// The bridge contract.
pub const BRIDGE: Address = address!("0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB");

/// The funded account.
pub fn rich() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap()
}

/// A chain on which it has 100 coins.
pub fn spec() -> ChainSpec {
    let alloc = vec![GenesisAccount { address: rich().address(), balance: U256::from(10).pow(U256::from(20)) }];
    ChainSpec {
        chain_id: CHAIN_ID,
        slot_millis: 1_000,
        execution: ExecutionSpec { alloc, ..ExecutionSpec::default() },
        ..alys_blocks::testing::spec()
    }
}

/// The chain.
pub struct DevChain {
    engine: Arc<Mutex<Engine>>,
    pool: SharedPool,
    server: ServerHandle,
    _folder: tempfile::TempDir,
}

impl DevChain {
    /// Starts with JSON-RPC on a free port.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts with these CORS origins.
    pub async fn with(cors: &[&str]) -> Self {
        let (folder, spec) = (tempfile::tempdir().unwrap(), spec());
        let engine = Engine::open(folder.path(), Options { cache_bytes: 16 << 20, quick_repair: false }, &spec).unwrap();
        let rules = Rules { chain_id: CHAIN_ID, block_gas_limit: spec.execution.gas_limit, fork: SpecId::CANCUN };
        let pool = SharedPool::new(Pool::new(rules, Limits::default()));
        let handle = Handle { reader: engine.reader(), pool: pool.clone(), sent: Sent::channel().0 };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let cors = cors.iter().map(|origin| (*origin).to_owned()).collect();
        let server = rpc::serve(&rpc::Config { listen, cors, ..rpc::Config::default() }, handle).await.unwrap();
        Self { engine: Arc::new(Mutex::new(engine)), pool, server, _folder: folder }
    }

    /// Where JSON-RPC listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Reads what is committed.
    pub fn reader(&self) -> StateReader {
        self.engine.lock().unwrap().reader()
    }

    /// What JSON-RPC works on.
    pub fn handle(&self) -> Handle {
        Handle { reader: self.reader(), pool: self.pool.clone(), sent: Sent::channel().0 }
    }

    /// Puts what waits into a block and commits it.
    pub fn block(&self) {
        make_block(&mut self.engine.lock().unwrap(), &self.pool);
    }

    /// Makes blocks for ever, as a slot clock would.
    pub fn tick(&self, every: Duration) -> tokio::task::JoinHandle<()> {
        let (engine, pool) = (Arc::clone(&self.engine), self.pool.clone());
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(every);
            loop {
                clock.tick().await;
                let (engine, pool) = (Arc::clone(&engine), pool.clone());
                tokio::task::spawn_blocking(move || make_block(&mut engine.lock().unwrap(), &pool)).await.unwrap();
            }
        })
    }

    /// The answer to one call: result, or the error object.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, answer) = self.post(&body.to_string(), "").await;
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        if answer["error"].is_null() { Ok(answer["result"].take()) } else { Err(answer["error"].take()) }
    }

    /// A block by tag, parsed.
    pub async fn block_by(&self, tag: &str) -> Block {
        serde_json::from_value(self.call("eth_getBlockByNumber", json!([tag, true])).await.unwrap()).unwrap()
    }

    /// One POST with extra header lines; answers head and body.
    pub async fn post(&self, body: &str, headers: &str) -> (String, String) {
        self.http("POST", body, &format!("content-type: application/json\r\n{headers}")).await
    }

    /// One HTTP request.
    pub async fn http(&self, method: &str, body: &str, headers: &str) -> (String, String) {
        self.http_of_length(method, body, body.len(), headers).await
    }

    /// One HTTP request that says how long its body is.
    pub async fn http_of_length(&self, method: &str, body: &str, length: usize, headers: &str) -> (String, String) {
        request(self.address(), method, body, length, headers).await
    }

    /// Stops JSON-RPC.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// The answer of a server to one body.
pub async fn post(address: SocketAddr, body: &str) -> Value {
    let (_, answer) = request(address, "POST", body, body.len(), "content-type: application/json\r\n").await;
    serde_json::from_str(&answer).unwrap()
}

async fn request(address: SocketAddr, method: &str, body: &str, length: usize, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("{method} / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn make_block(engine: &mut Engine, pool: &SharedPool) {
    let parent = engine.head();
    let attributes = Attributes {
        timestamp: parent.header.timestamp + 1,
        prev_randao: parent.hash,
        parent_beacon_block_root: parent.hash,
        fee_recipient: FEE_SINK,
        withdrawals: Vec::new(),
    };
    let candidates = |header: &alloy_consensus::Header| {
        let base_fee = next_base_fee(header);
        pool.lock().best(base_fee).map(|entry| entry.transaction().clone()).collect::<Vec<_>>()
    };
    let (block, invalid) = engine.build(parent.hash, &attributes, candidates, || false).unwrap();
    let committed = engine.commit(block.hash).unwrap();
    let mut pool = pool.lock();
    for hash in invalid {
        pool.remove(hash);
    }
    pool.update(committed.head.header.number, changed_accounts(&block.diff));
}
