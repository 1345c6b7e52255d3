//! A rogue process on the network of a node: with a certificate of the wrong role, of a wrong authority, with a recorded
//! handshake, with nonsense, with ten thousand connections, with frames of a gibibyte before and behind authentication. It is
//! refused and counted, memory and descriptors stay within bounds, and the node keeps its pace meanwhile.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alys::prepare::tls::{Authority, mesh_names};
use alys_proto::cluster::Hello;
use alys_proto::cluster::hello::Stream;
use alys_proto::{Message as _, Role, SCHEMA, storage};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::wait;
use alys_tests::lab::spread::{Plan, Spread, place};
use alys_tests::lab::{self, Lab};
use alys_tests::sidechain::Sidechain as _;
use eyre::{OptionExt as _, WrapErr as _, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTIONS: u64 = 10_000;
/// Connections that the rogue opens at the same time.
const AT_ONCE: u64 = 200;
/// Tries of each other kind.
const TRIES: u64 = 20;
const GIBIBYTE: u32 = 1 << 30;
/// More than any process may take for a rogue's sake: its role's share of the room for large frames (`mesh/room.rs`) and as
/// much as all else may cost.
const MOST_GROWTH_BYTES: u64 = (64 + 64) << 20;
/// Links on each of which the rogue begins a frame of the largest legal size: they would fill seven times that.
const HALF_FRAMES: u8 = 40;
/// Handshakes of one address, and what else a process opens and closes.
const MOST_DESCRIPTORS: u64 = 32 + 48;
/// A question must be answered within this, whatever the rogue does.
const ANSWERED: Duration = Duration::from_secs(2);
const GO: u8 = 1;
const TAKEN: u8 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_is_refused_and_counted_and_the_node_keeps_its_pace() -> eyre::Result<()> {
    let test = "a_rogue_is_refused_and_counted_and_the_node_keeps_its_pace";
    let Some(lab) = lab::enter(test, &["a", "b"]).await? else { return Ok(()) };
    let bitcoind = Bitcoind::start().await?;
    let plan = Plan {
        hosts: vec!["a", "b"],
        places: vec![
            place(0, Role::Storage, "storage"),
            place(0, Role::Engine, "engine"),
            place(0, Role::Stream, "stream"),
            place(0, Role::Network, "network"),
            place(0, Role::Sync, "sync"),
            place(1, Role::Chain, "chain"),
            place(1, Role::Bridge, "bridge"),
        ],
        confirmations: 2,
        ..Plan::default()
    };
    let node = Spread::start(&lab, Some(&bitcoind), plan).await?;
    node.wait_ready(PATIENCE).await?;
    let before = figures(&node).await?;
    let pace = Pace::begin(&node).await?;
    for victim in ["storage", "chain"] {
        attack(&lab, &node, victim).await.wrap_err_with(|| victim.to_owned())?;
        println!("{victim} was attacked for {:.1} s", pace.begun.elapsed().as_secs_f64());
    }
    pace.held(&node).await?;
    let after = figures(&node).await?;
    for (instance, (incarnation, bytes)) in &before {
        let (now, bytes_now) = after.get(instance).ok_or_else(|| eyre::eyre!("{instance} is gone"))?;
        println!("{instance} had {} MiB at the most, then {}", bytes >> 20, bytes_now >> 20);
        ensure!(now == incarnation, "{instance} was restarted");
        ensure!(*bytes_now < bytes + MOST_GROWTH_BYTES, "{instance} grew from {bytes} to {bytes_now} bytes");
    }
    // Whoever belongs to the node gets in as before.
    node.platform.signal("chain", rustix::process::Signal::KILL)?;
    node.wait_blocks(2, PATIENCE).await
}

/// Everything that the rogue can do to one process, and what is counted of it.
async fn attack(lab: &Lab, node: &Spread, victim: &str) -> eyre::Result<()> {
    let target = node.mesh_address(victim)?;
    let known = Files { folder: lab.folder(), target };
    let now = || Counts::read(node, victim);

    let (wrong_role, before) = (known.rogue(Role::Sync)?, now()?);
    for _ in 0..TRIES {
        ensure!(wrong_role.link(Role::Engine, 7).await.is_err(), "sync's certificate was taken for engine's");
    }
    counted("rogues", async || Ok(now()?.rogue >= before.rogue + TRIES)).await?;

    let (wrong_authority, before) = (known.rogue_of_another_authority(Role::Engine)?, now()?);
    for _ in 0..TRIES {
        ensure!(wrong_authority.link(Role::Engine, 7).await.is_err(), "a certificate of a wrong authority was taken");
    }
    counted("strangers", async || Ok(now()?.stranger >= before.stranger + TRIES)).await?;

    let (member, before) = (known.rogue(Role::Debug)?, now()?);
    replayed(&member, target).await?;
    counted("a recording", async || Ok(now()?.stranger > before.stranger)).await?;

    let before = now()?;
    for seed in 0..TRIES {
        garbage(target, seed).await;
    }
    counted("garbage", async || Ok(now()?.stranger >= before.stranger + TRIES)).await?;

    let before = now()?;
    large_frames(&member).await?;
    let both = async || Ok(now()?.unfit > before.unfit && now()?.malformed > before.malformed);
    counted("frames of a gibibyte", both).await?;

    let before = now()?;
    let descriptors = crowd(node, victim, target).await?;
    counted("the crowd", async || Ok(now()?.crowd >= before.crowd + CONNECTIONS / 2)).await?;
    println!("{victim}: {:?}, {descriptors} descriptors more at the most", now()?);
    ensure!(descriptors < MOST_DESCRIPTORS, "{descriptors} descriptors more");
    Ok(())
}

/// A stream is counted when the attacked side has seen its end, a moment after ours.
async fn counted(what: &str, holds: impl AsyncFn() -> eyre::Result<bool>) -> eyre::Result<()> {
    wait(&format!("{what} to be counted"), PATIENCE, async || Ok(holds().await?.then_some(()))).await
}

/// Certificates of the node that the rogue has got hold of.
struct Files<'a> {
    folder: &'a Path,
    target: SocketAddr,
}

