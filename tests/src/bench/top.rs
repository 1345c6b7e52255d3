//! What a debugger costs: questions answered per second with `alys debug top` on a terminal, beside without, in turn.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::{Cluster, ClusterConfig, Remote};
use alys_proto::network;
use eyre::{OptionExt as _, WrapErr as _};

use super::ends::{be_network, echo};
use crate::cluster::{binary, wait};
use crate::terminal::Terminal;

/// Questions under way at once.
const UNDER_WAY: usize = 64;
/// Of one measurement; each round has two.
const WINDOW: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);

/// What the answering process runs; never returns.
pub async fn answer(folder: &Path) -> eyre::Result<()> {
    be_network(&config(folder), echo).await
}

/// Measures in a process of its own (the mesh is a static of the process) and prints.
pub fn measure_beside(rounds: usize) -> eyre::Result<()> {
    let status = Command::new(std::env::current_exe()?).arg("top").arg(rounds.to_string()).status()?;
    eyre::ensure!(status.success(), "the measurement with a debugger ended with {status}");
    Ok(())
}

/// Measures and prints.
pub async fn measure(rounds: usize) -> eyre::Result<()> {
    let folder = tempfile::tempdir()?;
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "0123456789abcdef0123456789abcdef")?;
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600))?;
    std::fs::write(folder.path().join("alys.toml"), "[cluster]\nrun_dir = \"run\"\ncookie_file = \"cookie\"\n")?;
    let answering = Answering::start(folder.path())?;
    let cluster = alys_cluster::attach(&config(folder.path())).await?;
    let network = cluster.remote::<network::Inbox>();
    network.ask_within(PATIENCE, network::GetPeers {}).await?;
    rate(&network).await?;

    let (mut without, mut with, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(rate(&network).await?);
        let top = attach_top(folder.path()).await?;
        let (before, begun) = (processor(top.pid())?, Instant::now());
        with.push(rate(&network).await?);
        shares.push((processor(top.pid())? - before) / begun.elapsed().as_secs_f64());
        drop(top);
        gone(&cluster).await?;
    }
    drop(answering);
    let (without, with) = (median(without)?, median(with)?);
    println!("questions/s without / with top        {without:.0} / {with:.0}  lost {:.2} %", 100.0 * (1.0 - with / without));
    println!("top itself, share of a core           {:.1} %", 100.0 * median(shares)?);
    Ok(())
}

/// Answers per second.
async fn rate(network: &Remote<network::Inbox>) -> eyre::Result<f64> {
    let begun = Instant::now();
    let asking = (0..UNDER_WAY).map(|_| {
        let network = network.clone();
        tokio::spawn(async move {
            let mut answered = 0u32;
            while begun.elapsed() < WINDOW {
                network.ask_within(PATIENCE, network::GetPeers {}).await?;
                answered += 1;
            }
            eyre::Ok(answered)
        })
    });
    let mut answered = 0.0;
    for task in futures::future::join_all(asking).await {
        answered += f64::from(task??);
    }
    Ok(answered / begun.elapsed().as_secs_f64())
}

/// A debugger on a terminal, once it has drawn the role.
async fn attach_top(folder: &Path) -> eyre::Result<Terminal> {
    let mut command = Command::new(binary("alys")?);
    command.args(["debug", "top"]).arg(format!("--data-dir={}", folder.display()));
    let top = Terminal::start(command, 120, 40)?;
    wait("top to draw", PATIENCE, async || Ok(top.drawn().contains("network").then_some(())))
        .await
        .wrap_err_with(|| top.drawn())?;
    Ok(top)
}

/// Waits until no debugger but us is linked.
async fn gone(cluster: &Cluster) -> eyre::Result<()> {
    wait("the debugger to be gone", PATIENCE, async || {
        let seen = cluster.observe_all(Duration::from_secs(2)).await;
        let links = seen.into_iter().find_map(|one| one.observation.ok()).map_or(0, |observation| observation.links.len());
        Ok((links <= 1).then_some(()))
    })
    .await
}

/// Seconds of processor time, from fields 14 and 15 of `/proc/<pid>/stat` (proc(5)).
fn processor(pid: u32) -> eyre::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit_once(')').ok_or_eyre("no process name")?.1;
    let ticks: Vec<f64> = behind_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(ticks.iter().sum::<f64>() / f64::from(per_second))
}

fn median(mut values: Vec<f64>) -> eyre::Result<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().ok_or_eyre("nothing was measured")
}

fn config(folder: &Path) -> ClusterConfig {
    let mut config =
        ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), ..ClusterConfig::default() };
    config.telemetry.filter = "warn".into();
    config
}

struct Answering(Child);

impl Answering {
    fn start(folder: &Path) -> eyre::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.arg("echo").arg(folder).stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // Already dead is as good.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}
