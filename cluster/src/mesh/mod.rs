//! The mesh: our own links, and ractor's sessions on them.
//!
//! | between | transport | who is let in |
//! |---|---|---|
//! | processes of one host | Unix socket in the run folder | the same user (peer credentials) |
//! | hosts | TCP, TLS 1.3 both ways | certificates of the cluster's CA that name the claimed role |
//!
//! A link is four streams, because a stream is the only thing that another one cannot hold up:
//!
//! | stream | carries | runs on |
//! |---|---|---|
//! | control | heartbeats, the inspector, lane control | the mesh's own thread: it answers while a role hangs |
//! | normal | lane normal | the main runtime |
//! | bulk | lane bulk, at most 16 questions under way | the main runtime |
//! | session | ractor_cluster's session and cookie: membership (`pg`) | the main runtime |
//!
//! A role is routed to when it is linked, as its certificate proves, *and* has joined its group. Of two processes on one host
//! the one that started later dials, so any start order works; between hosts whoever has the other as a seed.

pub(crate) mod channel;
mod frame;
mod hello;
pub(crate) mod link;
mod outbox;
mod pulse;
mod pump;
mod refusals;
mod room;
mod seeds;
mod session;
mod tcp;
mod tls;
mod unix;
#[cfg(test)]
mod vectors;
pub(crate) mod window;

use std::io;
use std::sync::Arc;

use ractor::{Actor as _, ActorRef};
use ractor_cluster::node::{NodeConnectionMode, NodeServer, NodeServerMessage};
use tokio::runtime::Handle;

use crate::config::ClusterConfig;
use crate::exit::ActorError;
use crate::port::Doors;

pub(crate) use frame::Manner;
pub(crate) use link::{Links, Peer};
pub(crate) use unix::live_peers;

/// Membership messages are small; a session that sends more is no peer of ours.
const MAX_SESSION_FRAME_BYTES: u64 = 1024 * 1024;

/// What every link of this process shares.
#[derive(Clone)]
pub(crate) struct Mesh {
    node: ActorRef<NodeServerMessage>,
    cluster_id: String,
    links: Links,
    doors: Arc<Doors>,
    main: Handle,
}

/// Starts ractor's node server and, on a thread of their own, our dialers and (unless `hidden`) our listeners.
pub(crate) async fn join(
    config: &ClusterConfig,
    links: &Links,
    doors: &Arc<Doors>,
    hidden: bool,
) -> Result<JoinedFiles, ActorError> {
    let cookie = read_cookie(config)?;
    let own = links.own();
    // Its own listener cannot be turned off: loopback, a free port, and a cookie that nobody outside holds.
    let server = NodeServer::new(0, cookie, own.node_name(), crate::process::host(), None, Some(NodeConnectionMode::Isolated))
        .with_listen_addr(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(MAX_SESSION_FRAME_BYTES);
    let (node, _) = NodeServer::spawn(None, server, ())
        .await
        .map_err(|cause| ActorError::Temporary(format!("cannot start the mesh node: {cause}")))?;
    let mesh = Mesh { node, cluster_id: config.id.clone(), links: links.clone(), doors: doors.clone(), main: Handle::current() };
    let own_thread = own_thread()?;
    let _on_it = own_thread.enter();
    let files = unix::join(&mesh, &config.run_dir, hidden)?;
    if let Some(tcp_config) = &config.mesh {
        tcp::join(&mesh, tcp_config, hidden)?;
    }
    Ok(files)
}

/// A runtime of one thread, for what must not wait for the role. It lives as long as the process.
fn own_thread() -> Result<Handle, ActorError> {
    let broken = |cause: io::Error| ActorError::Temporary(format!("cannot start the mesh's thread: {cause}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("mesh".into()).spawn(run).map_err(broken)?;
    Ok(handle)
}

/// Files of this process that go when it ends.
pub(crate) struct JoinedFiles(Option<std::path::PathBuf>);

impl Drop for JoinedFiles {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // After a kill -9 nobody does this: dialers remove a socket that refuses them.
            let _already_gone = std::fs::remove_file(socket);
        }
    }
}

fn read_cookie(config: &ClusterConfig) -> Result<String, ActorError> {
    let path = config.cookie_file.display();
    let read = crate::private::check(&config.cookie_file).and_then(|()| std::fs::read_to_string(&config.cookie_file));
    match read {
        Ok(cookie) if cookie.trim().len() >= 16 => Ok(cookie.trim().to_owned()),
        Ok(_) => Err(ActorError::Configuration(format!("cluster.cookie_file {path} must hold at least 16 characters"))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ActorError::Configuration(format!(
            "cluster.cookie_file {path} is missing: `alys up` makes one, or copy it from another host of this cluster"
        ))),
        Err(cause) => Err(ActorError::Configuration(format!("cluster.cookie_file {path}: {cause}"))),
    }
}
