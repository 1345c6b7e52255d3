//! The listening side.

use std::net::SocketAddr;

use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::{BatchRequestConfig, Server, ServerConfig};
use tower_http::validate_request::ValidateRequestHeaderLayer;

use super::Config;
use super::auth::{AuthError, Basic};
use super::methods::{Asker, all};

/// Largest request: the largest proof in hex is 120 KiB.
const MAX_REQUEST_BYTES: u32 = 192 << 10;
/// Largest response.
const MAX_RESPONSE_BYTES: u32 = 16 << 10;
/// A pool has a few.
const MAX_CONNECTIONS: u32 = 64;

/// Why miners are not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The port is taken, or the address is not ours.
    #[error(
        "the JSON-RPC for miners cannot listen on {listen}: {source}. Stop what uses the port or set `chain.mining.listen` to another"
    )]
    Listen {
        /// What was asked for.
        listen: SocketAddr,
        /// From the operating system.
        source: std::io::Error,
    },
    /// User and password.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Two methods have one name.
    #[error("JSON-RPC methods: {0}")]
    Methods(#[from] RegisterMethodError),
}

/// The running server. It stops when this is dropped.
#[derive(Debug)]
pub(crate) struct ServerHandle {
    address: SocketAddr,
    server: jsonrpsee::server::ServerHandle,
}

impl ServerHandle {
    /// Where it listens, with the real port.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls, finishes those under way and closes the port.
    pub(crate) async fn stop(self) {
        // Already stopped is what we want.
        let _ = self.server.stop();
        self.server.stopped().await;
    }
}

/// Listens where the configuration says; `None` when it says nowhere.
pub(crate) async fn serve(config: &Config, asker: Asker) -> Result<Option<ServerHandle>, RpcError> {
    let Some(listen) = config.listen else { return Ok(None) };
    let methods = all(asker, config.fee_recipient)?;
    let auth = config.auth_file.as_deref().map(Basic::load).transpose()?;
    let settings = ServerConfig::builder()
        .http_only()
        .max_connections(MAX_CONNECTIONS)
        .max_request_body_size(MAX_REQUEST_BYTES)
        .max_response_body_size(MAX_RESPONSE_BYTES)
        .set_batch_request_config(BatchRequestConfig::Disabled)
        .set_tcp_no_delay(true)
        .build();
    let failed = |source| RpcError::Listen { listen, source };
    let layers = tower::ServiceBuilder::new().option_layer(auth.map(ValidateRequestHeaderLayer::custom));
    let server = Server::builder().set_config(settings).set_http_middleware(layers).build(listen).await.map_err(failed)?;
    let address = server.local_addr().map_err(failed)?;
    tracing::info!(%address, "json-rpc for miners listens");
    Ok(Some(ServerHandle { address, server: server.start(methods) }))
}
