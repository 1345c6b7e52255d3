//! Messages between two processes: ours, beside a bare `ractor_cluster` and a tonic server between the same two.
//!
//! | figure | ours | bare | tonic |
//! |---|---|---|---|
//! | one after the other | `Remote::ask` | `ractor::call_t!` | unary |
//! | 256 under way | the same | the same | the same, on one HTTP/2 connection |
//! | told, 100 bytes | `Remote::tell` | `cast` | client stream, computed where it is written |
//! | told by a task of its own | `Remote::tell` | `cast` | client stream behind a channel of 1,000, as a program would tell |
//!
//! The baselines are what the crates give out of the box: TCP on loopback, ractor's own listener and derive.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::testing::free_port;
use alys_cluster::{Cluster, Remote};
use alys_proto::governance::FromMember;
use alys_proto::governance::from_member::Payload;
use alys_proto::network::{self, GetPeers, ReportPeer};
use alys_proto::{Refused, storage};
use eyre::OptionExt as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use ractor::ActorRef;

use super::ends::{self, Bare, Governance};

const WARM_UP: usize = 500;
const CALLS: usize = 5_000;
const UNDER_WAY: usize = 256;
const TOLD: usize = 200_000;
const BODY: usize = 100;
/// As many messages as a mailbox of ours holds.
const CHANNEL: usize = 1_000;

/// One figure of one round for all three.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Through our mesh.
    pub ours: f64,
    /// Bare ractor_cluster.
    pub bare: f64,
    /// tonic.
    pub tonic: f64,
}

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// One call after the other, median, microseconds.
    pub sequential: Figure,
    /// 256 calls under way, calls per second.
    pub under_way: Figure,
    /// Told messages per second.
    pub told: Figure,
    /// The same, with the tonic stream fed through a channel.
    pub told_by_a_task: Figure,
    /// Processor time of both processes for a told message, microseconds.
    pub told_cpu: Figure,
}

/// The three ways to the answering process.
struct Ways {
    ours: Remote<network::Inbox>,
    bare: ActorRef<Bare>,
    tonic: Governance,
    answering: Answering,
    _cluster: Cluster,
}

/// Runs rounds against a started process, the three kinds in turn.
pub async fn measure(rounds: usize) -> eyre::Result<Vec<Round>> {
    let folder = tempfile::tempdir()?;
    ends::write_cookie(folder.path())?;
    let (bare_port, tonic_port) = (free_port()?, free_port()?);
    let answering = Answering::start(folder.path(), bare_port, tonic_port)?;
    let cluster = alys_cluster::attach(&ends::config(folder.path())).await.map_err(|cause| eyre::eyre!("{cause}"))?;
    let ours = cluster.remote::<network::Inbox>();
    ours.ask_within(Duration::from_secs(10), GetPeers {}).await?;
    let bare = ends::reach_bare(bare_port).await?;
    let tonic = ends::reach_tonic(tonic_port).await?;
    let mut ways = Ways { ours, bare, tonic, answering, _cluster: cluster };
    let mut measured = Vec::new();
    for _ in 0..rounds {
        measured.push(round(&mut ways).await?);
    }
    Ok(measured)
}

async fn round(ways: &mut Ways) -> eyre::Result<Round> {
    let (ours, bare, tonic) = (ways.ours.clone(), ways.bare.clone(), ways.tonic.clone());
    let ask_ours = async || ours.ask(GetPeers {}).await.map(drop).map_err(eyre::Report::from);
    let ask_bare = async || ends::ask_bare(&bare).await;
    let ask_tonic = async || tonic.clone().get_head(storage::GetHead {}).await.map(drop).map_err(eyre::Report::from);
    let sequential = Figure { ours: median(ask_ours).await?, bare: median(ask_bare).await?, tonic: median(ask_tonic).await? };
    let under_way = Figure { ours: rate(ask_ours).await?, bare: rate(ask_bare).await?, tonic: rate(ask_tonic).await? };
    let ours = told(ways, async |ways| tell_ours(&ways.ours).await).await?;
    let bare = told(ways, async |ways| tell_bare(&ways.bare).await).await?;
    let tonic = told(ways, async |ways| tell_tonic(&mut ways.tonic).await).await?;
    let fed = told(ways, async |ways| feed_tonic(&mut ways.tonic).await).await?;
    Ok(Round {
        sequential,
        under_way,
        told: Figure { ours: ours.0, bare: bare.0, tonic: tonic.0 },
        told_by_a_task: Figure { ours: ours.0, bare: bare.0, tonic: fed.0 },
        told_cpu: Figure { ours: ours.1, bare: bare.1, tonic: tonic.1 },
    })
}

