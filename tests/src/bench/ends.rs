//! The answering ends of [`super::call`], and how they are reached.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use alys_cluster::testing::Plain;
use alys_cluster::{ActorError, ClusterConfig, Identity};
use alys_proto::common::CommittedBlock;
use alys_proto::governance::governance_client::GovernanceClient;
use alys_proto::governance::governance_server::{Governance as Service, GovernanceServer};
use alys_proto::governance::{FromMember, ToMember};
use alys_proto::{Role, network, storage};
use eyre::bail;
use futures::Stream;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorClusterMessage;
use ractor_cluster::node::{NodeConnectionMode, NodeServer};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Streaming};

const GROUP: &str = "bare";
const COOKIE: &str = "0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(10);

/// The tonic client.
pub(super) type Governance = GovernanceClient<Channel>;

#[derive(RactorClusterMessage)]
pub(super) enum Bare {
    #[rpc]
    GetHead(Vec<u8>, RpcReplyPort<Vec<u8>>),
    Tell(Vec<u8>),
}

struct BareEcho;

impl Actor for BareEcho {
    type Msg = Bare;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Bare>, (): ()) -> Result<(), ActorProcessingErr> {
        ractor::pg::join(GROUP.into(), vec![myself.get_cell()]);
        Ok(())
    }

    async fn handle(&self, _myself: ActorRef<Bare>, message: Bare, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if let Bare::GetHead(_, reply) = message {
            // The asker may have stopped waiting.
            let _nobody_waits = reply.send(vec![0; 40]);
        }
        Ok(())
    }
}

/// Answers every question at once.
pub(super) async fn echo(message: network::Inbox) -> Result<(), ActorError> {
    match message {
        network::Inbox::GetPeers(_, reply) => {
            reply.send(network::Peers { local_peer_id: "d".repeat(40), ..network::Peers::default() });
        }
        network::Inbox::ParallelBlockDownloadRequest(_, reply) => {
            let block = CommittedBlock { block: vec![7; super::lanes::BATCH_BYTES], ..CommittedBlock::default() };
            reply.send(network::DownloadedBlocks { blocks: vec![block], peer: String::new() });
        }
        _ => {}
    }
    Ok(())
}

/// Runs the network role of a bench: what it does with a message. Never returns.
pub(super) async fn be_network<D>(
    config: &ClusterConfig,
    handle: impl FnMut(network::Inbox) -> D + Send + 'static,
) -> eyre::Result<()>
where
    D: Future<Output = Result<(), ActorError>> + Send + 'static,
{
    let identity = Identity::new(Role::Network, "network");
    let code = alys_cluster::run(config, identity, |_cluster| Ok(Plain::new(handle))).await;
    std::process::exit(i32::from(code));
}

struct TonicEcho;

type Answers = Pin<Box<dyn Stream<Item = Result<ToMember, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl Service for TonicEcho {
    type SessionStream = Answers;

    async fn session(&self, request: Request<Streaming<FromMember>>) -> Result<Response<Answers>, tonic::Status> {
        let mut messages = request.into_inner();
        let answer = async move {
            while messages.message().await?.is_some() {}
            Ok(ToMember::default())
        };
        Ok(Response::new(Box::pin(futures::stream::once(answer))))
    }

    async fn get_blocks(&self, _: Request<storage::GetBlocks>) -> Result<Response<storage::Blocks>, tonic::Status> {
        Err(tonic::Status::unimplemented("not measured"))
    }

    async fn get_head(&self, _: Request<storage::GetHead>) -> Result<Response<storage::Head>, tonic::Status> {
        Ok(Response::new(storage::Head { height: 1, hash: vec![0; 40] }))
    }
}

/// What the started process runs; never returns.
pub async fn answer(folder: &Path, bare_port: u16, tonic_port: u16) -> eyre::Result<()> {
    let _node = bare_node("answer", bare_port).await?;
    let (_echo, _) = BareEcho::spawn(None, BareEcho, ()).await.map_err(|cause| eyre::eyre!("{cause}"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, tonic_port));
    tokio::spawn(Server::builder().tcp_nodelay(true).add_service(GovernanceServer::new(TonicEcho)).serve(address));
    be_network(&config(folder), echo).await
}

pub(super) fn write_cookie(folder: &Path) -> eyre::Result<()> {
    let cookie = folder.join("cookie");
    std::fs::write(&cookie, COOKIE)?;
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

pub(super) fn config(folder: &Path) -> ClusterConfig {
    let mut config =
        ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), ..ClusterConfig::default() };
    config.telemetry.filter = "warn".into();
    config
}

pub(super) async fn ask_bare(bare: &ActorRef<Bare>) -> eyre::Result<()> {
    let answer = ractor::call_t!(bare, Bare::GetHead, 60_000, vec![0; 100]);
    answer.map(drop).map_err(|cause| eyre::eyre!("{cause}"))
}

async fn bare_node(name: &str, port: u16) -> eyre::Result<ActorRef<ractor_cluster::NodeServerMessage>> {
    let server = NodeServer::new(port, COOKIE.into(), name.into(), "localhost".into(), None, Some(NodeConnectionMode::Isolated))
        .with_listen_addr(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(NodeServer::spawn(None, server, ()).await.map_err(|cause| eyre::eyre!("{cause}"))?.0)
}

pub(super) async fn reach_bare(port: u16) -> eyre::Result<ActorRef<Bare>> {
    let node = bare_node("ask", 0).await?;
    ractor_cluster::client_connect(&node, ("127.0.0.1", port)).await.map_err(|cause| eyre::eyre!("{cause}"))?;
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up {
        if let Some(member) = ractor::pg::get_members(&GROUP.into()).into_iter().next() {
            return Ok(member.into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the bare actor did not appear")
}

pub(super) async fn reach_tonic(port: u16) -> eyre::Result<Governance> {
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true).connect().await?;
    Ok(GovernanceClient::new(channel))
}
