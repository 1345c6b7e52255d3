//! Four validators of one chain on this machine, each a cluster of eight processes: how long an empty block takes from the
//! start of its slot, when it is proposed, until it is committed and stored on all of them; and how many slots are missed.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use alys_proto::Role;
use eyre::{OptionExt as _, ensure};
use serde_json::{Value, json};

use super::times::Times;
use crate::bitcoind::Bitcoind;
use crate::validators::Validators;

const COUNT: u16 = 4;
const SLOT: Duration = Duration::from_secs(2);
/// The first blocks, while the processes start and meet.
const WARM_UP: u64 = 10;
const CONFIRMATIONS: u32 = 6;

/// Measures over so many blocks and prints.
pub async fn measure(blocks: u64) -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let net = Validators::with_slots(&bitcoind, COUNT, CONFIRMATIONS, SLOT)?;
    let all: Vec<usize> = (0..COUNT.into()).collect();
    net.wait_height(&all, WARM_UP, Duration::from_secs(90)).await?;
    let missed_before = missed(&net)?;
    let last = net.highest().await + blocks;
    let patience = SLOT * u32::try_from(blocks)?.saturating_mul(2).saturating_add(60);
    net.wait_height(&all, last, patience).await?;
    let missed = missed(&net)? - missed_before;

    let committed = committed_on_all(&net)?;
    let mut latencies = Vec::new();
    for height in last - blocks + 1..=last {
        let on_all = committed.get(&height).ok_or_eyre("a block is in no log")?;
        latencies.push(on_all.saturating_sub(slot_start(&net, height).await?));
    }
    println!("4 validators: slot start → committed on all   {}, slots missed {missed}", Times::of(latencies)?);
    Ok(())
}

fn missed(net: &Validators) -> eyre::Result<u64> {
    net.nodes[0].row(Role::Chain)?.count("missed_slots")
}

/// When the last validator committed each block, since 1970, as their logs say.
fn committed_on_all(net: &Validators) -> eyre::Result<BTreeMap<u64, Duration>> {
    let mut last: BTreeMap<u64, Duration> = BTreeMap::new();
    for node in &net.nodes {
        let logs = node.logs()?;
        let lines: Vec<Value> = logs
            .lines()
            .filter(|line| line.contains("\"message\":\"block committed\""))
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        ensure!(!lines.is_empty(), "a validator logs no block");
        for line in lines {
            let height = line.pointer("/height").and_then(Value::as_u64).ok_or_eyre("a line without height")?;
            let time = line.pointer("/timestamp").and_then(Value::as_str).ok_or_eyre("a line without time")?;
            let time = humantime::parse_rfc3339(time)?.duration_since(UNIX_EPOCH)?;
            last.entry(height).and_modify(|known| *known = time.max(*known)).or_insert(time);
        }
    }
    Ok(last)
}

/// Since 1970.
async fn slot_start(net: &Validators, height: u64) -> eyre::Result<Duration> {
    let block: Value = net.nodes[0].ethereum().call("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await?;
    let time = block.get("timestamp").and_then(Value::as_str).ok_or_eyre("a block without time")?;
    Ok(Duration::from_secs(u64::from_str_radix(time.trim_start_matches("0x"), 16)?))
}
