//! Links between hosts: TCP under TLS 1.3 with client certificates from the cluster's own CA.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_rustls::TlsStream;

use super::Mesh;
use super::hello::{self, Dialed, Wire};
use super::refusals::Why;
use super::seeds::Seed;
use super::tls::{Certificates, roles_of};
use crate::config::MeshConfig;
use crate::exit::ActorError;

/// The name that every certificate of a mesh carries beside those of its roles.
const MESH_NAME: &str = "mesh.alys";

/// How often a dialer looks whether its link still stands. A map look-up.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often names and files are looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(2);
const DIAL_FIRST: Duration = Duration::from_millis(100);
/// A host that comes back is reached within this.
const DIAL_MOST: Duration = Duration::from_secs(1);
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);
/// Unacknowledged data older than this ends the connection.
const USER_TIMEOUT_MILLIS: u32 = 3_000;
/// Connections in their handshake at once: of all strangers, and of one address, so that one cannot use up the rest.
const MOST_HANDSHAKES: usize = 256;
const MOST_HANDSHAKES_OF_ONE: usize = 32;

pub(super) fn join(mesh: &Mesh, config: &MeshConfig, hidden: bool) -> Result<(), ActorError> {
    let certificates = Certificates::load(config)?;
    if let Some(address) = config.listen.filter(|_| !hidden) {
        let bound = std::net::TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        let listener = bound.map_err(|cause| {
            ActorError::Configuration(format!("cluster.mesh.listen {address}: {cause}; choose another port or end what uses it"))
        })?;
        tokio::spawn(accept(mesh.clone(), listener, certificates.clone()));
    }
    for seed in &config.seeds {
        tokio::spawn(follow(mesh.clone(), Seed::from(seed.as_str()), certificates.clone()));
    }
    Ok(())
}

async fn accept(mesh: Mesh, listener: TcpListener, certificates: Arc<Certificates>) {
    let all = Arc::new(Semaphore::new(MOST_HANDSHAKES));
    let greeting = Greeting::default();
    loop {
        let Ok(permit) = all.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let Some(guest) = greeting.enter(address.ip()) else {
                    mesh.links.refusals.count(Why::Crowd);
                    continue;
                };
                let (mesh, certificates) = (mesh.clone(), certificates.clone());
                tokio::spawn(async move {
                    let _in_handshake = (permit, guest);
                    if let Err(cause) = greet(&mesh, stream, &certificates).await {
                        tracing::debug!(%cause, %address, "link refused");
                    }
                });
            }
            Err(cause) => {
                tracing::warn!(%cause, "cannot accept a link");
                tokio::time::sleep(DIAL_FIRST).await;
            }
        }
    }
}

/// Handshakes under way by address.
#[derive(Clone, Default)]
struct Greeting(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

struct Guest(Greeting, IpAddr);

impl Greeting {
    fn enter(&self, address: IpAddr) -> Option<Guest> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = guests.entry(address).or_default();
        if *count >= MOST_HANDSHAKES_OF_ONE {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Guest(self.clone(), address))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = guests.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                guests.remove(&self.1);
            }
        }
    }
}

async fn greet(mesh: &Mesh, stream: TcpStream, certificates: &Certificates) -> io::Result<()> {
    tune(&stream)?;
    let authenticated = async {
        let stream = tokio::time::timeout(HANDSHAKE_DEADLINE, certificates.now().acceptor.accept(stream)).await??;
        proved(stream.into())
    };
    let wire = authenticated.await.inspect_err(|_| mesh.links.refusals.count(Why::Stranger))?;
    hello::accept(mesh, wire).await
}

/// Keeps one dialer for every address that a seed stands for.
async fn follow(mesh: Mesh, seed: Seed, certificates: Arc<Certificates>) {
    let mut dialers: BTreeMap<String, AbortHandle> = BTreeMap::new();
    loop {
        match seed.look_up().await {
            Ok(addresses) => {
                // An address that left the list keeps its link while that stands; nobody dials it again.
                dialers.retain(|address, dialer| {
                    let stays = addresses.contains(address);
                    if !stays {
                        dialer.abort();
                    }
                    stays
                });
                let new: BTreeSet<_> = addresses.into_iter().filter(|address| !dialers.contains_key(address)).collect();
                for address in new {
                    let dialer = tokio::spawn(dial(mesh.clone(), address.clone(), certificates.clone()));
                    dialers.insert(address, dialer.abort_handle());
                }
            }
            Err(cause) => tracing::debug!(%cause, ?seed, "cannot look up a seed"),
        }
        if matches!(seed, Seed::Process(_)) {
            return;
        }
        tokio::time::sleep(LOOK_UP_EVERY).await;
    }
}

/// Dials an address whenever it is not linked. What answers there may change with every restart, so the peer is known
/// only after the hello.
async fn dial(mesh: Mesh, address: String, certificates: Arc<Certificates>) {
    let mut pause = DIAL_FIRST;
    loop {
        let reached = hello::dial(&mesh, || connect(&address, &certificates)).await;
        pause = match reached {
            Ok(Dialed::Linked(peer)) => {
                peer.ended.cancelled().await;
                DIAL_FIRST
            }
            Ok(Dialed::Had(peer)) => {
                while mesh.links.has(peer) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                DIAL_FIRST
            }
            Err(cause) => {
                tracing::debug!(%cause, address, "cannot reach a seed");
                (pause * 2).min(DIAL_MOST)
            }
        };
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
    }
}

async fn connect(address: &str, certificates: &Certificates) -> io::Result<Wire<TlsStream<TcpStream>>> {
    let name = ServerName::try_from(MESH_NAME).map_err(io::Error::other)?;
    let connector = certificates.now().connector;
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        tune(&stream)?;
        connector.connect(name, stream).await
    };
    proved(tokio::time::timeout(HANDSHAKE_DEADLINE, connect).await??.into())
}

fn proved(stream: TlsStream<TcpStream>) -> io::Result<Wire<TlsStream<TcpStream>>> {
    let roles = roles_of(stream.get_ref().1.peer_certificates())?;
    Ok(Wire { stream, transport: "tls", roles: Some(roles), migrate: Ok })
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MILLIS)?;
    Ok(())
}