/// A process that can speak TLS with one certificate.
struct Rogue {
    tls: TlsConnector,
    target: SocketAddr,
}

impl Files<'_> {
    fn rogue(&self, role: Role) -> eyre::Result<Rogue> {
        let file = |name: &str| self.folder.join("secrets").join(role.name()).join(name);
        let (certificate, key) = (std::fs::read(file("mesh.pem"))?, std::fs::read(file("mesh.key"))?);
        self.speaks(&certificate, &key)
    }

    fn rogue_of_another_authority(&self, role: Role) -> eyre::Result<Rogue> {
        let failed = |failure: alys::failure::Failure| eyre::eyre!("{failure}");
        let names = mesh_names(&[role]);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Of the same name: only the key is another.
        let issued = Authority::generate("alys").and_then(|other| other.issue(role.name(), &names)).map_err(failed)?;
        self.speaks(issued.certificate.as_bytes(), issued.key.as_bytes())
    }

    fn speaks(&self, certificate: &[u8], key: &[u8]) -> eyre::Result<Rogue> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.join("home/tls/ca.pem"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![CertificateDer::from_pem_slice(certificate)?], PrivateKeyDer::from_pem_slice(key)?)?;
        Ok(Rogue { tls: Arc::new(config).into(), target: self.target })
    }
}

impl Rogue {
    async fn connect(&self) -> eyre::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.target).await?;
        Ok(self.tls.connect(ServerName::try_from("mesh.alys")?, stream).await?)
    }

    /// The control stream of a link, as a process of this role would dial it.
    async fn link(&self, role: Role, number: u8) -> eyre::Result<TlsStream<TcpStream>> {
        let dialed = async {
            let mut stream = self.connect().await?;
            let hello = hello(role, number).encode_to_vec();
            stream.write_u32(u32::try_from(hello.len())?).await?;
            stream.write_all(&hello).await?;
            stream.flush().await?;
            let mut theirs = vec![0; usize::try_from(stream.read_u32().await?)?];
            stream.read_exact(&mut theirs).await?;
            stream.write_u8(GO).await?;
            stream.flush().await?;
            ensure!(stream.read_u8().await? == TAKEN, "not taken");
            Ok(stream)
        };
        tokio::time::timeout(PATIENCE, dialed).await?
    }
}

