//! A node of real processes and peers that are not ours: js-libp2p, which follows the chain as a node in another language
//! would, and then does what nobody should. `tests/tools/foreign-peer` has its side.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_proto::Role;
use alys_proto::cluster::Health;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, wait};
use eyre::{OptionExt as _, WrapErr as _, ensure};
use serde_json::Value;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(20);
/// The longest scenario: a deadline of the node's, and twice as long for a busy machine.
const SCENARIO_PATIENCE: Duration = Duration::from_secs(100);

/// What the node does against it: nobody comes back from a ban, and this is the reason that operators read.
const BANNED: [(&str, &str); 12] = [
    ("garbage", "garbage"),
    ("empty", "garbage"),
    ("oversize", "garbage"),
    ("flood", "too much"),
    ("unasked", "too much"),
    ("streams", "too much"),
    ("library", "too much"),
    ("otherChain", "another chain specification"),
    ("gossipGarbage", "garbage"),
    ("gossipForged", "forged"),
    ("gossipLong", "too long"),
    ("slowLoris", "slow"),
];
/// Streams of gossip that hold no gossip. Which of the two reasons it is depends on how fast they follow each other.
const BANNED_FOR_GOSSIP: [&str; 2] = ["gossipNoise", "gossipOversize"];
/// Ended in time, which the scenario itself checks, with no identity to ban or nothing that only a bad node does.
const BOUNDED: [&str; 4] = ["silent", "noTls", "manyOfOne", "manyIdentities"];

/// Where the foreign peers dial, and what they know of the chain.
struct Target {
    address: String,
    chain_id: u64,
    genesis: String,
}

impl Target {
    async fn of(alys: &Alys) -> eyre::Result<Self> {
        let address = alys.status_field(Role::Network, "addresses").await?.ok_or_eyre("it does not listen")?;
        let spec = ChainSpec::from_toml(&std::fs::read_to_string(alys.data_dir().join("chain.toml"))?)?;
        Ok(Self { address, chain_id: spec.chain_id, genesis: hex::encode(spec.genesis_hash()) })
    }

    /// One peer with an identity of its own behaves so; what it saw.
    async fn meets(&self, scenario: &str) -> eyre::Result<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/foreign-peer/main.mjs");
        let peer = Command::new("node")
            .arg(script)
            .args([scenario, &self.address, &self.chain_id.to_string(), &self.genesis])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            tokio::time::timeout(SCENARIO_PATIENCE, peer).await.wrap_err_with(|| format!("{scenario} does not end"))??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{scenario}: {}\n{said}", output.status);
        println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
        serde_json::from_slice(&output.stdout).wrap_err_with(|| format!("{scenario} says {said}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_node_follows_the_chain_and_computes_the_same_hashes() -> eyre::Result<()> {
    if !is_node_installed() {
        return Ok(());
    }
    let bitcoind = Bitcoind::start().await?;
    let alys = Alys::up(&bitcoind, Options::default()).await?;
    let seen = Target::of(&alys).await?.meets("follow").await?;
    let heights: Vec<u64> = seen["gossiped"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    ensure!(heights.len() >= 2 && heights.is_sorted_by(|lower, higher| lower < higher), "{heights:?} came by gossip");
    ensure!(seen["range"].as_u64() == heights.last().copied(), "the range ends where gossip did: {seen:#}");
    ensure!(seen["agent"].as_str().is_some_and(|agent| agent.starts_with("alys/")), "{seen:#}");
    let served = alys.status_field(Role::Network, "ranges_served").await?;
    ensure!(served.is_some_and(|ranges| ranges != "0"), "the range came from elsewhere");
    ensure!(banned(&alys)?.is_empty(), "a good peer is banned");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_peer_should_do_is_bounded_scored_and_banned_and_no_role_restarts() -> eyre::Result<()> {
    if !is_node_installed() {
        return Ok(());
    }
    let bitcoind = Bitcoind::start().await?;
    let few = Options { set: vec!["network.max_inbound=8".to_owned()], ..Options::default() };
    let mut alys = Alys::up(&bitcoind, few).await?;
    let target = Target::of(&alys).await?;
    let before = incarnations(&alys).await?;

    for (scenario, reason) in BANNED {
        is_banned(&alys, &target.meets(scenario).await?, &[reason]).await?;
    }
    for scenario in BANNED_FOR_GOSSIP {
        is_banned(&alys, &target.meets(scenario).await?, &["garbage", "no message"]).await?;
    }
    let known = banned(&alys)?.len();
    for scenario in BOUNDED {
        target.meets(scenario).await?;
    }
    ensure!(banned(&alys)?.len() <= known, "a ban too many: {:#?}", banned(&alys)?);

    for counter in ["rejected", "flooded", "slow", "bans"] {
        let count = alys.status_field(Role::Network, counter).await?;
        ensure!(count.as_ref().is_some_and(|count| count != "0"), "{counter} is {count:?}");
    }
    // Whoever behaves is served as before.
    target.meets("follow").await?;
    alys.wait_blocks(3).await?;
    ensure!(incarnations(&alys).await? == before, "a role was restarted");
    let network = alys.observation(Role::Network).await?.ok_or_eyre("no network")?;
    ensure!(network.health() == Health::Ready, "network is {:?}", network.health());
    alys.ensure_no_panic()?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    Ok(())
}

/// It could not come back, and operators see why.
async fn is_banned(alys: &Alys, seen: &Value, reasons: &[&str]) -> eyre::Result<()> {
    ensure!(seen["comesBack"] == false, "it is let in again: {seen:#}");
    let peer = seen["peer"].as_str().ok_or_eyre("the scenario does not say who it was")?;
    wait(&format!("a ban for one of {reasons:?} after {seen}"), PATIENCE, async || {
        let reason = banned(alys)?.remove(peer).ok_or_eyre("it is not banned")?;
        ensure!(reasons.iter().any(|expected| reason.contains(expected)), "it is banned because {reason}");
        Ok(Some(()))
    })
    .await
}

/// Who is banned, and why, as `alys peers` has it.
fn banned(alys: &Alys) -> eyre::Result<BTreeMap<String, String>> {
    let peers: Value = serde_json::from_str(&alys.succeed(&["peers", "-o", "json"])?)?;
    let text = |peer: &Value, field: &str| peer[field].as_str().unwrap_or_default().to_owned();
    Ok(peers["banned"].as_array().into_iter().flatten().map(|peer| (text(peer, "peer_id"), text(peer, "reason"))).collect())
}

/// Instance → incarnation.
async fn incarnations(alys: &Alys) -> eyre::Result<BTreeMap<String, Vec<u8>>> {
    Ok(alys.observations().await?.into_iter().map(|seen| (seen.instance, seen.incarnation)).collect())
}

fn is_node_installed() -> bool {
    let mut probe = std::process::Command::new("node");
    let is_there = probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = is_there.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: `node` is not installed; with node and npm this test runs js-libp2p");
    }
    is_there
}
