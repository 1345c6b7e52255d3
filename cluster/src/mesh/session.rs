//! The stream that ractor's session runs on. It carries membership only: who has joined which group.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ractor_cluster::ClusterBidiStream;
use tokio::io::{AsyncRead, BufReader, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::hello::Stream;
use super::link::Peer;

/// Two system calls a message without it; larger makes large messages slower.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// A stream that ends with its link, and ends its link.
pub(super) struct Session<S> {
    stream: S,
    peer: Arc<Peer>,
}

impl<S> Session<S> {
    pub(super) const fn new(stream: S, peer: Arc<Peer>) -> Self {
        Self { stream, peer }
    }
}

impl<S: Stream> ClusterBidiStream for Session<S> {
    fn split(self: Box<Self>) -> (ractor_cluster::BoxRead, ractor_cluster::BoxWrite) {
        let (read, write) = tokio::io::split(self.stream);
        let ended = Box::pin(self.peer.ended.clone().cancelled_owned());
        let inner = BufReader::with_capacity(READ_BUFFER_BYTES, read);
        (Box::new(Reader { inner, ended, peer: self.peer }), Box::new(write))
    }

    fn peer_label(&self) -> Option<String> {
        Some(format!("{}/{}", self.peer.identity.instance, self.peer.identity.incarnation))
    }
}

/// The read half: at its end when the link has ended, and the link's end when the session drops it.
struct Reader<R> {
    inner: BufReader<R>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    peer: Arc<Peer>,
}

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        self.peer.close("its session ended");
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}
