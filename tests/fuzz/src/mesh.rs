//! What a linked process may send. The decoder is no interface of alys-cluster, so its file is taken in as it is.

use alys_cluster::Incarnation;
use alys_proto::Role;
use alys_proto::cluster::{Hello, hello};
use bytes::{Bytes, BytesMut};
use prost::Message as _;

use crate::frame::{self, Frame, MAX_FRAME_BYTES, Manner, Request};
use crate::header::{Stamp, Trace};

/// Bytes of a frame's length.
const PREFIX: usize = 4;

/// A hello, an answer, and frames as they are read: the whole ones of what is here, given out in parts.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        let _claims = (Role::try_from(hello.role), hello::Stream::try_from(hello.stream));
        let _start = Incarnation::from_bytes(&hello.incarnation);
    }
    let Ok((end, begun)) = frame::whole(bytes) else { return };
    assert!(end <= bytes.len() && begun <= MAX_FRAME_BYTES + PREFIX);
    let chunk = Bytes::copy_from_slice(&bytes[..end]);
    let found: Vec<_> = frame::frames(&chunk).collect();
    for most in [1, 3] {
        let parts: Vec<_> = frame::parts(chunk.clone(), most).collect();
        assert!(parts.iter().flat_map(|part| &part.bytes).eq(&chunk), "something is lost between two parts");
        if found.iter().all(Result::is_ok) {
            let is_told = |frame: &&Result<_, _>| matches!(frame, Ok(Frame::Request(Request { manner: Manner::Tell, .. })));
            let told: u32 = parts.iter().map(|part| part.told).sum();
            assert_eq!(parts.iter().map(|part| part.frames).sum::<usize>(), found.len(), "frames that nobody counts");
            assert_eq!(u32::try_from(found.iter().filter(is_told).count()).unwrap(), told, "credit for what was not told");
        }
    }
    let mut rest = &chunk[..];
    for frame in found {
        let (length, behind) = rest.split_first_chunk::<PREFIX>().unwrap();
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        let (raw, next) = (&rest[..PREFIX + length], &behind[length..]);
        has_one_form(frame, raw);
        rest = next;
    }
}

/// What names and numbers a message is encoded in one way only.
fn has_one_form(frame: Result<Frame<'_>, frame::Malformed>, raw: &[u8]) {
    match frame {
        Ok(Frame::Request(Request { manner, stamp, name, body })) => {
            assert_eq!(request(manner, &stamp, name, &body), raw, "two forms of one request");
        }
        Ok(Frame::Answer { sequence, answer }) => {
            let _reply = alys_proto::wire::decode_answer::<alys_proto::storage::Head>(&answer);
            assert_eq!(frame::encode_answer(sequence, &answer), raw, "two forms of one answer");
        }
        Ok(Frame::Returned { sequence, answer }) => {
            assert_eq!(frame::encode_returned(sequence, &answer), raw, "two forms of one return");
        }
        Ok(Frame::Credit { .. } | Frame::Ping | Frame::Unknown) | Err(_) => {}
    }
}

fn request(manner: Manner, stamp: &Stamp, name: &str, body: &[u8]) -> Vec<u8> {
    let (mut out, bytes) = (BytesMut::new(), frame::request_bytes(manner, stamp, name, body.len()).unwrap());
    frame::put_request(&mut out, bytes, manner, stamp, name, |out| out.extend_from_slice(body));
    out.to_vec()
}

/// Each frame, all behind each other, and a hello.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let trace = Some(Trace { trace_id: [1; 16], span_id: [2; 8], flags: 1 });
    let stamp = |posted, trace| Stamp { sequence: 1, deadline: 1_700_000_000_000, epoch: 3, posted, trace };
    let answer = alys_proto::wire::encode_answer(Ok(vec![8, 1]));
    let each = vec![
        request(Manner::Tell, &stamp(0, None), "FinalizedBlock", &[10, 0]),
        request(Manner::Ask, &stamp(0, trace), "GetHead", &[]),
        request(Manner::Inspect, &stamp(0, None), "Observe", &[]),
        request(Manner::Post, &stamp(9, trace), "MintTokensRequest", &[8, 1]),
        frame::encode_answer(1, &answer),
        frame::encode_returned(2, &answer),
        frame::encode_credit(7),
        frame::encode_ping(),
    ];
    let hello = Hello {
        cluster_id: "alys".into(),
        role: Role::Storage.into(),
        incarnation: vec![1; 8],
        schema: alys_proto::SCHEMA,
        pid: 7,
        instance: "storage".into(),
        started_unix_millis: 1_700_000_000_000,
        link: 5,
        stream: hello::Stream::Bulk.into(),
        told_window: 875,
    };
    let all = each.concat();
    each.into_iter().chain([all, hello.encode_to_vec()]).collect()
}
