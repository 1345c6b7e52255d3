//! Where wallets call: their calls are passed on to the execution client, and what they send is heard for gossip.
//!
//! HTTP only; subscriptions over WebSocket are the client's own.

use std::net::SocketAddr;
use std::time::Duration;

use alloy_primitives::Bytes as Transaction;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::rpc::{self, RpcError, Sent};

/// Largest answer.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// Longest call: traces may take their time.
const LONGEST_CALL: Duration = Duration::from_secs(60);

/// Passes calls on while it lives.
pub(super) struct Wallets {
    address: SocketAddr,
    end: watch::Sender<bool>,
    served: JoinHandle<()>,
}

#[derive(Clone)]
struct Passing {
    http: Client<HttpConnector, Body>,
    client: Uri,
    sent: Sent,
}

impl Wallets {
    /// Listens where the embedded engine would.
    ///
    /// # Errors
    /// The port is taken, or a setting is wrong.
    pub(super) async fn serve(config: &rpc::Config, client: Uri, sent: Sent) -> Result<Self, RpcError> {
        let listen = config.listen;
        let failed = |source| RpcError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let http = Client::builder(TokioExecutor::new()).build_http();
        let calls = usize::try_from(config.max_connections).unwrap_or(usize::MAX);
        let longest = usize::try_from(rpc::MAX_REQUEST_BYTES).unwrap_or(usize::MAX);
        let routes = Router::new()
            .route("/", post(pass))
            .layer(DefaultBodyLimit::max(longest))
            .layer(GlobalConcurrencyLimitLayer::new(calls))
            .layer(tower::ServiceBuilder::new().option_layer(rpc::cors(&config.cors)?))
            .with_state(Passing { http, client, sent });
        let (end, mut ended) = watch::channel(false);
        let served = tokio::spawn(async move {
            let until = async move {
                // An error is the end as well: whoever held us is gone.
                let _ = ended.wait_for(|ended| *ended).await;
            };
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(until).await {
                tracing::warn!(%error, "wallets are not served any more");
            }
        });
        tracing::info!(%address, "calls of wallets are passed on to the execution client");
        Ok(Self { address, end, served })
    }

    /// Where it listens, with the real port.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls and finishes those under way.
    pub(super) async fn stop(self) {
        let _ = self.end.send(true);
        if tokio::time::timeout(LONGEST_CALL, self.served).await.is_err() {
            tracing::warn!("a wallet's call was cut off");
        }
    }
}

async fn pass(State(passing): State<Passing>, question: Bytes) -> Response {
    match tokio::time::timeout(LONGEST_CALL, ask(&passing, question.clone())).await {
        Ok(Ok(answer)) => {
            for transaction in taken(&question, &answer) {
                passing.sent.tell(transaction);
            }
            ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
        }
        Ok(Err(reason)) => (StatusCode::BAD_GATEWAY, format!("the execution client does not answer: {reason}\n")).into_response(),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "the execution client does not answer in time\n").into_response(),
    }
}

async fn ask(passing: &Passing, question: Bytes) -> Result<Bytes, String> {
    let request = Request::post(passing.client.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(question))
        .map_err(|error| error.to_string())?;
    let answer = passing.http.request(request).await.map_err(|error| error.to_string())?;
    to_bytes(Body::new(answer.into_body()), MAX_RESPONSE_BYTES).await.map_err(|error| error.to_string())
}

/// Transactions that the client has just taken from a wallet.
fn taken(question: &[u8], answer: &[u8]) -> Vec<Transaction> {
    const METHOD: &str = "eth_sendRawTransaction";
    // Few calls send anything: the others are not read.
    if !question.windows(METHOD.len()).any(|part| part == METHOD.as_bytes()) {
        return Vec::new();
    }
    let list = |bytes: &[u8]| match serde_json::from_slice(bytes) {
        Ok(Value::Array(calls)) => calls,
        Ok(call) => vec![call],
        Err(_) => Vec::new(),
    };
    let answers = list(answer);
    let accepted = |id: &Value| answers.iter().any(|answer| answer.get("id") == Some(id) && answer["result"].is_string());
    let sent = |call: Value| {
        let mine = call["method"] == METHOD && call.get("id").is_some_and(accepted);
        mine.then(|| call["params"][0].as_str()?.parse().ok()).flatten()
    };
    list(question).into_iter().filter_map(sent).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn heard(question: &Value, answer: &Value) -> Vec<Transaction> {
        taken(question.to_string().as_bytes(), answer.to_string().as_bytes())
    }

    #[test]
    fn only_what_the_client_took_is_news() {
        let call =
            |id: u64, data: &str| json!({"jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [data]});
        let took = |id: u64| json!({"jsonrpc": "2.0", "id": id, "result": "0xab"});
        let not = |id: u64| json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "nonce too low"}});
        let one: Vec<Transaction> = vec![Transaction::from_static(&[1])];
        assert_eq!(heard(&call(1, "0x01"), &took(1)), one);
        assert_eq!(heard(&call(1, "0x01"), &not(1)), Vec::<Transaction>::new());
        assert_eq!(heard(&json!([call(1, "0x01"), call(2, "0x02")]), &json!([not(2), took(1)])), one, "in any order");
        assert_eq!(heard(&call(1, "not hex"), &took(1)), Vec::<Transaction>::new());
        assert_eq!(taken(b"eth_sendRawTransaction, no JSON", b"{}"), Vec::<Transaction>::new());
        let other = json!({"id": 1, "method": "eth_call", "params": ["eth_sendRawTransaction"]});
        assert_eq!(heard(&other, &took(1)), Vec::<Transaction>::new());
    }
}
