//! Control beside bulk: how long a question on the control lane takes while batches of 16 MiB come on the bulk lane of the
//! same link, as many as its window lets through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alys_cluster::{Cluster, Remote};
use alys_proto::cluster::Observe;
use alys_proto::{Role, cluster, network};
use eyre::OptionExt as _;

use super::ends;
use super::own::Own;
use super::times::Times;

/// What a batch of blocks may be at most.
pub(super) const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Questions of each measurement, one after the other.
const QUESTIONS: usize = 2_000;
/// Batches asked for at once.
const PULLERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(20);
/// What the design allows bulk to cost a heartbeat.
const AIM: Duration = Duration::from_millis(50);

/// Measures in a process of its own (the mesh is a static of the process) and prints.
pub fn measure_beside() -> eyre::Result<()> {
    super::own::run_beside(&["lanes"])
}

/// Measures and prints.
pub async fn measure() -> eyre::Result<()> {
    let folder = tempfile::tempdir()?;
    ends::write_cookie(folder.path())?;
    let _answering = Own::start(&["echo".as_ref(), folder.path().as_os_str()])?;
    let cluster = alys_cluster::attach(&ends::config(folder.path())).await?;
    let network = cluster.remote::<network::Inbox>();
    network.ask_within(PATIENCE, network::GetPeers {}).await?;
    let inspector = inspector(&cluster)?;
    let alone = questions(&inspector).await?;

    let (stop, batches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let pullers: Vec<_> = (0..PULLERS).map(|_| tokio::spawn(pull(network.clone(), stop.clone(), batches.clone()))).collect();
    let began = Instant::now();
    let beside = questions(&inspector).await;
    let seconds = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Release);
    for puller in pullers {
        puller.await??;
    }
    let beside = beside?;
    let pulled = f64::from(u32::try_from(batches.load(Ordering::Acquire))?) * 16.0 / seconds;
    println!("control lane, alone                  {alone}");
    println!("control lane, beside 16 MiB batches  {beside}  at {pulled:.0} MiB/s  within {AIM:?}: {}", beside.within(AIM));
    Ok(())
}

fn inspector(cluster: &Cluster) -> eyre::Result<Remote<cluster::Inbox>> {
    cluster.inspector(Role::Network, "network").ok_or_eyre("the role shows no inspector")
}

async fn questions(inspector: &Remote<cluster::Inbox>) -> eyre::Result<Times> {
    let mut times = Vec::with_capacity(QUESTIONS);
    for _question in 0..QUESTIONS {
        let begin = Instant::now();
        inspector.ask_within(PATIENCE, Observe {}).await?;
        times.push(begin.elapsed());
    }
    Times::of(times)
}

async fn pull(network: Remote<network::Inbox>, stop: Arc<AtomicBool>, batches: Arc<AtomicU64>) -> eyre::Result<()> {
    while !stop.load(Ordering::Acquire) {
        let question = network::ParallelBlockDownloadRequest { from_height: 1, count: 1 };
        let got = network.ask_within(PATIENCE, question).await?;
        let bytes: usize = got.blocks.iter().map(|block| block.block.len()).sum();
        eyre::ensure!(bytes == BATCH_BYTES, "a batch of {bytes} bytes");
        batches.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}
