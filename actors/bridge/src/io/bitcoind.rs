//! Our Bitcoin node over JSON-RPC. Each method is one question; what the answers mean is decided in the core.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Amount, Block, BlockHash, Network, Transaction, Txid};
use corepc_client::{Auth, Client, Error as ClientError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::BitcoindConfig;
use crate::core::BlockRef;
use crate::core::validate::{Header, Headers};
use crate::io::error::BitcoindError;

/// Bitcoin's code for a transaction whose outputs are already in the chain.
const ALREADY_IN_CHAIN: i32 = -27;

/// A bitcoind. The connection is made anew after each failure, because a restarted node has another cookie.
#[derive(Debug)]
pub struct Bitcoind {
    config: BitcoindConfig,
    network: Network,
    client: Mutex<Option<Arc<Client>>>,
}

/// What `testmempoolaccept` and `sendrawtransaction` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in the mempool, or in the chain.
    Yes,
    /// Bitcoin's reason against it.
    No(String),
}

impl Bitcoind {
    /// A node that is expected to be on this network. Nothing is asked yet.
    pub const fn new(config: BitcoindConfig, network: Network) -> Self {
        Self { config, network, client: Mutex::new(None) }
    }

    /// The best chain's tip, provided that the node is on our network and has caught up.
    pub async fn tip(&self) -> Result<BlockRef, BitcoindError> {
        #[derive(Deserialize)]
        struct Info {
            chain: String,
            blocks: u32,
            headers: u32,
            bestblockhash: BlockHash,
            initialblockdownload: bool,
        }
        let info: Info = self.call("getblockchaininfo", &[]).await?;
        if info.chain != self.network.to_core_arg() {
            return Err(BitcoindError::WrongNetwork { url: self.config.url.clone(), found: info.chain, wanted: self.network });
        }
        // A regtest node counts as downloading whenever its newest block is old, which says nothing there.
        if info.initialblockdownload && self.network != Network::Regtest {
            return Err(BitcoindError::InitialDownload { blocks: info.blocks, headers: info.headers });
        }
        Ok(BlockRef { hash: info.bestblockhash, height: info.blocks })
    }

    /// What the node says of a block.
    pub async fn header(&self, hash: &BlockHash) -> Result<Header, BitcoindError> {
        #[derive(Deserialize)]
        struct Found {
            confirmations: i64,
            height: u32,
            #[serde(rename = "nTx")]
            transactions: u32,
        }
        match self.call::<Found>("getblockheader", &[json!(hash), json!(true)]).await {
            Ok(found) if found.confirmations >= 1 => Ok(Header::Best { height: found.height, transactions: found.transactions }),
            Ok(_) => Ok(Header::Stale),
            Err(refused) if refused.is_not_found() => Ok(Header::Unknown),
            Err(error) => Err(error),
        }
    }

    /// What the node says of each block, asked in this order. A block for which it gives two different answers counts as
    /// unknown: it changed its best chain in between.
    pub async fn headers(&self, blocks: &[BlockHash]) -> Result<Headers, BitcoindError> {
        let mut headers = Headers::new();
        for hash in blocks {
            let header = self.header(hash).await?;
            if headers.insert(*hash, header).is_some_and(|before| before != header) {
                headers.insert(*hash, Header::Unknown);
            }
        }
        Ok(headers)
    }

