//! Requests and responses between peers: one protobuf message each way, then the stream ends. Length is bounded before
//! anything is decoded.

use std::io;

use alys_proto::Message;
use alys_proto::network::{PeerRequest, PeerResponse};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

use crate::core::limits::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};

/// The protocol's name on the wire.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/alys/peer/1");

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

async fn write(stream: &mut (impl AsyncWrite + Unpin + Send), message: &impl Message) -> io::Result<()> {
    stream.write_all(&message.encode_to_vec()).await
}

impl Codec for PeerCodec {
    type Protocol = StreamProtocol;
    type Request = PeerRequest;
    type Response = PeerResponse;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _protocol: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<PeerRequest> {
        read(io, MAX_REQUEST_BYTES).await
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
        request: PeerRequest,
    ) -> io::Result<()> {
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
    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> io::Result<PeerRequest> {
        futures::executor::block_on(PeerCodec.read_request(&PROTOCOL, &mut Cursor::new(bytes)))
    }

    #[test]
    fn requests_round_trip_and_longer_ones_are_refused() {
        let request = PeerRequest { request: Some(Request::Handshake(Handshake { protocol: 1, ..Handshake::default() })) };
        assert_eq!(decode(&request.encode_to_vec()).unwrap(), request);
        let most = usize::try_from(MAX_REQUEST_BYTES).unwrap();
        let error = decode(&vec![0; most + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _maybe_refused = decode(&bytes);
        }
    }
}
