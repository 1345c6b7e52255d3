//! A question from one role process to another, beside a bare `ractor_cluster` call between the same two processes.
//!
//! Both ends run in this binary: it starts itself again as the answering process. The baseline is what the crate gives
//! out of the box: its own TCP listener on loopback, its derive, its `call_t`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, ClusterConfig, Cx, Identity, RoleActor, Status};
use alys_proto::{Role, storage};
use eyre::{OptionExt as _, bail};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorClusterMessage;
use ractor_cluster::node::{NodeConnectionMode, NodeServer};

const GROUP: &str = "bare";
const COOKIE: &str = "0123456789abcdef0123456789abcdef";
const WARM_UP: usize = 500;
const CALLS: usize = 5_000;

/// Medians of one round, microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// `Remote::ask`.
    pub ours: f64,
    /// `ractor::call_t!`.
    pub bare: f64,
}

#[derive(RactorClusterMessage)]
enum Bare {
    #[rpc]
    GetHead(Vec<u8>, RpcReplyPort<Vec<u8>>),
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
        let Bare::GetHead(_, reply) = message;
        // The asker may have stopped waiting.
        let _nobody_waits = reply.send(vec![0; 40]);
        Ok(())
    }
}

struct Echo;

impl RoleActor for Echo {
    type Inbox = storage::Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: storage::Inbox) -> Result<(), ActorError> {
        if let storage::Inbox::GetHead(_, reply) = message {
            reply.send(storage::Head { height: 1, hash: vec![0; 32] });
        }
        Ok(())
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        Status::ready(Vec::new())
    }
}

/// What the started process runs; never returns.
pub async fn answer(folder: &Path, bare_port: u16) -> eyre::Result<()> {
    let _node = bare_node("answer", bare_port).await?;
    let (_echo, _) = BareEcho::spawn(None, BareEcho, ()).await.map_err(|cause| eyre::eyre!("{cause}"))?;
    let code = alys_cluster::run(&config(folder), Identity::new(Role::Storage, "storage"), |_cluster| Ok(Echo)).await;
    std::process::exit(i32::from(code));
}

/// Runs rounds against a started process, the two kinds of call in turn.
pub async fn measure(rounds: usize) -> eyre::Result<Vec<Round>> {
    let folder = tempfile::tempdir()?;
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, COOKIE)?;
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600))?;
    let bare_port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _answering = Answering::start(folder.path(), bare_port)?;

    let cluster = alys_cluster::attach(&config(folder.path())).await.map_err(|cause| eyre::eyre!("{cause}"))?;
    let ours = cluster.remote::<storage::Inbox>();
    ours.ask_within(Duration::from_secs(10), storage::GetHead {}).await?;
    let node = bare_node("ask", 0).await?;
    let bare = reach_bare(&node, bare_port).await?;

    let mut measured = Vec::new();
    for _ in 0..rounds {
        let mut times = Vec::with_capacity(CALLS);
        for call in 0..WARM_UP + CALLS {
            let begin = Instant::now();
            ours.ask(storage::GetHead {}).await?;
            if call >= WARM_UP {
                times.push(begin.elapsed());
            }
        }
        let ours = median(&mut times)?;
        times.clear();
        for call in 0..WARM_UP + CALLS {
            let begin = Instant::now();
            ractor::call_t!(bare, Bare::GetHead, 5_000, vec![0; 100]).map_err(|cause| eyre::eyre!("{cause}"))?;
            if call >= WARM_UP {
                times.push(begin.elapsed());
            }
        }
        measured.push(Round { ours, bare: median(&mut times)? });
    }
    Ok(measured)
}

fn median(times: &mut [Duration]) -> eyre::Result<f64> {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).ok_or_eyre("no call was measured")?;
    Ok(middle.as_secs_f64() * 1e6)
}

fn config(folder: &Path) -> ClusterConfig {
    let mut config =
        ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), ..ClusterConfig::default() };
    config.telemetry.filter = "warn".into();
    config
}

type Node = ActorRef<ractor_cluster::NodeServerMessage>;

async fn bare_node(name: &str, port: u16) -> eyre::Result<Node> {
    let server = NodeServer::new(port, COOKIE.into(), name.into(), "localhost".into(), None, Some(NodeConnectionMode::Isolated))
        .with_listen_addr(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    Ok(NodeServer::spawn(None, server, ()).await.map_err(|cause| eyre::eyre!("{cause}"))?.0)
}

async fn reach_bare(node: &Node, port: u16) -> eyre::Result<ActorRef<Bare>> {
    let give_up = Instant::now() + Duration::from_secs(10);
    ractor_cluster::client_connect(node, ("127.0.0.1", port)).await.map_err(|cause| eyre::eyre!("{cause}"))?;
    while Instant::now() < give_up {
        if let Some(member) = ractor::pg::get_members(&GROUP.into()).into_iter().next() {
            return Ok(member.into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the bare actor did not appear")
}

struct Answering(Child);

impl Answering {
    fn start(folder: &Path, bare_port: u16) -> eyre::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg("answer")
            .arg(folder)
            .arg(bare_port.to_string())
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // Already dead is as good.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}