async fn median(ask: impl AsyncFn() -> eyre::Result<()>) -> eyre::Result<f64> {
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..WARM_UP + CALLS {
        let begin = Instant::now();
        ask().await?;
        if call >= WARM_UP {
            times.push(begin.elapsed());
        }
    }
    times.sort_unstable();
    let middle = times.get(times.len() / 2).ok_or_eyre("no call was measured")?;
    Ok(middle.as_secs_f64() * 1e6)
}

async fn rate(ask: impl AsyncFn() -> eyre::Result<()>) -> eyre::Result<f64> {
    const ALL: usize = CALLS * 4;
    let begin = Instant::now();
    stream::iter(0..ALL).map(|_| ask()).buffer_unordered(UNDER_WAY).try_collect::<()>().await?;
    Ok(per_second(ALL, begin.elapsed()))
}

/// Messages per second and microseconds of processor time a message, of both processes.
async fn told(ways: &mut Ways, tell: impl AsyncFnOnce(&mut Ways) -> eyre::Result<()>) -> eyre::Result<(f64, f64)> {
    let spent = |ways: &Ways| Ok::<_, eyre::Report>(cpu(std::process::id())? + cpu(ways.answering.0.id())?);
    let (before, begin) = (spent(ways)?, Instant::now());
    tell(ways).await?;
    let took = begin.elapsed();
    let cpu = (spent(ways)? - before).as_secs_f64() * 1e6 / f64::from(u32::try_from(TOLD)?);
    Ok((per_second(TOLD, took), cpu))
}

async fn tell_ours(to: &Remote<network::Inbox>) -> eyre::Result<()> {
    for _ in 0..TOLD {
        while let Err(refused) = to.tell(ReportPeer { peer_id: "p".repeat(BODY), reason: String::new() }) {
            // Its credit is used up and the queue here is full: let it work.
            eyre::ensure!(matches!(refused, Refused::Busy(_)), "{refused}");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }
    // Waits behind all of them.
    let _handled_all = to.ask_within(Duration::from_secs(60), GetPeers {}).await?;
    Ok(())
}

async fn tell_bare(to: &ActorRef<Bare>) -> eyre::Result<()> {
    for _ in 0..TOLD {
        to.cast(Bare::Tell(vec![7; BODY])).map_err(|cause| eyre::eyre!("{cause}"))?;
    }
    ends::ask_bare(to).await
}

async fn tell_tonic(to: &mut Governance) -> eyre::Result<()> {
    let mut answers = to.session(stream::iter((0..TOLD).map(|_| tonic_message()))).await?.into_inner();
    answers.message().await?.ok_or_eyre("the stream ended without an answer")?;
    Ok(())
}

/// As whoever has a handle of the stream and something to tell.
async fn feed_tonic(to: &mut Governance) -> eyre::Result<()> {
    let (sender, receiver) = tokio::sync::mpsc::channel(CHANNEL);
    let fed = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|message| (message, receiver)));
    let mut answers = to.session(fed).await?.into_inner();
    for _ in 0..TOLD {
        sender.send(tonic_message()).await?;
    }
    drop(sender);
    answers.message().await?.ok_or_eyre("the stream ended without an answer")?;
    Ok(())
}

fn tonic_message() -> FromMember {
    FromMember { payload: Some(Payload::BlockProposal(vec![7; BODY])), ..FromMember::default() }
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// User and system time of a process, fields 14 and 15 of `/proc/<pid>/stat`.
fn cpu(pid: u32) -> eyre::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit_once(')').ok_or_eyre("not the form of proc(5)")?.1;
    let fields = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = fields.sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// The answering process. Dies with the measurement.
struct Answering(Child);

impl Answering {
    fn start(folder: &Path, bare_port: u16, tonic_port: u16) -> eyre::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("answer").arg(folder).args([bare_port.to_string(), tonic_port.to_string()]);
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // Already dead is as good.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}
