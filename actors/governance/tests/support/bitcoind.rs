//! A bitcoind as far as a governance node sees it: four JSON-RPC methods over HTTP, answered from a [`BitcoinChain`].
#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{OutPoint, Transaction, Txid};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::BitcoinChain;

/// Handle of a running one.
#[derive(Clone)]
pub struct Bitcoind {
    pub address: SocketAddr,
    pub chain: Arc<Mutex<BitcoinChain>>,
    /// Answers every question with an error, as while it starts.
    pub warming_up: Arc<AtomicBool>,
}

impl Bitcoind {
    pub async fn start(chain: BitcoinChain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bitcoind =
            Self { address: listener.local_addr().unwrap(), chain: Arc::new(Mutex::new(chain)), warming_up: Arc::default() };
        let serving = bitcoind.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    let _client_gone = serving.serve(socket).await;
                });
            }
        });
        bitcoind
    }

    async fn serve(&self, socket: TcpStream) -> std::io::Result<()> {
        let mut socket = BufReader::new(socket);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if socket.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).await?;
            let request: Value = serde_json::from_slice(&body).unwrap();
            let answer = match self.answer(request["method"].as_str().unwrap(), &request["params"]) {
                Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "error": null, "id": request["id"] }),
                Err(code) => {
                    json!({ "jsonrpc": "2.0", "result": null, "error": { "code": code, "message": "no" }, "id": request["id"] })
                }
            };
            let body = serde_json::to_vec(&answer).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            socket.write_all(head.as_bytes()).await?;
            socket.write_all(&body).await?;
            socket.flush().await?;
        }
    }

    fn answer(&self, method: &str, params: &Value) -> Result<Value, i32> {
        if self.warming_up.load(Ordering::SeqCst) {
            return Err(-28);
        }
        let chain = self.chain.lock().unwrap();
        let block = |hash: &Value| {
            let hash = hash.as_str().unwrap();
            chain.blocks.iter().position(|block| block.header.block_hash().to_string() == hash).ok_or(-5)
        };
        match method {
            "getblockchaininfo" => Ok(json!({ "chain": "regtest", "blocks": chain.tip(), "initialblockdownload": true })),
            "getblockheader" => {
                let height = block(&params[0])?;
                let confirmations = i64::from(chain.tip()) - height as i64 + 1;
                Ok(json!({ "confirmations": confirmations, "height": height, "nTx": chain.blocks[height].transactions.len() }))
            }
            "getrawtransaction" => {
                let height = block(&params[2])?;
                let is_it = |transaction: &&Transaction| transaction.compute_txid().to_string() == params[0].as_str().unwrap();
                let transaction = chain.blocks[height].transactions.iter().find(is_it).ok_or(-5)?;
                Ok(json!(serialize_hex(transaction)))
            }
            "gettxout" => {
                assert_eq!(params[2], json!(false), "the mempool must not count");
                let txid: Txid = params[0].as_str().unwrap().parse().unwrap();
                let outpoint = OutPoint { txid, vout: params[1].as_u64().unwrap() as u32 };
                Ok(chain.unspent(&outpoint).map_or(Value::Null, |(output, confirmations)| {
                    json!({ "confirmations": confirmations, "value": output.value.to_btc(), "scriptPubKey": { "hex": output.script_pubkey.to_hex_string() } })
                }))
            }
            other => panic!("a governance node does not need {other}"),
        }
    }
}
