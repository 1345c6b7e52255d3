//! Links on one host: one socket file a process, named after it, in a folder that only our user can enter.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::hello::{self, Dialed, Wire};
use super::refusals::Why;
use super::{JoinedFiles, Mesh};
use crate::exit::ActorError;
use crate::identity::Identity;

/// How often a process looks for older ones it has no link to. Costs one `readdir` of about ten names.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Links that may be in their handshake at once: 64 is far above any cluster on one host.
const MOST_HANDSHAKES: usize = 64;

/// The run folder, held open: a socket's path may have 108 bytes, a path through the descriptor is short.
struct RunDir {
    folder: File,
    path: PathBuf,
}

impl RunDir {
    fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { folder: File::open(path)?, path: path.to_owned() })
    }

    fn socket(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd()))
    }
}

pub(super) fn join(mesh: &Mesh, path: &Path, hidden: bool) -> Result<JoinedFiles, ActorError> {
    let unusable = |cause: io::Error| ActorError::Configuration(format!("cluster.run_dir {}: {cause}", path.display()));
    let run_dir = Arc::new(RunDir::open(path).map_err(unusable)?);
    let files = if hidden {
        JoinedFiles(None)
    } else {
        let name = mesh.links.own().node_name();
        let (fresh, file) = (path.join(format!("{name}.new")), path.join(format!("{name}.sock")));
        // Peers look for sockets and remove those that refuse them, as one does between its bind and its listen: it gets its
        // name when it listens.
        let listener = UnixListener::bind(run_dir.socket(&format!("{name}.new"))).map_err(unusable)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).map_err(unusable)?;
        std::fs::rename(&fresh, &file).map_err(unusable)?;
        tokio::spawn(accept(mesh.clone(), listener));
        JoinedFiles(Some(file))
    };
    tokio::spawn(dial(mesh.clone(), run_dir, hidden));
    Ok(files)
}

async fn accept(mesh: Mesh, listener: UnixListener) {
    let handshakes = Arc::new(tokio::sync::Semaphore::new(MOST_HANDSHAKES));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let mesh = mesh.clone();
                tokio::spawn(async move {
                    let _in_handshake = permit;
                    let taken = match same_user(stream) {
                        Ok(wire) => hello::accept(&mesh, wire).await,
                        Err(cause) => {
                            mesh.links.refusals.count(Why::Stranger);
                            Err(cause)
                        }
                    };
                    if let Err(cause) = taken {
                        tracing::debug!(%cause, "local link refused");
                    }
                });
            }
            Err(cause) => {
                // Out of descriptors, most likely: breathe before trying again.
                tracing::warn!(%cause, "cannot accept a local link");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

async fn dial(mesh: Mesh, run_dir: Arc<RunDir>, hidden: bool) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let own = mesh.links.own();
        let to_dial = peers(&run_dir.path).into_iter().filter(|(_, peer)| {
            // Nobody can dial a hidden node, so it dials the younger ones too.
            (hidden || age(peer) < age(own)) && peer.incarnation != own.incarnation && !mesh.links.has(peer.incarnation)
        });
        // All at once: one that accepts and says nothing must not keep the others waiting.
        futures::future::join_all(to_dial.map(|(name, _)| reach(&mesh, &run_dir, name))).await;
    }
}

async fn reach(mesh: &Mesh, run_dir: &RunDir, name: String) {
    let connect = || async { same_user(UnixStream::connect(run_dir.socket(&name)).await?) };
    match hello::dial(mesh, connect).await {
        Ok(Dialed::Linked(_) | Dialed::Had(_)) => {}
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused && !answers(run_dir, &name) => {
            // Nobody listens on it any more: what a killed process left behind.
            let _somebody_else_did = std::fs::remove_file(run_dir.path.join(&name));
        }
        Err(cause) => tracing::debug!(%cause, name, "cannot reach a local peer"),
    }
}

fn answers(run_dir: &RunDir, name: &str) -> bool {
    let connected = std::os::unix::net::UnixStream::connect(run_dir.socket(name));
    !connected.is_err_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// The other end must be of our own user.
fn same_user(stream: UnixStream) -> io::Result<Wire<UnixStream>> {
    if stream.peer_cred()?.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a process of another user"));
    }
    let migrate = |stream: UnixStream| UnixStream::from_std(stream.into_std()?);
    Ok(Wire { stream, transport: "unix", roles: None, migrate })
}

/// Sockets in the folder, with the identity in their names.
fn peers(path: &Path) -> Vec<(String, Identity)> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Identity::parse(name.strip_suffix(".sock")?).map(|identity| (name, identity)))
        .collect()
}

/// Orders processes by start.
const fn age(identity: &Identity) -> (u64, u64) {
    (identity.started_millis, identity.incarnation.0)
}

/// Identities whose sockets accept connections right now: what a debug node must reach before its view is whole.
pub(crate) fn live_peers(path: &Path) -> Vec<Identity> {
    let Ok(run_dir) = RunDir::open(path) else { return Vec::new() };
    let lives = |name: &str| std::os::unix::net::UnixStream::connect(run_dir.socket(name)).is_ok();
    peers(path).into_iter().filter(|(name, _)| lives(name)).map(|(_, identity)| identity).collect()
}
