//! What every message costs inside of one process: the look-up of its receiver, and header, stamp and counters.

use std::hint::black_box;
use std::time::Instant;

use alys_cluster::micro::{look_up, only_encode, short_circuit};
use alys_proto::Role;
use alys_proto::network::{self, GetPeers, ReportPeer};

use super::ends;
use super::own::Own;

/// Of each measured loop.
const TIMES: u32 = 1_000_000;
/// Bytes of a message's text.
const BODY: usize = 100;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Measures in a process of its own (the mesh is a static of the process) and prints.
pub fn measure_beside(rounds: usize) -> eyre::Result<()> {
    super::own::run_beside(&["micro", &rounds.to_string()])
}

/// Measures and prints medians.
pub async fn measure(rounds: usize) -> eyre::Result<()> {
    let folder = tempfile::tempdir()?;
    ends::write_cookie(folder.path())?;
    let _answering = Own::start(&["echo".as_ref(), folder.path().as_os_str()])?;
    let cluster = alys_cluster::attach(&ends::config(folder.path())).await?;
    cluster.remote::<network::Inbox>().ask_within(PATIENCE, GetPeers {}).await?;
    eyre::ensure!(look_up(&cluster, Role::Network) && !look_up(&cluster, Role::Chain), "one role is there");
    let remote = short_circuit::<network::Inbox>();
    let message = ReportPeer { peer_id: "p".repeat(BODY), reason: String::new() };
    remote.tell(message.clone())?;

    let looked_up = median(rounds, || {
        black_box(look_up(black_box(&cluster), black_box(Role::Network)));
    });
    let encoded = median(rounds, || drop(black_box(only_encode::<network::Inbox, _>(&message.clone()))));
    let told = median(rounds, || drop(black_box(remote.tell(message.clone()))));
    println!("look-up of a role, ns                {looked_up:.0}");
    let shell = told - encoded;
    println!("header, stamp and counters, ns       {shell:.0}  (told {told:.0}, encoding {encoded:.0} of it)");
    Ok(())
}

/// Nanoseconds of one call.
fn median(rounds: usize, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_round| {
            let begin = Instant::now();
            for _time in 0..TIMES {
                call();
            }
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
