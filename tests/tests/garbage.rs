//! Malformed bytes on every socket that the cluster listens on, found in `/proc` so that none is forgotten: blocks go on,
//! no process restarts, none grows, none panics.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use alys_proto::cluster::Hello;
use alys_proto::cluster::hello::Stream;
use alys_proto::{Message as _, Role, SCHEMA, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options};
use alys_tests::{peg, processes};
use eyre::{WrapErr as _, ensure};

/// Connections that say nothing and stay, on each socket.
const SILENT: usize = 20;
/// More than any of them may take for its peers' nonsense.
const MOST_GROWTH_BYTES: u64 = 64 << 20;
/// For an answer, or the other side's end: it never has to come.
const READ: Duration = Duration::from_millis(100);

/// A socket that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Tcp(u16),
    Unix(PathBuf),
}

/// An open connection to it.
enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Target {
    fn connect(&self) -> eyre::Result<Connection> {
        let connection = match self {
            Self::Tcp(port) => Connection::Tcp(TcpStream::connect(("127.0.0.1", *port))?),
            Self::Unix(path) => Connection::Unix(UnixStream::connect(path)?),
        };
        match &connection {
            Connection::Tcp(stream) => stream.set_read_timeout(Some(READ)).and_then(|()| stream.set_write_timeout(Some(READ)))?,
            Connection::Unix(stream) => {
                stream.set_read_timeout(Some(READ)).and_then(|()| stream.set_write_timeout(Some(READ)))?
            }
        }
        Ok(connection)
    }
}

impl Connection {
    /// Sends as much as the other side takes, says that nothing more comes, and reads what is answered.
    fn send(mut self, bytes: &[u8]) {
        let mut answer = [0; 4_096];
        // The other side may refuse and close at any byte: that is what we want of it.
        let _refused = match &mut self {
            Self::Tcp(stream) => {
                stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).and_then(|()| stream.read(&mut answer))
            }
            Self::Unix(stream) => {
                stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).and_then(|()| stream.read(&mut answer))
            }
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bytes_on_every_socket_change_nothing() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    peg::funded(&bitcoind, &alys, Sats(10_000_000)).await?;
    let targets = targets(&alys)?;
    let before = figures(&alys).await?;

    let mut silent = Vec::new();
    for target in &targets {
        for bytes in payloads() {
            target.connect().wrap_err_with(|| format!("{target:?}"))?.send(&bytes);
        }
        for _ in 0..SILENT {
            silent.push(target.connect().wrap_err_with(|| format!("{target:?}"))?);
        }
    }
    alys.wait_blocks(3).await?;
    // The silent ones are still there, and the peg works.
    peg::funded(&bitcoind, &alys, Sats(20_000_000)).await?;
    let after = figures(&alys).await?;
    for (role, (incarnation, bytes)) in &before {
        let (now, bytes_now) = after.get(role).ok_or_else(|| eyre::eyre!("{role:?} is gone"))?;
        ensure!(now == incarnation, "{role:?} was restarted");
        ensure!(*bytes_now < bytes + MOST_GROWTH_BYTES, "{role:?} grew from {bytes} to {bytes_now} bytes");
    }
    drop(silent);
    alys.wait_ready(Duration::from_secs(30)).await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}

type Figures = BTreeMap<String, (Vec<u8>, u64)>;

async fn figures(alys: &Alys) -> eyre::Result<Figures> {
    let seen = alys.observations().await?;
    ensure!(seen.len() == 8, "{} roles", seen.len());
    Ok(seen.into_iter().map(|seen| (seen.role().name().to_owned(), (seen.incarnation, seen.resident_bytes))).collect())
}

/// TCP: Eth JSON-RPC, gRPC, libp2p, and the loopback listener that each process's mesh library opens. Unix: the mesh.
fn targets(alys: &Alys) -> eyre::Result<BTreeSet<Target>> {
    let mut targets = BTreeSet::new();
    for process in processes::of(alys.data_dir())? {
        targets.extend(process.listening_ports()?.into_iter().map(Target::Tcp));
    }
    let tcp = targets.len();
    for entry in std::fs::read_dir(alys.data_dir().join("run"))? {
        targets.insert(Target::Unix(entry?.path()));
    }
    ensure!(tcp >= 3 && targets.len() >= tcp + 8, "not all sockets were found: {targets:?}");
    Ok(targets)
}

/// What a port scanner, a broken client and an enemy would send.
fn payloads() -> Vec<Vec<u8>> {
    let hello = hello(Stream::Control);
    let framed = |length: u32| [length.to_be_bytes().as_slice(), &hello].concat();
    let length = u32::try_from(hello.len()).unwrap_or(u32::MAX);
    let with_tail = |tail: &[u8]| [framed(length).as_slice(), tail].concat();
    // A link that has begun, and frames on it.
    let begun = |frames: &[u8]| with_tail(&[&[GO], frames].concat());
    let mut payloads = vec![
        noise(1),
        noise(64),
        noise(100_000),
        vec![0; 1_000],
        vec![0xff; 1_000],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{".to_vec(),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n[[[[".to_vec(),
        [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90000\r\n\r\n".as_slice(), &[b'['; 90_000]].concat(),
        [b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".as_slice(), &noise(500)].concat(),
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &noise(500)].concat(),
        // A TLS record that promises a client hello.
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], noise(508).as_slice()].concat(),
        [b"\x13/multistream/1.0.0\n\x07/noise\n".as_slice(), &noise(500)].concat(),
        b"\x13/multistream/1.0.0\n\xff\xff\xff\xff\x0f".to_vec(),
        // Links of the mesh: a hello that is too long, cut, of nobody, and good ones with nonsense behind.
        framed(u32::MAX),
        framed(length - 1),
        framed(length + 1),
        with_tail(&[0xff; 64]),
        with_tail(&[0; 64]),
        with_tail(&noise(10_000)),
        // A frame of 1 GiB and more, an empty one, one of an unknown kind, requests that are cut.
        begun(&[&(1_u32 << 30).to_be_bytes(), noise(100).as_slice()].concat()),
        begun(&[&u32::MAX.to_be_bytes(), noise(100).as_slice()].concat()),
        begun(&0_u32.to_be_bytes()),
        begun(&[0, 0, 0, 2, 200, 0]),
        begun(&noise(10_000)),
    ];
    for kind in 1..=3 {
        payloads.push(begun(&[&[0, 0, 0, 40, kind], noise(39).as_slice()].concat()));
    }
    // Further streams of a link that never began, ractor's own with a frame of 2^63 bytes among them.
    for stream in [Stream::Normal, Stream::Bulk, Stream::Session] {
        let hello = self::hello(stream);
        let length = u32::try_from(hello.len()).unwrap_or(u32::MAX).to_be_bytes();
        payloads.push([&length, hello.as_slice(), &[GO], &(1_u64 << 63).to_be_bytes(), &noise(100)].concat());
    }
    payloads
}

/// What a dialer says when it goes on after the hellos.
const GO: u8 = 1;

/// What a process of this cluster would say first.
fn hello(stream: Stream) -> Vec<u8> {
    let hello = Hello {
        cluster_id: "alys".into(),
        role: Role::Sync.into(),
        incarnation: vec![7; 8],
        schema: SCHEMA,
        pid: std::process::id(),
        instance: "stranger".into(),
        started_unix_millis: 1,
        link: 7,
        stream: stream.into(),
        told_window: 0,
    };
    hello.encode_to_vec()
}

/// The same bytes in every run (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