    /// Hash of the best chain's block at `height`, or `None` above the tip.
    pub async fn hash_at(&self, height: u32) -> Result<Option<BlockHash>, BitcoindError> {
        match self.call("getblockhash", &[json!(height)]).await {
            Ok(hash) => Ok(Some(hash)),
            // "Block height out of range".
            Err(BitcoindError::Rpc { code: -8, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The whole block.
    pub async fn block(&self, hash: &BlockHash) -> Result<Block, BitcoindError> {
        let text: String = self.call("getblock", &[json!(hash), json!(0)]).await?;
        deserialize_hex(&text).map_err(|cause| nonsense("getblock", cause))
    }

    /// A transaction of the mempool, or `None` when it is not there.
    pub async fn unconfirmed(&self, txid: &Txid) -> Result<Option<Transaction>, BitcoindError> {
        match self.call::<String>("getrawtransaction", &[json!(txid), json!(false)]).await {
            Ok(text) => deserialize_hex(&text).map(Some).map_err(|cause| nonsense("getrawtransaction", cause)),
            Err(refused) if refused.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The fee rate to confirm within `target` blocks, satoshis per 1,000 virtual bytes. `None` when the node has none.
    pub async fn fee_rate(&self, target: u16) -> Result<Option<u64>, BitcoindError> {
        #[derive(Deserialize)]
        struct Estimate {
            #[serde(default, with = "bitcoin::amount::serde::as_btc::opt")]
            feerate: Option<Amount>,
        }
        let estimate: Estimate = self.call("estimatesmartfee", &[json!(target)]).await?;
        Ok(estimate.feerate.map(Amount::to_sat))
    }

    /// Asks whether the mempool would take the transaction, and gives it to it [PEG-20].
    pub async fn broadcast(&self, transaction: &Transaction) -> Result<Accepted, BitcoindError> {
        #[derive(Deserialize)]
        struct Test {
            #[serde(default)]
            allowed: bool,
            #[serde(default, rename = "reject-reason")]
            reject_reason: Option<String>,
        }
        let hex = json!(serialize_hex(transaction));
        let tests: Vec<Test> = self.call("testmempoolaccept", &[json!([hex])]).await?;
        let test = tests.into_iter().next().ok_or_else(|| nonsense("testmempoolaccept", "no answer"))?;
        let reason = test.reject_reason.unwrap_or_else(|| "no reason given".into());
        match (test.allowed, reason.as_str()) {
            (true, _) => {}
            // Sending it once more tells the node's peers again.
            (false, "txn-already-in-mempool") => {}
            (false, "txn-already-known") => return Ok(Accepted::Yes),
            (false, _) => return Ok(Accepted::No(reason)),
        }
        match self.call::<Txid>("sendrawtransaction", &[hex]).await {
            Ok(_) | Err(BitcoindError::Rpc { code: ALREADY_IN_CHAIN, .. }) => Ok(Accepted::Yes),
            Err(BitcoindError::Rpc { message, .. }) => Ok(Accepted::No(message)),
            Err(error) => Err(error),
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, arguments: &[Value]) -> Result<T, BitcoindError> {
        let client = self.client()?;
        let answer = tokio::time::timeout(self.config.timeout, client.call(method, arguments)).await;
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => self.explain(method, error),
            Err(_elapsed) => BitcoindError::Slow(self.config.url.clone()),
        };
        if !matches!(error, BitcoindError::Rpc { .. }) {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Err(error)
    }

    fn client(&self) -> Result<Arc<Client>, BitcoindError> {
        let mut cached = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = cached.as_ref() {
            return Ok(client.clone());
        }
        let url = &self.config.url;
        let client =
            Client::new_with_auth(url, self.auth()?).map_err(|source| BitcoindError::Away { url: url.clone(), source })?;
        let client = Arc::new(client);
        *cached = Some(client.clone());
        Ok(client)
    }

    fn auth(&self) -> Result<Auth, BitcoindError> {
        if let Some(path) = &self.config.cookie_file {
            let cookie = read_secret(path)?;
            let (user, password) = cookie.split_once(':').unwrap_or((&cookie, ""));
            return Ok(Auth::UserPass(user.to_owned(), password.to_owned()));
        }
        match (&self.config.user, &self.config.password_file) {
            (Some(user), Some(path)) => Ok(Auth::UserPass(user.clone(), read_secret(path)?)),
            _ => Ok(Auth::None),
        }
    }

    fn explain(&self, method: &str, error: ClientError) -> BitcoindError {
        let url = self.config.url.clone();
        match error {
            ClientError::JsonRpc(jsonrpc::Error::Rpc(rpc)) => {
                BitcoindError::Rpc { method: method.to_owned(), code: rpc.code, message: rpc.message }
            }
            ClientError::JsonRpc(jsonrpc::Error::Transport(ref cause)) if cause.to_string().contains("status: 401") => {
                BitcoindError::Forbidden(url)
            }
            ClientError::JsonRpc(jsonrpc::Error::Json(cause)) | ClientError::Json(cause) => nonsense(method, cause),
            other => BitcoindError::Away { url, source: other },
        }
    }
}

fn read_secret(path: &Path) -> Result<String, BitcoindError> {
    let text = std::fs::read_to_string(path).map_err(|source| BitcoindError::Secret { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn nonsense(method: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BitcoindError {
    BitcoindError::Nonsense { method: method.to_owned(), source: source.into() }
}
