//! Memory under overload: a sender tells ten times what the receiver can take, for a minute. Both sides must
//! stay within their bounds: the receiver's mailbox and credit are bounded, and so is what waits at the sender.

use std::time::{Duration, Instant};

use alys_proto::Refused;
use alys_proto::network::{self, GetPeers, ReportPeer};
use eyre::OptionExt as _;

use super::ends;
use super::own::Own;

/// A handler takes so long: at most a thousand messages a second.
const HANDLING: Duration = Duration::from_millis(1);
/// Ten times as many are told.
const A_SECOND: u32 = 10_000;
/// With bodies of this size all that may wait at the sender, 48 MiB, is told within a second and taken within ten: so the
/// allocator's holes have been filled and emptied several times when the levels are compared.
const BODY: usize = 8 * 1_024;
const SECONDS: u32 = 60;
/// By then every bound is met.
const SETTLED: u32 = 30;
/// What a side may add to its start. 48 MiB may wait at the sender, in segments of which each may end half used by a message
/// that did not fit. Without a bound it would be 4.7 GiB after a minute.
const MOST_GROWTH: u64 = 2 * 48 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the receiving process runs, which takes its time over what it is told; never returns.
pub async fn receive(folder: &std::path::Path) -> eyre::Result<()> {
    let slow = async |message| {
        match message {
            network::Inbox::GetPeers(_, reply) => reply.send(network::Peers::default()),
            _ => tokio::time::sleep(HANDLING).await,
        }
        Ok(())
    };
    ends::be_network(&ends::config(folder), slow).await
}

/// Measures in a process of its own (the mesh is a static of the process) and prints.
pub fn measure_beside() -> eyre::Result<()> {
    super::own::run_beside(&["overload"])
}

/// Measures and prints.
pub async fn measure() -> eyre::Result<()> {
    let folder = tempfile::tempdir()?;
    ends::write_cookie(folder.path())?;
    let receiver = Own::start(&["slow".as_ref(), folder.path().as_os_str()])?;
    let cluster = alys_cluster::attach(&ends::config(folder.path())).await?;
    let network = cluster.remote::<network::Inbox>();
    network.ask_within(PATIENCE, GetPeers {}).await?;
    let resident = || Ok::<_, eyre::Report>([resident(std::process::id())?, resident(receiver.id())?]);
    let (mut told, mut busy) = (0_u64, 0_u64);
    let mut levels = vec![resident()?];
    let began = Instant::now();
    for second in 0..SECONDS {
        for message in 0..A_SECOND {
            let due = began + Duration::from_secs(second.into()) + Duration::from_secs(1) * message / A_SECOND;
            if message % 100 == 0 {
                tokio::time::sleep_until(due.into()).await;
            }
            match network.tell(ReportPeer { peer_id: "p".repeat(BODY), reason: String::new() }) {
                Ok(()) => told += 1,
                Err(Refused::Busy(_)) => busy += 1,
                Err(refused) => return Err(refused.into()),
            }
        }
        levels.push(resident()?);
    }
    show(&levels, told, busy)
}

fn show(levels: &[[u64; 2]], told: u64, busy: u64) -> eyre::Result<()> {
    const MIB: u64 = 1024 * 1024;
    for (side, name) in [(0, "sender"), (1, "receiver")] {
        let at = |second: u32| {
            let level = usize::try_from(second).ok().and_then(|second| levels.get(second)).map(|both| both[side]);
            level.ok_or_eyre("it was looked at every second")
        };
        let (start, settled, end) = (at(0)?, at(SETTLED)?, at(SECONDS)?);
        let most = levels.iter().map(|both| both[side]).max().unwrap_or_default();
        println!(
            "10x overload, {name:<9} resident MiB {} at the start, {} after {SETTLED} s, {} after {SECONDS} s, at most {}",
            start / MIB,
            settled / MIB,
            end / MIB,
            most / MIB
        );
        eyre::ensure!(most <= start + MOST_GROWTH, "{name} grew from {start} to {most} bytes");
    }
    println!("10x overload, messages               taken from the sender {told}, refused as busy {busy}");
    Ok(())
}

/// Resident memory in bytes, field 2 of `/proc/<pid>/statm` (proc(5)).
fn resident(pid: u32) -> eyre::Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split_whitespace().nth(1).ok_or_eyre("not the form of proc(5)")?.parse()?;
    Ok(pages * u64::try_from(rustix::param::page_size())?)
}
