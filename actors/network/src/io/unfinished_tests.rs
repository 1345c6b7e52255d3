#![allow(clippy::unwrap_used, clippy::as_conversions)]

use futures::AsyncReadExt as _;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};

use super::*;

/// Tokio's stream as one of the multiplexer.
struct Ours(DuplexStream);

impl AsyncRead for Ours {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(tokio::io::AsyncRead::poll_read(Pin::new(&mut self.0), cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

const LIMITS: Limits = Limits { patience: Duration::from_millis(400), free: 4_096, room: 256 * 1024 };
const LARGE: usize = 64 * 1024;
const PEERS: usize = 20;
/// What gossip reads at once.
const BUFFER: usize = 8_192;

fn frame(body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (Vec::new(), body.len());
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    bytes
}

/// What a peer says until its gossip begins.
fn greeting(protocol: &str) -> Vec<u8> {
    [frame(b"/multistream/1.0.0\n"), frame(format!("{protocol}\n").as_bytes())].concat()
}

/// The peer's end, and ours, which a task reads as far as it may.
fn stream(unfinished: &Unfinished) -> (DuplexStream, tokio::task::JoinHandle<io::Result<usize>>) {
    let (theirs, ours) = duplex(1 << 20);
    let mut ours = Looked { stream: Ours(ours), look: Some(Look::new(unfinished.clone())) };
    let reading = tokio::spawn(async move {
        let (mut buffer, mut all) = (vec![0; BUFFER], 0);
        loop {
            match ours.read(&mut buffer).await? {
                0 => return Ok(all),
                read => all += read,
            }
        }
    });
    (theirs, reading)
}

#[tokio::test]
async fn a_frame_that_is_never_finished_ends_its_stream_and_gives_its_memory_back() {
    let unfinished = Unfinished::within(LIMITS);
    let (mut peer, reading) = stream(&unfinished);
    let whole = frame(&[7; LARGE]);
    peer.write_all(&greeting("/meshsub/1.2.0")).await.unwrap();
    let (begun, rest) = whole.split_at(LARGE / 2);
    let begun_at = Instant::now();
    peer.write_all(begun).await.unwrap();
    // A byte now and then is no progress.
    for byte in rest {
        if peer.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(LIMITS.patience / 20).await;
    }
    assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(begun_at.elapsed() >= LIMITS.patience);
    assert_eq!((unfinished.bytes(), unfinished.ended()), (0, 1));
}

#[tokio::test]
async fn neither_slow_frames_nor_silence_between_them_nor_other_protocols_are_a_fault() {
    let unfinished = Unfinished::within(LIMITS);
    let ((mut peer, reading), (mut other, of_other)) = (stream(&unfinished), stream(&unfinished));
    let asking = [greeting("/alys/peer/1"), vec![0xff; 1_000]].concat();
    other.write_all(&asking).await.unwrap();
    let mut all = greeting("/meshsub/1.1.0");
    peer.write_all(&all).await.unwrap();
    for size in [1, 200, LARGE] {
        let frame = frame(&vec![1; size]);
        let (first, second) = frame.split_at(frame.len() - 1);
        peer.write_all(first).await.unwrap();
        tokio::time::sleep(LIMITS.patience / 2).await;
        peer.write_all(second).await.unwrap();
        tokio::time::sleep(LIMITS.patience).await;
        all.extend(frame);
    }
    drop((peer, other));
    assert_eq!(reading.await.unwrap().unwrap(), all.len());
    assert_eq!(of_other.await.unwrap().unwrap(), asking.len());
    assert_eq!((unfinished.bytes(), unfinished.ended()), (0, 0));
}

#[tokio::test]
async fn all_peers_together_hold_no_more_than_there_is_room_for_and_small_frames_pass() {
    let unfinished = Unfinished::within(LIMITS);
    let mut bytes = [greeting("/meshsub/1.1.0"), frame(&[7; LARGE])].concat();
    // Its last byte never comes.
    bytes.pop();
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let (mut peer, reading) = stream(&unfinished);
        let bytes = bytes.clone();
        peers.push((tokio::spawn(async move { (peer.write_all(&bytes).await, peer) }), reading));
    }
    let (mut honest, small_read) = stream(&unfinished);
    let small = [greeting("/meshsub/1.1.0"), frame(&[1; LIMITS.free])].concat();
    let mut most = 0;
    while unfinished.ended() == 0 {
        most = unfinished.bytes().max(most);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if most >= LIMITS.room && !small_read.is_finished() {
            honest.write_all(&small).await.unwrap();
            honest.shutdown().await.unwrap();
            assert_eq!(small_read.await.unwrap().unwrap(), small.len());
            break;
        }
    }
    let largest = LIMITS.room + (PEERS + 1) * (LIMITS.free + BUFFER);
    assert!(LIMITS.room <= most && most <= largest && largest < PEERS * LARGE, "{most}");
    for (writing, reading) in peers {
        assert!(reading.await.unwrap().is_err());
        writing.abort();
    }
    assert_eq!(unfinished.bytes(), 0);
}

proptest! {
    #[test]
    fn frames_are_followed_however_they_are_cut(bodies: Vec<Vec<u8>>, cut in 1..40usize, noise: Vec<u8>) {
        let mut bytes = greeting("/meshsub/1.1.0");
        bodies.iter().for_each(|body| bytes.extend(frame(body)));
        let mut frames = Frames::default();
        bytes.chunks(cut).for_each(|part| frames.take(part));
        prop_assert_eq!((frames.whole, frames.held, frames.are_gossip), (bodies.len() as u64 + 2, 0, true));
        noise.chunks(cut).for_each(|part| frames.take(part));
        prop_assert!(frames.held <= noise.len());
    }
}