fn hello(role: Role, number: u8) -> Hello {
    Hello {
        cluster_id: "alys".into(),
        role: role.into(),
        incarnation: vec![number; 8],
        schema: SCHEMA,
        pid: std::process::id(),
        instance: "rogue".into(),
        started_unix_millis: 1,
        link: number.into(),
        stream: Stream::Control.into(),
        told_window: 0,
    }
}

/// Records how a member of the node makes a link, and sends the same once more.
async fn replayed(member: &Rogue, target: SocketAddr) -> eyre::Result<()> {
    let listener = TcpListener::bind((lab::own_address(), 0)).await?;
    let recorder = Rogue { tls: member.tls.clone(), target: listener.local_addr()? };
    let recording = tokio::spawn(async move {
        let (client, server) = (listener.accept().await?.0, TcpStream::connect(target).await?);
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut recorded = Vec::new();
        loop {
            let begin = recorded.len();
            if from_client.read_buf(&mut recorded).await.unwrap_or(0) == 0 {
                back.abort();
                return Ok::<_, eyre::Report>(recorded);
            }
            to_server.write_all(recorded.get(begin..).unwrap_or_default()).await?;
        }
    });
    drop(recorder.link(Role::Debug, 21).await.wrap_err("the link to be recorded")?);
    let recorded = recording.await??;
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(&recorded).await?;
    let mut answer = Vec::new();
    // An error is an end too.
    let _ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.wrap_err("still open")?;
    ensure!(!answer.is_empty(), "the recording was not even looked at");
    Ok(())
}

/// The same bytes in every run (xorshift64), until the other side has enough.
async fn garbage(target: SocketAddr, seed: u64) {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let bytes: Vec<u8> = (0..100_000).map(|_| next()).collect();
    let Ok(mut stream) = TcpStream::connect(target).await else { return };
    let _refused = stream.write_all(&bytes).await;
    let _ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
}

/// Frames of a gibibyte instead of a hello and on a link, and half of the largest legal ones, several at once.
async fn large_frames(member: &Rogue) -> eyre::Result<()> {
    let mut early = member.connect().await?;
    early.write_u32(GIBIBYTE).await?;
    ensure!(push(&mut early, u64::from(GIBIBYTE)).await < MOST_GROWTH_BYTES, "it read on before it knew who sends");
    let mut late = member.link(Role::Debug, 22).await?;
    late.write_u32(GIBIBYTE).await?;
    ensure!(push(&mut late, u64::from(GIBIBYTE)).await < MOST_GROWTH_BYTES, "it read a frame of a gibibyte");
    let mut halves = Vec::new();
    for number in 0..HALF_FRAMES {
        let mut half = member.link(Role::Debug, 100 + number).await?;
        half.write_u32(24 << 20).await?;
        halves.push(half);
    }
    // All at once, and open until each has sent what it may.
    futures::future::join_all(halves.iter_mut().map(|half| push(half, 23 << 20))).await;
    Ok(())
}

/// Sends nothing but zeroes until it is refused; how many were taken.
async fn push(stream: &mut TlsStream<TcpStream>, most: u64) -> u64 {
    let zeroes = vec![0; 64 << 10];
    let mut sent = 0;
    while sent < most {
        let wrote = tokio::time::timeout(ANSWERED, stream.write_all(&zeroes)).await;
        if !matches!(wrote, Ok(Ok(()))) {
            break;
        }
        sent += 64 << 10;
    }
    // What is on its way may still be refused.
    let _ended = stream.flush().await;
    sent
}

