//! Calls of an execution client.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy_consensus::{Header, ReceiptEnvelope};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV3, ForkchoiceState, PayloadAttributes, PayloadId};
use jsonrpsee::core::client::{ClientT as _, Error};
use jsonrpsee::core::traits::ToRpcParams;
use jsonrpsee_http_client::transport::Error as TransportError;
use jsonrpsee_http_client::{HttpBackend, HttpClient, HttpClientBuilder, RpcLogger, RpcService};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Config;
use super::answer::{BuiltPayload, ForkchoiceUpdated, LogPlace, PayloadStatus, ReceiptAnswer, TransactionHashes};
use super::token::{Authorized, Token};
use crate::core::burns::RequestPegOut;
use alloy_sol_types::SolEvent as _;

/// Largest answer: receipts of a full block, with room.
const MAX_ANSWER: u32 = 64 << 20;
/// Largest question: a full payload in hex.
const MAX_QUESTION: u32 = 32 << 20;

/// Why a call has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It does not answer: away, overloaded, starting.
    #[error("the execution client at {url} does not answer: {reason}")]
    Away {
        /// Which of its addresses.
        url: String,
        /// What happens instead.
        reason: String,
    },
    /// It does not take our token.
    #[error(
        "the execution client at {url} refuses our token (HTTP {status}): start it with the file that `engine.client.jwt_file` names, and compare the clocks of both hosts"
    )]
    Unauthorized {
        /// Which of its addresses.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// It answers with an error.
    #[error("{method}: the execution client says: {message} ({code})")]
    Said {
        /// What was called.
        method: &'static str,
        /// JSON-RPC error code.
        code: i32,
        /// Its words.
        message: String,
    },
    /// It answers with something else than the method's answer.
    #[error("{method}: the execution client's answer cannot be read: {reason}")]
    Unreadable {
        /// What was called.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

type Http = HttpClient<RpcLogger<RpcService<Authorized<HttpBackend>>>>;

/// One address of the client.
#[derive(Clone)]
struct Door {
    url: String,
    http: Http,
}

/// The client's two addresses.
#[derive(Clone)]
pub struct Client {
    engine: Door,
    eth: Door,
}

impl Door {
    fn open(url: &str, timeout: Duration, token: Token) -> Result<Self, String> {
        let builder = HttpClientBuilder::new()
            .request_timeout(timeout)
            .max_request_size(MAX_QUESTION)
            .max_response_size(MAX_ANSWER)
            .set_http_middleware(tower::ServiceBuilder::new().layer(token));
        let http = builder.build(url).map_err(|error| format!("`{url}` is not an address to call: {error}"))?;
        Ok(Self { url: url.to_owned(), http })
    }

    async fn call<T: DeserializeOwned>(&self, method: &'static str, arguments: impl ToRpcParams + Send) -> Result<T, CallError> {
        self.http.request(method, arguments).await.map_err(|error| self.failure(method, error))
    }

    fn failure(&self, method: &'static str, error: Error) -> CallError {
        let url = self.url.clone();
        match error {
            Error::Call(said) => CallError::Said { method, code: said.code(), message: said.message().to_owned() },
            Error::ParseError(error) => CallError::Unreadable { method, reason: error.to_string() },
            Error::Transport(error) => match error.downcast_ref::<TransportError>() {
                Some(TransportError::Rejected { status_code: status @ (401 | 403) }) => {
                    CallError::Unauthorized { url, status: *status }
                }
                _ => CallError::Away { url, reason: with_causes(&*error) },
            },
            other => CallError::Away { url, reason: other.to_string() },
        }
    }
}

/// An error with what is behind it: `hyper` says only "client error" itself.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let shown = cause.to_string();
        if !text.contains(&shown) {
            text.push_str(": ");
            text.push_str(&shown);
        }
        next = cause.source();
    }
    text
}

impl Client {
    /// Calls nothing yet.
    ///
    /// # Errors
    /// Addresses or secret are wrong: what to do.
    pub fn new(config: &Config) -> Result<Self, String> {
        let jwt_file = config.jwt_file.as_deref().ok_or("set `engine.client.jwt_file` to the secret of the execution client")?;
        Ok(Self {
            engine: Door::open(&config.engine_url, config.timeout, Token::read(jwt_file)?)?,
            eth: Door::open(&config.rpc_url, config.timeout, Token::none())?,
        })
    }

    /// Its name and version.
    pub(super) async fn version(&self) -> Result<String, CallError> {
        self.eth.call("web3_clientVersion", json!([]).into_params()).await
    }

    /// Methods of the Engine API that it has.
    pub(super) async fn capabilities(&self, ours: &[&str]) -> Result<BTreeSet<String>, CallError> {
        self.engine.call("engine_exchangeCapabilities", json!([ours]).into_params()).await
    }

    pub(super) async fn chain_id(&self) -> Result<u64, CallError> {
        self.eth.call("eth_chainId", json!([]).into_params()).await.map(|id: U64| id.to())
    }

