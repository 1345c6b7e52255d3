//! The only door to the outside: TLS listener and gRPC service.

mod service;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alys_cluster::{ActorError, LocalSender, Remote};
use alys_proto::governance::governance_server::GovernanceServer;
use alys_proto::storage;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

pub use service::Outbound;

use crate::actor::Local;
use crate::config::Config;
use service::GovernanceService;

/// TCP connections at once, handshakes included. A federation has at most 20 members with one connection each.
const MAX_CONNECTIONS: usize = 64;
/// A handshake that takes longer is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Largest message of a member: signatures of a payout (1,600 × ~105 bytes) and records fit well.
const MAX_INCOMING_BYTES: usize = 1024 * 1024;
/// Largest message to a member: storage answers at most 8 MiB of blocks, or one block of at most 12 MiB.
const MAX_OUTGOING_BYTES: usize = 20 * 1024 * 1024;

/// A server that runs until this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Dropped: stop accepting, end all streams.
    _stop: watch::Sender<()>,
}

/// Loads the certificates and takes the port; the server then runs in its own tasks.
pub(crate) async fn serve(
    config: &Config,
    members: Vec<String>,
    storage: Remote<storage::Inbox>,
    local: LocalSender<Local>,
) -> Result<Server, ActorError> {
    let acceptor = tls::acceptor(&config.tls).map_err(|cause| ActorError::Configuration(cause.to_string()))?;
    let listener = TcpListener::bind(config.listen).await.map_err(|cause| {
        ActorError::Configuration(format!(
            "cannot listen on {} (stream.listen): {cause}; is the port taken by another program?",
            config.listen
        ))
    })?;
    let address = listener.local_addr().map_err(|cause| ActorError::Network(format!("own listening address: {cause}")))?;
    let (stop, stopped) = watch::channel(());
    let (handed_over, connections) = mpsc::channel(8);
    tokio::spawn(accept(listener, acceptor, handed_over, stopped.clone()));
    let service = GovernanceServer::new(GovernanceService::new(members, storage, local))
        .max_decoding_message_size(MAX_INCOMING_BYTES)
        .max_encoding_message_size(MAX_OUTGOING_BYTES);
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .max_concurrent_streams(16)
        .add_service(service);
    tokio::spawn(async move {
        let served = router.serve_with_incoming_shutdown(ReceiverStream::new(connections), gone(stopped)).await;
        if let Err(cause) = served {
            tracing::error!(%cause, "governance server ended");
        }
    });
    Ok(Server { address, _stop: stop })
}

type Accepted = Result<TlsStream<TcpStream>, std::io::Error>;

/// Accepts and shakes hands, each connection in its own task, so that a slow one holds up nobody.
async fn accept(
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    connections: mpsc::Sender<Accepted>,
    stopped: watch::Receiver<()>,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stopping = std::pin::pin!(gone(stopped));
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = &mut stopping => return,
        };
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopping => return,
        };
        let Ok((socket, peer)) = accepted else {
            // Out of file descriptors or the peer was gone already: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, connections) = (acceptor.clone(), connections.clone());
        tokio::spawn(async move {
            let _nodelay_is_only_latency = socket.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
                Ok(Ok(stream)) => {
                    let _server_stopping = connections.send(Ok(stream)).await;
                }
                Ok(Err(cause)) => tracing::debug!(%peer, %cause, "tls handshake failed"),
                Err(_elapsed) => tracing::debug!(%peer, "tls handshake took too long"),
            }
            drop(slot);
        });
    }
}

async fn gone(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}
