//! What every message costs inside of one process: the look-up of its receiver, and header, stamp and counters. And what the
//! proof of a real merge-mined block costs.

use std::hint::black_box;
use std::time::Instant;

use alys_cluster::micro::{look_up, only_encode, short_circuit};
use alys_pow::{AuxChainId, AuxPow, Expected, Target};
use alys_proto::Role;
use alys_proto::network::{self, GetPeers, ReportPeer};

use super::ends;
use super::own::Own;

/// Of each measured loop.
const TIMES: u32 = 1_000_000;
/// Of the loops over a proof, which takes microseconds.
const PROOFS: u32 = 50_000;
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
    measure_work(rounds)
}

/// Namecoin's block 37,174: branches of 5 and 4 hashes.
fn measure_work(rounds: usize) -> eyre::Result<()> {
    let lines = include_str!("../../../actors/pow/tests/vectors/namecoin-37174.hex");
    let bytes = hex::decode(lines.split_whitespace().collect::<String>())?;
    let proof = AuxPow::decode(&bytes)?;
    let expected = Expected {
        chain_id: AuxChainId::new(1)?,
        mined_hash: "65ef89dc3da0c0df9b3d5309f89dd2eaceb81227605ead903d8ef6619d328b39".parse()?,
        target: Target::MAX,
    };
    proof.check(&expected)?;
    let checked = median_of(rounds, PROOFS, || {
        let _holds = black_box(black_box(&proof).check(&expected));
    });
    let decoded = median_of(rounds, PROOFS, || drop(black_box(AuxPow::decode(black_box(&bytes)))));
    println!("check of a merged mining proof, µs   {:.1}  (its decoding {:.1})", checked / 1e3, decoded / 1e3);
    Ok(())
}

/// Nanoseconds of one call.
fn median(rounds: usize, call: impl FnMut()) -> f64 {
    median_of(rounds, TIMES, call)
}

pub(super) fn median_of(rounds: usize, times: u32, mut call: impl FnMut()) -> f64 {
    let mut measured: Vec<f64> = (0..rounds)
        .map(|_round| {
            let begin = Instant::now();
            for _time in 0..times {
                call();
            }
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(times)
        })
        .collect();
    measured.sort_unstable_by(f64::total_cmp);
    measured.get(measured.len() / 2).copied().unwrap_or(f64::NAN)
}
