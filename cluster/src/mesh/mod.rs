//! The mesh: our own links under ractor's sessions.
//!
//! | between | transport | who is let in |
//! |---|---|---|
//! | processes of one host | Unix socket in the run folder | the same user (peer credentials) |
//! | hosts | TCP, TLS 1.3 both ways | certificates of the cluster's CA that name the claimed role |
//!
//! A link starts with one [`Hello`](alys_proto::cluster::Hello) each way; only then ractor's session (and its cookie) begins.
//! Of two processes the one that started later dials, so any start order works and no pair links twice.

mod link;
mod tcp;
mod unix;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use alys_proto::cluster::Link;
use ractor::{Actor as _, ActorRef};
use ractor_cluster::node::{NodeConnectionMode, NodeServer, NodeServerMessage};

use crate::config::ClusterConfig;
use crate::exit::ActorError;
use crate::identity::{Identity, Incarnation};

pub(crate) use unix::live_peers;

/// The largest body plus ractor's framing and our header.
const MAX_FRAME_BYTES: u64 = 24 * 1024 * 1024;

/// What every link of this process shares.
#[derive(Clone)]
pub(crate) struct Mesh {
    node: ActorRef<NodeServerMessage>,
    cluster_id: String,
    identity: Identity,
    links: Links,
}

/// The open links.
#[derive(Clone, Default)]
pub(crate) struct Links {
    open: Arc<Mutex<BTreeMap<Incarnation, (Identity, &'static str)>>>,
}

/// Takes its link off the list when the session drops it.
struct Open {
    links: Links,
    incarnation: Incarnation,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.links.lock().remove(&self.incarnation);
    }
}

impl Links {
    /// Claims the link to a peer; `None` when there is one.
    fn claim(&self, peer: &Identity, transport: &'static str) -> Option<Open> {
        let mut open = self.lock();
        if open.contains_key(&peer.incarnation) {
            return None;
        }
        open.insert(peer.incarnation, (peer.clone(), transport));
        Some(Open { links: self.clone(), incarnation: peer.incarnation })
    }

    pub(crate) fn has(&self, incarnation: Incarnation) -> bool {
        self.lock().contains_key(&incarnation)
    }

    pub(crate) fn list(&self) -> Vec<Link> {
        let describe = |(identity, transport): &(Identity, &'static str)| Link {
            role: identity.role.into(),
            incarnation: identity.incarnation.to_bytes(),
            transport: (*transport).into(),
        };
        self.lock().values().map(describe).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Incarnation, (Identity, &'static str)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts ractor's node server and our dialers and, unless `hidden`, our listeners.
pub(crate) async fn join(config: &ClusterConfig, identity: &Identity, hidden: bool) -> Result<(Mesh, JoinedFiles), ActorError> {
    let cookie = read_cookie(config)?;
    // Its own listener cannot be turned off: loopback, a free port, and a cookie that nobody outside holds.
    let server =
        NodeServer::new(0, cookie, identity.node_name(), crate::process::host(), None, Some(NodeConnectionMode::Isolated))
            .with_listen_addr(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
            .with_max_inbound_frame_size(MAX_FRAME_BYTES);
    let (node, _) = NodeServer::spawn(None, server, ())
        .await
        .map_err(|cause| ActorError::Temporary(format!("cannot start the mesh node: {cause}")))?;
    let mesh = Mesh { node, cluster_id: config.id.clone(), identity: identity.clone(), links: Links::default() };

    let files = unix::join(&mesh, &config.run_dir, hidden)?;
    if let Some(tcp_config) = &config.mesh {
        tcp::join(&mesh, tcp_config, hidden).await?;
    }
    Ok((mesh, files))
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

impl Mesh {
    pub(crate) const fn links(&self) -> &Links {
        &self.links
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
