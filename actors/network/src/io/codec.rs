//! Requests and responses between peers: one protobuf message each way, then the stream ends. Length is bounded before
//! anything is decoded, and a request also in time.
//!
//! A request that is none is still handed on, as what it is: of one that cannot be read libp2p tells nobody.

use std::io;
use std::time::Duration;

use alys_proto::Message;
use alys_proto::network::{PeerRequest, PeerResponse};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

use crate::core::limits::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};

/// The protocol's name on the wire.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/alys/peer/1");

/// How long a request may take once its stream is open; it fits into one packet.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// What a peer sends instead of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// Bytes that no honest peer sends.
    Garbage,
    /// Too little in too long a time.
    Slow,
}

/// Protobuf with bounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerCodec;

async fn read<M: Message + Default>(stream: &mut (impl AsyncRead + Unpin + Send), most: u64) -> io::Result<M> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells the longest message from a longer one.
    stream.take(most.saturating_add(1)).read_to_end(&mut bytes).await?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {most} bytes")));
    }
    M::decode(bytes.as_slice()).map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin + Send),
    patience: Duration,
) -> io::Result<Result<PeerRequest, Misuse>> {
    match tokio::time::timeout(patience, read(stream, MAX_REQUEST_BYTES)).await {
        Ok(Ok(request)) => Ok(Ok(request)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(Misuse::Garbage)),
        // The connection is gone, or the peer took its request back.
        Ok(Err(error)) => Err(error),
        Err(_elapsed) => Ok(Err(Misuse::Slow)),
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin + Send), message: &impl Message) -> io::Result<()> {
    stream.write_all(&message.encode_to_vec()).await
}

impl Codec for PeerCodec {
    type Protocol = StreamProtocol;
    type Request = Result<PeerRequest, Misuse>;
    type Response = PeerResponse;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _protocol: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Self::Request> {
        read_request(io, REQUEST_PATIENCE).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _protocol: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<PeerResponse> {
        read(io, MAX_RESPONSE_BYTES).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _protocol: &StreamProtocol,
        io: &mut T,
        request: Self::Request,
    ) -> io::Result<()> {
        let request = request.map_err(|misuse| io::Error::other(format!("{misuse:?} is not ours to send")))?;
        write(io, &request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _protocol: &StreamProtocol,
        io: &mut T,
        response: PeerResponse,
    ) -> io::Result<()> {
        write(io, &response).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alys_proto::network::Handshake;
    use alys_proto::network::peer_request::Request;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<PeerRequest, Misuse> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(PeerCodec.read_request(&PROTOCOL, &mut Cursor::new(bytes))).unwrap()
    }

    /// Sends one byte, and then nothing more.
    struct Drip(bool);

    impl AsyncRead for Drip {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Pending;
            }
            buffer[0] = 10;
            Poll::Ready(Ok(1))
        }
    }

    #[tokio::test]
    async fn a_request_that_does_not_come_is_given_up() {
        let read = read_request(&mut Drip(false), Duration::from_millis(10)).await.unwrap();
        assert_eq!(read, Err(Misuse::Slow));
    }

    #[test]
    fn requests_round_trip_and_longer_ones_are_refused() {
        let request = PeerRequest { request: Some(Request::Handshake(Handshake { protocol: 1, ..Handshake::default() })) };
        assert_eq!(decode(&request.encode_to_vec()).unwrap(), request);
        let most = usize::try_from(MAX_REQUEST_BYTES).unwrap();
        // An unknown field of any length would be passed over, were it not for the bound.
        let with_tail = |length: usize| [&request.encode_to_vec()[..], &[0x78, 0].repeat(length / 2)].concat();
        assert!(decode(&with_tail(most - request.encoded_len())).is_ok());
        assert_eq!(decode(&with_tail(most + 2)), Err(Misuse::Garbage));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _maybe_refused = decode(&bytes);
        }
    }
}