/// Ten thousand connections that say nothing; by how many descriptors the process grew at the most.
async fn crowd(node: &Spread, victim: &str, target: SocketAddr) -> eyre::Result<u64> {
    let before = Counts::read(node, victim)?.descriptors;
    let mut most = 0;
    for _wave in 0..CONNECTIONS / AT_ONCE {
        let wave: Vec<_> = futures::future::join_all((0..AT_ONCE).map(|_| TcpStream::connect(target))).await;
        ensure!(wave.iter().any(Result::is_ok), "nobody listens any more");
        most = most.max(Counts::read(node, victim)?.descriptors.saturating_sub(before));
    }
    Ok(most)
}

/// What a process has counted.
#[derive(Clone, Copy, Debug)]
struct Counts {
    crowd: u64,
    stranger: u64,
    rogue: u64,
    unfit: u64,
    malformed: u64,
    descriptors: u64,
}

impl Counts {
    fn read(node: &Spread, instance: &str) -> eyre::Result<Self> {
        let mut stream = std::net::TcpStream::connect(node.metrics(instance)?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let number = |name: &str, label: &str| {
            let is_it = |line: &&str| line.split('{').next() == Some(name) && line.contains(label);
            let number = page.lines().find(is_it).and_then(|line| line.rsplit(' ').next()?.parse().ok());
            number.ok_or_else(|| eyre::eyre!("no {name} with {label} in:\n{page}"))
        };
        let refused = |why: &str| number("alys_link_streams_refused_total", &format!("why=\"{why}\""));
        Ok(Self {
            crowd: refused("crowd")?,
            stranger: refused("stranger")?,
            rogue: refused("rogue")?,
            unfit: refused("unfit")?,
            malformed: number("alys_link_messages_lost_total", "how=\"malformed\"")?,
            descriptors: number("alys_process_open_fds", "")?,
        })
    }
}

/// Incarnation of each process, and the most memory that it ever had.
async fn figures(node: &Spread) -> eyre::Result<BTreeMap<String, (Vec<u8>, u64)>> {
    let mut figures = BTreeMap::new();
    for seen in node.observations().await {
        let status = std::fs::read_to_string(format!("/proc/{}/status", seen.pid))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        figures.insert(seen.instance, (seen.incarnation, peak.ok_or_eyre("no VmHWM")? << 10));
    }
    ensure!(figures.len() == 7, "{} processes answer", figures.len());
    Ok(figures)
}

/// Blocks and answers while the rogue is at work.
struct Pace {
    begun: Instant,
    asked: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    asks: tokio::task::AbortHandle,
    height: u64,
}

impl Pace {
    async fn begin(node: &Spread) -> eyre::Result<Self> {
        let (asked, failed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (cluster, counted, missed) = (node.mesh()?.clone(), asked.clone(), failed.clone());
        let asks = tokio::spawn(async move {
            let storage = cluster.remote::<storage::Inbox>();
            loop {
                if let Err(refused) = storage.ask_within(ANSWERED, storage::GetHead {}).await {
                    eprintln!("a question was not answered: {refused}");
                    missed.fetch_add(1, Ordering::Relaxed);
                }
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let height = wait("a head", PATIENCE, async || Ok(Some(node.head_now().await?.height))).await?;
        Ok(Self { begun: Instant::now(), asked, failed, asks: asks.abort_handle(), height })
    }

    /// One block a slot of a second, or nearly; every question answered.
    async fn held(self, node: &Spread) -> eyre::Result<()> {
        let blocks = node.head_now().await?.height - self.height;
        let took = self.begun.elapsed();
        self.asks.abort();
        let (asked, failed) = (self.asked.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        println!("{blocks} blocks and {asked} answers in {took:?}");
        ensure!(blocks * 2 >= took.as_secs(), "{blocks} blocks in {took:?}");
        if failed > 0 || asked < 20 {
            bail!("{failed} of {asked} questions were not answered");
        }
        Ok(())
    }
}
