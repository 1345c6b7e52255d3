//! How a stream begins: hello both ways, the dialer says whether it goes on, the acceptor whether it takes it.
//!
//! ```text
//! dialer   ── hello ─▶             ◀─ hello ── acceptor
//! dialer   ── go ────▶             ◀─ taken ── acceptor      one byte each
//! ```
//! Of the four streams of a link the control stream comes first and claims the link; the session comes last and completes it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alys_proto::cluster::{Hello, hello};
use alys_proto::{Lane, Message as _, Role, SCHEMA};
use ractor_cluster::node::NodeServerMessage;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::link::Peer;
use super::refusals::Why;
use super::session::Session;
use super::{Mesh, pump};
use crate::identity::{Identity, Incarnation};

/// A stranger that says nothing costs us this long.
const DEADLINE: Duration = Duration::from_secs(2);

/// A hello is about 120 bytes.
const MAX_BYTES: u32 = 1_024;

const GO: u8 = 1;
const TAKEN: u8 = 2;

/// A connected stream of any transport.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Turns a stream into one of the main runtime, where the transport can.
pub(super) type Move<S> = fn(S) -> io::Result<S>;

/// What a transport knows of a stream.
pub(super) struct Wire<S> {
    pub(super) stream: S,
    /// `unix` or `tls`.
    pub(super) transport: &'static str,
    /// Roles that the peer has proved it may claim; `None`: any.
    pub(super) roles: Option<Vec<Role>>,
    pub(super) migrate: Move<S>,
}

/// How a dialed link ended up.
pub(super) enum Dialed {
    /// It stands.
    Linked(Arc<Peer>),
    /// There is a link to that peer already.
    Had(Incarnation),
}

/// Dials the four streams of a link, one after the other.
pub(super) async fn dial<S, F>(mesh: &Mesh, connect: impl Fn() -> F) -> io::Result<Dialed>
where
    S: Stream,
    F: Future<Output = io::Result<Wire<S>>>,
{
    let link = rand::random();
    let mut wire = connect().await?;
    let (identity, hello) = within(greet(mesh, &mut wire, link, hello::Stream::Control)).await?;
    let incarnation = identity.incarnation;
    let Some(peer) = mesh.links.claim(identity, link, true, wire.transport, hello.told_window) else {
        return Ok(Dialed::Had(incarnation));
    };
    let made = async {
        within(go_on(&mut wire.stream)).await?;
        attach(mesh, &peer, hello::Stream::Control, wire)?;
        for stream in [hello::Stream::Normal, hello::Stream::Bulk, hello::Stream::Session] {
            let mut wire = connect().await?;
            let (same, _) = within(greet(mesh, &mut wire, link, stream)).await?;
            if same.incarnation != incarnation {
                return Err(refused("another process answers now"));
            }
            within(go_on(&mut wire.stream)).await?;
            attach(mesh, &peer, stream, wire)?;
        }
        Ok(())
    };
    if let Err(cause) = made.await {
        peer.end("not completed");
        return Err(cause);
    }
    Ok(Dialed::Linked(peer))
}

async fn go_on<S: Stream>(stream: &mut S) -> io::Result<()> {
    stream.write_u8(GO).await?;
    stream.flush().await?;
    match stream.read_u8().await? {
        TAKEN => Ok(()),
        _ => Err(refused("the peer did not take the stream")),
    }
}

/// Takes a stream that somebody dialed, or counts it as turned away.
pub(super) async fn accept<S: Stream>(mesh: &Mesh, wire: Wire<S>) -> io::Result<()> {
    take(mesh, wire).await.inspect_err(|cause| {
        // Counted where it was seen, which may also be at our own dialing.
        if cause.kind() != io::ErrorKind::PermissionDenied {
            mesh.links.refusals.count(Why::Unfit);
        }
    })
}

async fn take<S: Stream>(mesh: &Mesh, mut wire: Wire<S>) -> io::Result<()> {
    let (identity, hello) = within(async {
        let greeted = greet(mesh, &mut wire, 0, hello::Stream::Control).await?;
        if wire.stream.read_u8().await? != GO {
            return Err(refused("it did not go on"));
        }
        Ok(greeted)
    })
    .await?;
    let stream = hello::Stream::try_from(hello.stream).map_err(|_| refused("it wants an unknown stream"))?;
    let incarnation = identity.incarnation;
    let peer = match stream {
        hello::Stream::Control => mesh.links.claim(identity, hello.link, false, wire.transport, hello.told_window),
        _ => mesh.links.begun(incarnation, hello.link),
    };
    let peer = peer.ok_or_else(|| refused("another link to it stands"))?;
    let taken = async {
        within(async {
            wire.stream.write_u8(TAKEN).await?;
            wire.stream.flush().await
        })
        .await?;
        attach(mesh, &peer, stream, wire)
    };
    taken.await.inspect_err(|_| peer.end("not completed"))
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(DEADLINE, work).await.map_err(|_elapsed| refused("it said nothing in time"))?
}

