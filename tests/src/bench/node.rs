//! A whole cluster at rest and at work: start, memory, processor, block path, peg-in.

use std::time::{Duration, Instant};

use alloy_primitives::U256;
use alys_proto::Role;
use bitcoin::Amount;
use eyre::OptionExt as _;

use crate::bitcoind::Bitcoind;
use crate::cluster::{Alys, Options, wait};
use crate::ethereum::random_key;

const SETTLE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(20);
const BLOCKS: usize = 30;
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures and prints.
pub async fn measure(rounds: usize) -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let options = Options { slot_millis: 2_000, confirmations: 6, ..Options::default() };
    let mut ready = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let mut alys = Alys::up(&bitcoind, options.clone()).await?;
        ready.push(begun.elapsed().as_secs_f64());
        alys.stop()?;
    }
    println!("`alys up` → all roles ready, s       {}", spread(ready)?);

    let mut alys = Alys::up(&bitcoind, options).await?;
    idle(&alys).await?;
    blocks(&alys).await?;
    peg_in(&bitcoind, &alys, rounds).await?;
    alys.stop()?;
    Ok(())
}

async fn idle(alys: &Alys) -> eyre::Result<()> {
    tokio::time::sleep(SETTLE).await;
    let before = alys.observations().await?;
    let begun = Instant::now();
    tokio::time::sleep(IDLE).await;
    let after = alys.observations().await?;
    let elapsed = begun.elapsed();
    let cpu = |seen: &[alys_proto::cluster::Observation]| seen.iter().map(|role| role.cpu_millis).sum::<u64>();
    let busy = Duration::from_millis(cpu(&after).saturating_sub(cpu(&before)));
    let resident: u64 = after.iter().map(|role| role.resident_bytes).sum();
    println!("idle, eight roles: resident MiB      {}", resident / 1024 / 1024);
    println!("idle, eight roles: % of one core     {:.1}", 100.0 * busy.as_secs_f64() / elapsed.as_secs_f64());
    for role in after {
        println!("    {:<12} {:>5} MiB", role.role().name(), role.resident_bytes / 1024 / 1024);
    }
    Ok(())
}

/// Slot start → committed and stored, as chain measures it block by block.
async fn blocks(alys: &Alys) -> eyre::Result<()> {
    let mut latencies = Vec::new();
    let mut last = alys.head().await?.height;
    while latencies.len() < BLOCKS {
        let head =
            wait("the next block", PATIENCE, async || Ok(Some(alys.head().await?).filter(|head| head.height > last))).await?;
        last = head.height;
        let latency = alys.status_field(Role::Chain, "block_latency_ms").await?.ok_or_eyre("chain shows no latency")?;
        latencies.push(latency.parse()?);
    }
    println!("slot start → committed, empty, ms    {}", spread(latencies)?);
    Ok(())
}

async fn peg_in(bitcoind: &Bitcoind, alys: &Alys, rounds: usize) -> eyre::Result<()> {
    let address = alys.federation().await?.address.parse::<bitcoin::Address<_>>()?.assume_checked();
    let mut latencies = Vec::new();
    for _ in 0..rounds {
        let owner = random_key().address();
        bitcoind.deposit(&address, Amount::from_sat(1_000_000), owner.as_slice()).await?;
        bitcoind.mine(6).await?;
        let begun = Instant::now();
        wait("the mint", PATIENCE, async || Ok((alys.ethereum().balance(owner).await? > U256::ZERO).then_some(()))).await?;
        latencies.push(begun.elapsed().as_secs_f64());
    }
    println!("6th confirmation → wei, s (2 s slots) {}", spread(latencies)?);
    Ok(())
}

fn spread(mut values: Vec<f64>) -> eyre::Result<String> {
    values.sort_unstable_by(f64::total_cmp);
    let (first, last) = (values.first().ok_or_eyre("nothing was measured")?, values.last().ok_or_eyre("nothing was measured")?);
    let median = values.get(values.len() / 2).ok_or_eyre("nothing was measured")?;
    Ok(format!("min {first:.2}  median {median:.2}  max {last:.2}  (n = {})", values.len()))
}
