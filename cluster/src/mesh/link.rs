//! One link: hello both ways, then its two halves go to a ractor session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use alys_proto::cluster::Hello;
use alys_proto::{Message as _, Role, SCHEMA};
use ractor_cluster::ClusterBidiStream;
use ractor_cluster::node::NodeServerMessage;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, ReadBuf};

use super::{Mesh, Open};
use crate::identity::{Identity, Incarnation};

/// A stranger that says nothing costs us this long.
const HELLO_DEADLINE: Duration = Duration::from_secs(2);

/// A hello is about 100 bytes.
const MAX_HELLO_BYTES: u32 = 1_024;

/// Two system calls a message without it; larger makes 1 MiB messages slower.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// A connected stream of any transport.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Which end we are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Dialed,
    Accepted,
}

/// Exchanges hellos and gives the link to ractor, unless there is one to that peer. `allows` says whether the peer may
/// claim a role. Returns who the peer is.
pub(super) async fn open<S: Stream>(
    mesh: &Mesh,
    mut stream: S,
    end: End,
    transport: &'static str,
    allows: impl FnOnce(Role) -> bool,
) -> io::Result<Incarnation> {
    let hello = tokio::time::timeout(HELLO_DEADLINE, exchange(mesh, &mut stream))
        .await
        .map_err(|_elapsed| refused("no hello in time"))??;
    if hello.cluster_id != mesh.cluster_id {
        return Err(refused(&format!("it belongs to cluster `{}`", hello.cluster_id)));
    }
    let role = Role::try_from(hello.role).unwrap_or(Role::Unspecified);
    if !allows(role) {
        return Err(refused(&format!("its certificate does not allow the role {role}")));
    }
    let incarnation = Incarnation::from_bytes(&hello.incarnation).ok_or_else(|| refused("its incarnation is malformed"))?;
    let peer = Identity { role, instance: hello.instance, incarnation, started_millis: 0 };
    let Some(open) = mesh.links.claim(&peer, transport) else {
        return Ok(incarnation);
    };
    tracing::debug!(peer = %peer.instance, %incarnation, transport, "link opened");
    let link = Linked { stream, open, label: format!("{}/{incarnation}", peer.instance) };
    mesh.node
        .cast(NodeServerMessage::ConnectionOpenedExternal { stream: Box::new(link), is_server: end == End::Accepted })
        .map_err(|_stopped| refused("this process is ending"))?;
    Ok(incarnation)
}

async fn exchange<S: Stream>(mesh: &Mesh, stream: &mut S) -> io::Result<Hello> {
    let ours = Hello {
        cluster_id: mesh.cluster_id.clone(),
        role: mesh.identity.role.into(),
        incarnation: mesh.identity.incarnation.to_bytes(),
        schema: SCHEMA,
        pid: std::process::id(),
        instance: mesh.identity.instance.clone(),
    }
    .encode_to_vec();
    let length = u32::try_from(ours.len()).map_err(|_| refused("our own hello is too long"))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&ours).await?;
    stream.flush().await?;

    let length = stream.read_u32().await?;
    if length > MAX_HELLO_BYTES {
        return Err(refused("its hello is too long"));
    }
    let mut theirs = vec![0; usize::try_from(length).map_err(|_| refused("its hello is too long"))?];
    stream.read_exact(&mut theirs).await?;
    Hello::decode(theirs.as_slice()).map_err(|cause| refused(&format!("its hello is malformed: {cause}")))
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, reason)
}

struct Linked<S> {
    stream: S,
    open: Open,
    label: String,
}

impl<S: Stream> ClusterBidiStream for Linked<S> {
    fn split(self: Box<Self>) -> (ractor_cluster::BoxRead, ractor_cluster::BoxWrite) {
        let (read, write) = tokio::io::split(self.stream);
        let reader = Reader { inner: BufReader::with_capacity(READ_BUFFER_BYTES, read), _open: self.open };
        (Box::new(reader), Box::new(write))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

/// The read half. The session drops it when the link ends, which takes the link off the list.
struct Reader<R> {
    inner: BufReader<R>,
    _open: Open,
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}