/// Gives a stream to its link.
fn attach<S: Stream>(mesh: &Mesh, peer: &Arc<Peer>, stream: hello::Stream, wire: Wire<S>) -> io::Result<()> {
    match stream {
        // Heartbeats and the inspector stay on the mesh's own thread, where a busy role cannot delay them.
        hello::Stream::Control => {
            pump::run(mesh, peer, Lane::Control, wire.stream);
            pump::beat(peer);
        }
        hello::Stream::Normal | hello::Stream::Bulk => {
            let lane = if stream == hello::Stream::Normal { Lane::Normal } else { Lane::Bulk };
            let _in_main = mesh.main.enter();
            pump::run(mesh, peer, lane, (wire.migrate)(wire.stream)?);
        }
        hello::Stream::Session => {
            let _in_main = mesh.main.enter();
            let session = Session::new((wire.migrate)(wire.stream)?, peer.clone());
            mesh.node
                .cast(NodeServerMessage::ConnectionOpenedExternal { stream: Box::new(session), is_server: !peer.was_dialed() })
                .map_err(|_stopped| refused("this process is ending"))?;
            peer.complete();
        }
    }
    Ok(())
}

/// Exchanges hellos and checks the peer's.
async fn greet<S: Stream>(mesh: &Mesh, wire: &mut Wire<S>, link: u64, kind: hello::Stream) -> io::Result<(Identity, Hello)> {
    let own = mesh.links.own();
    let ours = Hello {
        cluster_id: mesh.cluster_id.clone(),
        role: own.role.into(),
        incarnation: own.incarnation.to_bytes(),
        schema: SCHEMA,
        pid: std::process::id(),
        instance: own.instance.clone(),
        started_unix_millis: own.started_millis,
        link,
        stream: kind.into(),
        told_window: mesh.links.told_window,
    };
    let hello = exchange(&mut wire.stream, &ours.encode_to_vec()).await?;
    if hello.cluster_id != mesh.cluster_id {
        return Err(refused(&format!("it belongs to cluster `{}`", hello.cluster_id)));
    }
    // A rolling upgrade goes from one schema to the next; what lies further apart was never tried together.
    if hello.schema.abs_diff(SCHEMA) > 1 {
        return Err(refused(&format!("its message schema is {}, ours is {SCHEMA}", hello.schema)));
    }
    let role = Role::try_from(hello.role).unwrap_or(Role::Unspecified);
    if wire.roles.as_ref().is_some_and(|proved| !proved.contains(&role)) {
        mesh.links.refusals.count(Why::Rogue);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("its certificate does not allow the role {role}")));
    }
    let incarnation = Incarnation::from_bytes(&hello.incarnation).ok_or_else(|| refused("its incarnation is malformed"))?;
    if incarnation == own.incarnation {
        return Err(refused("it is this process"));
    }
    let identity = Identity { role, instance: hello.instance.clone(), incarnation, started_millis: hello.started_unix_millis };
    Ok((identity, hello))
}

async fn exchange<S: Stream>(stream: &mut S, ours: &[u8]) -> io::Result<Hello> {
    let length = u32::try_from(ours.len()).map_err(|_| refused("our own hello is too long"))?;
    stream.write_u32(length).await?;
    stream.write_all(ours).await?;
    stream.flush().await?;
    let length = stream.read_u32().await?;
    if length > MAX_BYTES {
        return Err(refused("its hello is too long"));
    }
    let mut theirs = vec![0; usize::try_from(length).map_err(|_| refused("its hello is too long"))?];
    stream.read_exact(&mut theirs).await?;
    Hello::decode(theirs.as_slice()).map_err(|cause| refused(&format!("its hello is malformed: {cause}")))
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::duplex;

    use super::*;

    /// Length and fields of a [`Hello`], as released programs say it.
    const RELEASED: &str = "00000032 0a04616c7973 1002 1a080102030405060708 2001 28b960 320773746f72616765 3880d0dfb4ab33 \
                            418877665544332211 4802";

    fn released() -> Hello {
        Hello {
            cluster_id: "alys".into(),
            role: Role::Storage.into(),
            incarnation: vec![1, 2, 3, 4, 5, 6, 7, 8],
            schema: 1,
            pid: 12_345,
            instance: "storage".into(),
            started_unix_millis: 1_764_000_000_000,
            link: 0x1122_3344_5566_7788,
            stream: hello::Stream::Bulk.into(),
            // Released programs say none.
            told_window: 0,
        }
    }

    #[tokio::test]
    async fn a_hello_is_said_and_understood_as_it_was_released() {
        let bytes = hex::decode(RELEASED.replace(' ', "")).unwrap();
        let (mut ours, mut theirs) = duplex(1_024);
        theirs.write_all(&bytes).await.unwrap();
        assert_eq!(exchange(&mut ours, &released().encode_to_vec()).await.unwrap(), released());
        let mut said = vec![0; bytes.len()];
        theirs.read_exact(&mut said).await.unwrap();
        assert_eq!(hex::encode(said), hex::encode(bytes));
    }

    #[tokio::test]
    async fn a_stream_goes_on_as_it_was_released() {
        let (mut ours, mut theirs) = duplex(16);
        theirs.write_u8(2).await.unwrap();
        go_on(&mut ours).await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap(), 1);
        theirs.write_u8(1).await.unwrap();
        assert!(go_on(&mut ours).await.is_err(), "it was not taken");
    }
}
