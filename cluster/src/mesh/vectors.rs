//! Frames byte by byte, as released programs write and read them: two builds run side by side during an upgrade. What is
//! here stays; how the format may grow is in docs/crates/cluster.md.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};

use super::frame::{
    Frame, MAX_FRAME_BYTES, Manner, Request, encode_answer, encode_credit, encode_ping, encode_returned, frames, put_request,
    request_bytes, whole,
};
use crate::header::{Stamp, Trace};

const SEQUENCE: u64 = 0x0102_0304_0506_0708;
const NAME: &str = "GetHead";
const BODY: &[u8] = &[0xc0, 0xff, 0xee];

/// Length, kind, fields, as the doc of `frame.rs` names them.
const TELL: &str = "00000025 01 0102030405060708 1112131415161718 2122232425262728 07 47657448656164 00 c0ffee";
const ASK: &str = "0000003e 02 0102030405060708 1112131415161718 2122232425262728 07 47657448656164 \
                   19 4142434445464748494a4b4c4d4e4f50 5152535455565758 01 c0ffee";
const INSPECT: &str = "00000025 03 0102030405060708 1112131415161718 2122232425262728 07 47657448656164 00 c0ffee";
const ANSWER: &str = "0000000c 04 0102030405060708 c0ffee";
const RETURNED: &str = "0000000c 05 0102030405060708 c0ffee";
const CREDIT: &str = "00000005 06 00000100";
const PING: &str = "00000001 07";
const POST: &str = "0000002d 08 3132333435363738 0102030405060708 1112131415161718 2122232425262728 07 47657448656164 00 c0ffee";

fn bytes(vector: &str) -> Bytes {
    hex::decode(vector.replace(' ', "")).unwrap().into()
}

/// A frame, what we write for it, and what stands on the wire.
type Vector = (Frame<'static>, Vec<u8>, &'static str);

fn request(manner: Manner, posted: u64, trace: Option<Trace>, vector: &'static str) -> Vector {
    let stamp = Stamp { sequence: SEQUENCE, deadline: 0x1112_1314_1516_1718, epoch: 0x2122_2324_2526_2728, posted, trace };
    let mut written = BytesMut::new();
    let bytes = request_bytes(manner, &stamp, NAME, BODY.len()).unwrap();
    put_request(&mut written, bytes, manner, &stamp, NAME, |out| out.extend_from_slice(BODY));
    (Frame::Request(Request { manner, stamp, name: NAME, body: BODY.into() }), written.to_vec(), vector)
}

/// One of each kind.
fn vectors() -> [Vector; 8] {
    let trace = Trace { trace_id: *b"ABCDEFGHIJKLMNOP", span_id: *b"QRSTUVWX", flags: 1 };
    [
        request(Manner::Tell, 0, None, TELL),
        request(Manner::Ask, 0, Some(trace), ASK),
        request(Manner::Inspect, 0, None, INSPECT),
        (Frame::Answer { sequence: SEQUENCE, answer: BODY.into() }, encode_answer(SEQUENCE, BODY), ANSWER),
        (Frame::Returned { sequence: SEQUENCE, answer: BODY.into() }, encode_returned(SEQUENCE, BODY), RETURNED),
        (Frame::Credit { messages: 256 }, encode_credit(256), CREDIT),
        (Frame::Ping, encode_ping(), PING),
        request(Manner::Post, 0x3132_3334_3536_3738, None, POST),
    ]
}

#[test]
fn every_kind_is_written_and_read_as_it_was_released() {
    for (frame, written, vector) in vectors() {
        let released = bytes(vector);
        assert_eq!(hex::encode(written), hex::encode(&released), "{frame:?} is written otherwise");
        assert_eq!(frames(&released).collect::<Vec<_>>(), [Ok(frame)], "{vector} is read otherwise");
    }
}

#[test]
fn every_kind_that_is_read_is_held_to_a_vector() {
    let held: Vec<u8> = vectors().iter().map(|(_, _, vector)| bytes(vector)[4]).collect();
    for kind in 0..=u8::MAX {
        // Zeros are fields of any kind: numbers, and names of no letters.
        let chunk: Bytes = [&[0, 0, 0, 65, kind][..], &[0; 64]].concat().into();
        let is_known = frames(&chunk).next() != Some(Ok(Frame::Unknown));
        assert_eq!(is_known, held.contains(&kind), "kind {kind}");
    }
}

/// A larger frame ends the link, so neither side may allow itself more than the other does.
#[test]
fn the_largest_frame_is_as_large_as_it_was_released() {
    let announced = |length: &str| whole(&bytes(length));
    assert_eq!(announced("01800000"), Ok((0, MAX_FRAME_BYTES + 4)));
    assert_eq!(announced("01800001"), Err(0x0180_0001));
}
