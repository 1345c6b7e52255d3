//! From `kill -9` of a process to its successor under the same name: in the registry of a peer, and answering that peer.
//!
//! Both are processes of their own on the shell; the peer says on its standard output whom it has just reached. On one host
//! they meet over Unix sockets, as on two they do over TLS.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use alys::prepare::tls::{Authority, mesh_names};
use alys_cluster::testing::{Plain, free_port};
use alys_cluster::{ActorError, Cluster, ClusterConfig, Identity, MeshConfig, Remote, RoleActor};
use alys_proto::{Refused, Role, storage, sync};
use eyre::{OptionExt as _, WrapErr as _, ensure};

use super::ends;
use super::own::Own;
use super::times::Times;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the design allows for each.
const AIM: Duration = Duration::from_secs(2);

/// How the two meet.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Unix,
    Tls,
}

/// Measures over both transports and prints.
pub fn measure(restarts: usize) -> eyre::Result<()> {
    for (transport, name) in [(Transport::Unix, "Unix socket"), (Transport::Tls, "TLS")] {
        let times = Times::of(restart_often(transport, restarts)?)?;
        let within = times.within(AIM);
        println!("{:<37}{times}  within {AIM:?}: {within}", format!("killed → reached again, {name}"));
        ensure!(within == times.len(), "{} of {} took over {AIM:?}", times.len() - within, times.len());
    }
    Ok(())
}

fn restart_often(transport: Transport, restarts: usize) -> eyre::Result<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let place = Place::make(folder.path(), transport)?;
    let (_peer, reached) = place.start_peer()?;
    let mut role = place.start(Role::Storage)?;
    let mut known = BTreeSet::from([next(&reached)?]);
    let mut times = Vec::with_capacity(restarts);
    for _restart in 0..restarts {
        let killed = Instant::now();
        role.end()?;
        role = place.start(Role::Storage)?;
        while !known.insert(next(&reached)?) {}
        times.push(killed.elapsed());
    }
    Ok(times)
}

fn next(reached: &mpsc::Receiver<String>) -> eyre::Result<String> {
    reached.recv_timeout(PATIENCE).wrap_err("the peer did not reach it")
}

/// Where the two run.
struct Place<'a> {
    folder: &'a Path,
    /// The ports of role and peer on TCP.
    ports: Option<[u16; 2]>,
}

impl<'a> Place<'a> {
    fn make(folder: &'a Path, transport: Transport) -> eyre::Result<Self> {
        ends::write_cookie(folder)?;
        let ports = match transport {
            Transport::Unix => None,
            Transport::Tls => {
                let made = Authority::open(&folder.join("authority"), "bench", &mut Vec::new());
                let authority = made.map_err(|failure| eyre::eyre!("{failure}"))?;
                for role in [Role::Storage, Role::Sync] {
                    let names = mesh_names(&[role]);
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let written = authority.write(folder, role.name(), role.name(), &names, &mut Vec::new());
                    written.map_err(|failure| eyre::eyre!("{failure}"))?;
                }
                Some([free_port()?, free_port()?])
            }
        };
        Ok(Self { folder, ports })
    }

    fn start(&self, role: Role) -> eyre::Result<Own> {
        self.command(role)?.stdout(Stdio::null()).spawn().map(Own).wrap_err("cannot start a role")
    }

    /// The peer, and the incarnations that it reaches.
    fn start_peer(&self) -> eyre::Result<(Own, mpsc::Receiver<String>)> {
        let mut peer = self.command(Role::Sync)?.stdout(Stdio::piped()).spawn().map(Own).wrap_err("cannot start the peer")?;
        let lines = BufReader::new(peer.0.stdout.take().ok_or_eyre("its output is a pipe")?).lines();
        let (sender, reached) = mpsc::channel();
        // Ends with the peer's output, or with whoever listens.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok((peer, reached))
    }

    fn command(&self, role: Role) -> eyre::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("joiner").arg(role.name()).arg(self.folder).stdin(Stdio::null());
        command.args(self.ports.iter().flatten().map(u16::to_string));
        Ok(command)
    }
}

/// What the started processes run; never returns. `ports`: of role and peer, none on one host.
pub async fn join(role: Role, folder: &Path, ports: &[u16]) -> eyre::Result<()> {
    let mut config = ends::config(folder);
    if let [role_port, peer_port] = *ports {
        // Folders of their own, or they would meet on Unix sockets.
        config.run_dir = folder.join(format!("run-{role}"));
        let (own, other) = if role == Role::Storage { (role_port, peer_port) } else { (peer_port, role_port) };
        config.mesh = Some(MeshConfig {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], own))),
            seeds: vec![format!("127.0.0.1:{other}")],
            ca_file: folder.join("authority/ca.pem"),
            certificate_file: folder.join(format!("{role}.pem")),
            key_file: folder.join(format!("{role}.key")),
        });
    }
    let code = run(role, &config).await;
    std::process::exit(i32::from(code));
}

async fn run(role: Role, config: &ClusterConfig) -> u8 {
    let identity = Identity::new(role, role.name());
    match role {
        Role::Sync => alys_cluster::run(config, identity, peer).await,
        _ => alys_cluster::run(config, identity, |_cluster| Ok(Plain::new(head))).await,
    }
}

/// Takes the place of storage, the one role that waits for no other when it starts.
async fn head(message: storage::Inbox) -> Result<(), ActorError> {
    // What is not answered is refused.
    if let storage::Inbox::GetHead(_, reply) = message {
        reply.send(storage::Head::default());
    }
    Ok(())
}

fn peer(cluster: &Cluster) -> Result<impl RoleActor + use<>, ActorError> {
    tokio::spawn(watch(cluster.clone()));
    Ok(Plain::new(|_: sync::Inbox| std::future::ready(Ok(()))))
}

/// Says whom it reaches.
async fn watch(cluster: Cluster) {
    let mut changes = cluster.changes();
    let mut seen = BTreeSet::new();
    loop {
        for (identity, remote) in cluster.remotes::<storage::Inbox>() {
            if seen.insert(identity.incarnation) {
                tokio::spawn(reach(identity, remote));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Says so once it has answered; never when it dies before.
async fn reach(identity: Identity, remote: Remote<storage::Inbox>) {
    loop {
        match remote.ask(storage::GetHead {}).await {
            Ok(_) => return println!("{}", identity.incarnation),
            Err(Refused::Unreachable(_)) => return,
            Err(_not_ready) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}
