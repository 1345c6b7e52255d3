//! Rate, processor time and memory of told messages between two processes, for profiling the mesh alone: `alys-bench mesh` and
//! `alys-bench overload` measure the same beside baselines and the other roles.
//!
//! ```text
//! cargo run -p alys-cluster --example told [rounds]           rates
//! cargo run -p alys-cluster --example told overload           memory while the receiver is slow
//! perf record -g -p $(pgrep -f 'told answer')                 while rounds run
//! ```
#![allow(clippy::print_stdout, reason = "it shows its figures")]

use std::error::Error;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::testing::Plain;
use alys_cluster::{ClusterConfig, Identity, Remote};
use alys_proto::network::{self, GetPeers, ReportPeer};
use alys_proto::{Refused, Role};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TOLD: u32 = 1_000_000;
const BODY: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);
/// What a handler takes in an overload, and the bodies that are then told for so long.
const HANDLING: Duration = Duration::from_millis(1);
const LARGE_BODY: usize = 8 * 1024;
const OVERLOAD: Duration = Duration::from_secs(12);

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_else(|| "5".into());
    match (first.as_str(), arguments.next()) {
        ("answer", Some(folder)) => answer(folder.as_ref(), Duration::ZERO).await,
        ("slow", Some(folder)) => answer(folder.as_ref(), HANDLING).await,
        ("overload", None) => overload().await,
        (rounds, None) => rates(rounds.parse()?).await,
        (_, Some(_)) => Err("see the doc".into()),
    }
}

async fn rates(rounds: u32) -> Outcome<()> {
    let (answering, _cluster, network, _folder) = pair("answer").await?;
    let mut all = 0u64;
    for _ in 0..rounds {
        let spent = || Ok::<_, Box<dyn Error>>([cpu(std::process::id())?, cpu(answering.0.id())?]);
        let (before, began) = (spent()?, Instant::now());
        for _ in 0..TOLD {
            tell(&network, BODY).await?;
        }
        // Waits behind all of them.
        let handled: u64 = network.ask_within(PATIENCE, GetPeers {}).await?.local_peer_id.parse()?;
        let took = began.elapsed();
        all = all.saturating_add(u64::from(TOLD));
        if handled != all {
            return Err(format!("{handled} of {all} were handled: a rate without the others would be no rate").into());
        }
        let after = spent()?;
        let micros = |side: usize| {
            let spent = after.get(side).zip(before.get(side)).map(|(after, before)| after.saturating_sub(*before));
            spent.unwrap_or_default().as_secs_f64() * 1e6 / f64::from(TOLD)
        };
        let rate = f64::from(TOLD) / took.as_secs_f64() / 1e6;
        println!("{rate:.2} M/s, µs of processor a message: sender {:.2}, receiver {:.2}", micros(0), micros(1));
    }
    Ok(())
}

async fn overload() -> Outcome<()> {
    let (receiver, _cluster, network, _folder) = pair("slow").await?;
    let began = Instant::now();
    let (mut most, mut busy) = ([0, 0], 0u32);
    while began.elapsed() < OVERLOAD {
        for _ in 0..100 {
            if matches!(network.tell(message(LARGE_BODY)), Err(Refused::Busy(_))) {
                busy = busy.saturating_add(1);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        for (most, pid) in most.iter_mut().zip([std::process::id(), receiver.0.id()]) {
            *most = resident(pid)?.max(*most);
        }
    }
    println!("resident MiB at most: sender, receiver {most:?}; refused as busy {busy}");
    Ok(())
}

fn message(bytes: usize) -> ReportPeer {
    ReportPeer { peer_id: "p".repeat(bytes), reason: String::new() }
}

async fn tell(to: &Remote<network::Inbox>, bytes: usize) -> Outcome<()> {
    loop {
        match to.tell(message(bytes)) {
            Ok(()) => return Ok(()),
            Err(Refused::Busy(_)) => tokio::time::sleep(Duration::from_micros(100)).await,
            Err(refused) => return Err(refused.into()),
        }
    }
}

/// The receiving process; never returns.
async fn answer(folder: &Path, takes: Duration) -> Outcome<()> {
    let mut handled = 0u64;
    let role = Plain::new(move |message| {
        let asked = match message {
            network::Inbox::GetPeers(_, reply) => Some(reply),
            _ => None,
        };
        handled = handled.saturating_add(u64::from(asked.is_none()));
        async move {
            match asked {
                Some(reply) => reply.send(network::Peers { local_peer_id: handled.to_string(), ..network::Peers::default() }),
                None if takes.is_zero() => {}
                None => tokio::time::sleep(takes).await,
            }
            Ok(())
        }
    });
    let code = alys_cluster::run(&config(folder), Identity::new(Role::Network, "network"), |_cluster| Ok(role)).await;
    std::process::exit(code.into());
}

/// A receiving process, linked.
async fn pair(does: &str) -> Outcome<(Receiving, alys_cluster::Cluster, Remote<network::Inbox>, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "0123456789abcdef0123456789abcdef")?;
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600))?;
    let receiving = Command::new(std::env::current_exe()?).arg(does).arg(folder.path()).stdin(Stdio::null()).spawn()?;
    let receiving = Receiving(receiving);
    let cluster = alys_cluster::attach(&config(folder.path())).await?;
    let network = cluster.remote();
    network.ask_within(PATIENCE, GetPeers {}).await?;
    Ok((receiving, cluster, network, folder))
}

fn config(folder: &Path) -> ClusterConfig {
    let mut config =
        ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), ..ClusterConfig::default() };
    config.telemetry.filter = "warn".into();
    config
}

/// Dies with the measurement.
struct Receiving(Child);

impl Drop for Receiving {
    fn drop(&mut self) {
        // Already dead is as good.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// User and system time of a process, fields 14 and 15 of `/proc/<pid>/stat`.
fn cpu(pid: u32) -> Outcome<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit_once(')').ok_or("not the form of proc(5)")?.1;
    let mut ticks = 0;
    for field in behind_name.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// Resident memory in MiB, field 2 of `/proc/<pid>/statm`.
fn resident(pid: u32) -> Outcome<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split_whitespace().nth(1).ok_or("not the form of proc(5)")?.parse()?;
    Ok(pages * u64::try_from(rustix::param::page_size())? / (1024 * 1024))
}
