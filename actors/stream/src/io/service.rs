//! The gRPC service. It knows who speaks (the certificate's common name) and hands everything to the actor; the only
//! questions that it answers itself are for blocks, from storage.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alys_cluster::{LocalSender, Remote};
use alys_proto::Refused;
use alys_proto::governance::governance_server::Governance;
use alys_proto::governance::{FromMember, ToMember, from_member};
use alys_proto::storage::{self, Blocks, GetBlocks, GetHead, Head};
use futures::Stream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Response, Status, Streaming};

use super::tls;
use crate::actor::Local;
use crate::core::{ConnectionId, Input, Registration};

/// A member must register within this.
const REGISTRATION: Duration = Duration::from_secs(10);
/// Messages of one member that wait for the actor. More of them wait in the socket.
const IN_FLIGHT: usize = 64;
/// Messages to one member that wait for its socket: all unacknowledged ones (256) and as many others.
const OUTBOUND: usize = 512;
/// Blocks of one answer at most; storage also bounds the bytes.
const MAX_BLOCKS: u32 = 256;

/// Where messages to a member go. Dropping it ends the session in both directions.
pub struct Outbound {
    messages: mpsc::Sender<Result<ToMember, Status>>,
    _reading: oneshot::Sender<()>,
}

impl Outbound {
    /// Queues a message, or the status that ends the session.
    #[allow(clippy::result_large_err, reason = "tokio's own type; the message comes back")]
    pub(crate) fn try_send(&self, message: Result<ToMember, Status>) -> Result<(), TrySendError<Result<ToMember, Status>>> {
        self.messages.try_send(message)
    }
}

pub(super) struct GovernanceService {
    members: BTreeSet<String>,
    storage: Remote<storage::Inbox>,
    local: LocalSender<Local>,
    next: AtomicU64,
}

impl GovernanceService {
    pub(super) fn new(members: Vec<String>, storage: Remote<storage::Inbox>, local: LocalSender<Local>) -> Self {
        Self { members: members.into_iter().collect(), storage, local, next: AtomicU64::new(1) }
    }

    #[allow(clippy::result_large_err, reason = "tonic's own type")]
    fn authenticate<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        let certificates = info.and_then(TlsConnectInfo::peer_certs);
        let name = certificates.as_ref().and_then(|chain| chain.first()).and_then(tls::common_name);
        match name {
            Some(name) if self.members.contains(&name) => Ok(name),
            Some(name) => {
                Err(Status::permission_denied(format!("the certificate is for `{name}`, who is not a member of this federation")))
            }
            None => Err(Status::unauthenticated("the certificate has no single common name")),
        }
    }
}

#[tonic::async_trait]
impl Governance for GovernanceService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ToMember, Status>> + Send>>;

    async fn session(&self, request: Request<Streaming<FromMember>>) -> Result<Response<Self::SessionStream>, Status> {
        let certificate_name = self.authenticate(&request)?;
        let connection = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        tokio::spawn(receive(self.local.clone(), connection, certificate_name, request.into_inner(), outbound));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn get_blocks(&self, request: Request<GetBlocks>) -> Result<Response<Blocks>, Status> {
        self.authenticate(&request)?;
        let mut question = request.into_inner();
        question.limit = question.limit.min(MAX_BLOCKS);
        self.storage.ask(question).await.map(Response::new).map_err(|refused| to_status(&refused))
    }

    async fn get_head(&self, request: Request<GetHead>) -> Result<Response<Head>, Status> {
        self.authenticate(&request)?;
        self.storage.ask(request.into_inner()).await.map(Response::new).map_err(|refused| to_status(&refused))
    }
}

fn to_status(refused: &Refused) -> Status {
    if refused.is_passing() { Status::unavailable(refused.to_string()) } else { Status::internal(refused.to_string()) }
}

/// Reads one member's stream until it ends.
async fn receive(
    local: LocalSender<Local>,
    connection: ConnectionId,
    certificate_name: String,
    mut messages: Streaming<FromMember>,
    outbound: mpsc::Sender<Result<ToMember, Status>>,
) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let registration = match tokio::time::timeout(REGISTRATION, messages.message()).await {
        Ok(Ok(Some(FromMember { acknowledged, payload: Some(from_member::Payload::Register(register)), .. }))) => {
            Registration { register, acknowledged }
        }
        Ok(Ok(_)) => {
            let _gone = outbound.send(Err(Status::failed_precondition("the first message must be Register"))).await;
            return;
        }
        Ok(Err(_broken)) => return,
        Err(_elapsed) => {
            let _gone = outbound.send(Err(Status::deadline_exceeded("no registration"))).await;
            return;
        }
    };
    let (reading, mut ended) = oneshot::channel();
    let outbound = Outbound { messages: outbound, _reading: reading };
    local.send(Local::Session { outbound, connection, certificate_name, registration });
    loop {
        let message = tokio::select! {
            message = messages.message() => message,
            _dropped = &mut ended => break,
        };
        let Ok(Some(message)) = message else { break };
        // The actor gives the slot back when it has handled the message, so a flood waits in the socket.
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        local.send(Local::Input { input: Box::new(Input::Received { connection, message }), slot: Some(slot) });
    }
    local.send(Local::Input { input: Box::new(Input::Disconnected { connection }), slot: None });
}