    /// Judges and executes a payload; keeps it when it is valid.
    pub(super) async fn new_payload(&self, payload: &ExecutionPayloadV3, root: B256) -> Result<PayloadStatus, CallError> {
        self.engine.call("engine_newPayloadV3", json!([payload, [], root]).into_params()).await
    }

    /// Names the head, and what is to be built upon it.
    pub(super) async fn forkchoice(
        &self,
        state: ForkchoiceState,
        attributes: Option<PayloadAttributes>,
    ) -> Result<ForkchoiceUpdated, CallError> {
        self.engine.call("engine_forkchoiceUpdatedV3", json!([state, attributes]).into_params()).await
    }

    pub(super) async fn payload(&self, id: PayloadId) -> Result<BuiltPayload, CallError> {
        self.engine.call("engine_getPayloadV3", json!([id]).into_params()).await
    }

    /// A block's header by number. Some clients have an error for a block that is not there.
    pub(super) async fn header_by_number(&self, number: BlockNumberOrTag) -> Result<Option<(B256, Header)>, CallError> {
        self.header("eth_getBlockByNumber", json!([number, false])).await
    }

    /// A block's header by hash.
    pub(super) async fn header_by_hash(&self, hash: B256) -> Result<Option<(B256, Header)>, CallError> {
        self.header("eth_getBlockByHash", json!([hash, false])).await
    }

    async fn header(&self, method: &'static str, arguments: serde_json::Value) -> Result<Option<(B256, Header)>, CallError> {
        let answer = self.eth.call(method, arguments.into_params()).await;
        let header: alloy_rpc_types_eth::Header = match answer {
            Ok(Some(header)) => header,
            Ok(None) | Err(CallError::Said { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let actual = header.inner.hash_slow();
        if actual != header.hash {
            let reason = format!("a header with the hash {actual} is said to be {}", header.hash);
            return Err(CallError::Unreadable { method, reason });
        }
        Ok(Some((actual, header.inner)))
    }

    /// Hashes of a block's transactions, in order.
    pub(super) async fn transactions(&self, hash: B256) -> Result<Vec<B256>, CallError> {
        let block: Option<TransactionHashes> = self.eth.call("eth_getBlockByHash", json!([hash, false]).into_params()).await?;
        Ok(block.unwrap_or_default().transactions)
    }

    /// Receipts of a block that the client has executed, or why it does not show them.
    pub(super) async fn receipts(&self, hash: B256, number: u64) -> Result<Result<Vec<ReceiptEnvelope>, String>, CallError> {
        let method = "eth_getBlockReceipts";
        let mut reason = String::new();
        // Reth shows a block that is not yet head as the pending one only; EthereumJS 0.10.5 knows no block by its hash here.
        for block in [json!(hash), json!(U64::from(number)), json!("pending")] {
            let answer: Option<Vec<ReceiptAnswer>> = match self.eth.call(method, json!([block]).into_params()).await {
                Ok(answer) => answer,
                Err(CallError::Said { message, .. }) => {
                    reason.push_str(&format!("{block}: {message}; "));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(receipts) = answer else {
                reason.push_str(&format!("{block}: not known; "));
                continue;
            };
            if receipts.is_empty() || receipts.iter().any(|receipt| receipt.block_hash() != hash) {
                reason.push_str(&format!("{block}: {} receipts of something else; ", receipts.len()));
                continue;
            }
            let receipts: Option<Vec<_>> = receipts.into_iter().map(ReceiptAnswer::receipt).collect();
            let unknown = || CallError::Unreadable { method, reason: "a receipt of an unknown type".into() };
            return receipts.ok_or_else(unknown).map(Ok);
        }
        Ok(Err(reason))
    }

    /// Numbers of blocks with burns, both ends included.
    pub(super) async fn burn_blocks(&self, from: u64, to: u64) -> Result<BTreeSet<u64>, CallError> {
        let filter = json!([{
            "fromBlock": U64::from(from), "toBlock": U64::from(to),
            "address": alys_blocks::BRIDGE_CONTRACT, "topics": [RequestPegOut::SIGNATURE_HASH],
        }]);
        let places: Vec<LogPlace> = self.eth.call("eth_getLogs", filter.into_params()).await?;
        Ok(places.into_iter().map(|place| place.block_number.to()).collect())
    }

    pub(super) async fn balance(&self, address: Address) -> Result<U256, CallError> {
        self.eth.call("eth_getBalance", json!([address, "latest"]).into_params()).await
    }

    /// Gives a transaction to the client's pool.
    pub(super) async fn send(&self, transaction: &Bytes) -> Result<B256, CallError> {
        self.eth.call("eth_sendRawTransaction", json!([transaction]).into_params()).await
    }
}

/// JSON arrays as arguments.
trait IntoParams {
    fn into_params(self) -> Arguments;
}

impl IntoParams for serde_json::Value {
    fn into_params(self) -> Arguments {
        Arguments(self)
    }
}

struct Arguments(serde_json::Value);

impl ToRpcParams for Arguments {
    fn to_rpc_params(self) -> Result<Option<Box<serde_json::value::RawValue>>, serde_json::Error> {
        serde_json::value::to_raw_value(&self.0).map(Some)
    }
}
