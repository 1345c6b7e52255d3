//! The listening side: HTTP and WebSocket on one port.

use std::net::SocketAddr;
use std::time::Duration;

use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::{BatchRequestConfig, PingConfig, Server, ServerConfig};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::subscribe::HexIds;
use super::{Config, Handle, methods};

/// Largest request body: 5 MiB, forty of the largest transactions in hex in one batch.
pub(crate) const MAX_REQUEST_BYTES: u32 = 5 << 20;
/// Largest response: 25 MiB, the logs of a full answer (see `logs`) with data of a usual size.
const MAX_RESPONSE_BYTES: u32 = 25 << 20;
/// Most calls in one batch.
const MAX_BATCH: u32 = 1_000;
/// Most subscriptions of one WebSocket.
const MAX_SUBSCRIPTIONS: u32 = 32;
/// A WebSocket that answers no ping for three of these is closed.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Why JSON-RPC does not listen.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The port is taken, or the address is not ours.
    #[error("JSON-RPC cannot listen on {listen}: {source}. Stop what uses the port or set `engine.rpc.listen` to another")]
    Listen {
        /// What was asked for.
        listen: SocketAddr,
        /// From the operating system.
        source: std::io::Error,
    },
    /// An origin is no header value.
    #[error("`engine.rpc.cors`: `{0}` is not an origin: write `*` or one like `https://wallet.example`")]
    Origin(String),
    /// Two methods have one name.
    #[error("JSON-RPC methods: {0}")]
    Methods(#[from] RegisterMethodError),
}

/// The running server. It stops when this is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    server: jsonrpsee::server::ServerHandle,
}

impl ServerHandle {
    /// Where it listens, with the real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls, finishes those under way and closes the port.
    pub async fn stop(self) {
        // Already stopped is what we want.
        let _ = self.server.stop();
        self.server.stopped().await;
    }
}

/// Listens and serves until the handle is stopped or dropped.
pub async fn serve(config: &Config, handle: Handle) -> Result<ServerHandle, RpcError> {
    let methods = methods::all(handle)?;
    let settings = ServerConfig::builder()
        .max_connections(config.max_connections)
        .max_request_body_size(MAX_REQUEST_BYTES)
        .max_response_body_size(MAX_RESPONSE_BYTES)
        .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
        .enable_ws_ping(PingConfig::new().ping_interval(PING_INTERVAL))
        .max_subscriptions_per_connection(MAX_SUBSCRIPTIONS)
        .set_id_provider(HexIds)
        .set_tcp_no_delay(true)
        .build();
    let listen = config.listen;
    let failed = |source| RpcError::Listen { listen, source };
    let server = Server::builder()
        .set_config(settings)
        .set_http_middleware(tower::ServiceBuilder::new().option_layer(cors(&config.cors)?))
        .build(listen)
        .await
        .map_err(failed)?;
    let address = server.local_addr().map_err(failed)?;
    tracing::info!(%address, "json-rpc listens");
    Ok(ServerHandle { address, server: server.start(methods) })
}

/// Headers for web pages. No credentials are involved, so methods and headers need no list.
pub(crate) fn cors(origins: &[String]) -> Result<Option<CorsLayer>, RpcError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let layer = CorsLayer::new().allow_methods(Any).allow_headers(Any);
    if origins.iter().any(|origin| origin == "*") {
        return Ok(Some(layer.allow_origin(Any)));
    }
    let mut allowed = Vec::with_capacity(origins.len());
    for origin in origins {
        allowed.push(origin.parse().map_err(|_| RpcError::Origin(origin.clone()))?);
    }
    Ok(Some(layer.allow_origin(AllowOrigin::list(allowed))))
}
