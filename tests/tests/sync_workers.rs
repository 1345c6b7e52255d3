//! Several sync workers: they share the work, and the death of any of them costs time only.
#![allow(missing_docs)]

use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_proto::Role;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, signal, wait};
use alys_tests::liar::Liar;
use alys_tests::node::{Node, Shown};
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
/// Blocks that the full node lacks.
const PAST: u64 = 60;

fn workers(node: &Node) -> eyre::Result<Vec<Shown>> {
    Ok(node.rows()?.into_iter().filter(|row| row.role == Role::Sync.name() && row.pid > 0).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_bring_a_full_node_to_the_head_though_the_leader_and_a_worker_die() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut validator = Alys::up(&bitcoind, Options::default()).await?;
    wait("a past to catch up with", PATIENCE, async || Ok((validator.head().await?.height >= PAST).then_some(()))).await?;

    let set = ["supervision.role.sync.instances=3", "sync.batch_blocks=1", "sync.window=4"].map(str::to_owned).to_vec();
    let spec_file = validator.data_dir().join("chain.toml");
    let mut node = Node::begin(&bitcoind, &validator, &spec_file, set).await?;
    let before = wait("the three to be at work", PATIENCE, async || {
        let all = workers(&node)?;
        let leader = all.iter().find(|row| row.instance == "sync");
        let is_at_work = leader.is_some_and(|leader| leader.count("local_height").is_ok_and(|height| height >= 3));
        Ok((all.len() == 3 && is_at_work).then_some(all))
    })
    .await?;
    for victim in ["sync", "sync-3"] {
        let row = before.iter().find(|row| row.instance == victim).ok_or_eyre("a victim lives")?;
        signal(row.pid, Signal::KILL)?;
    }
    node.wait_row(Role::Chain, "the full node at the head of then", |row| Ok(row.count("height")? >= PAST)).await?;
    same_block(&validator, &node, PAST).await?;
    node.wait_working().await?;
    let after = workers(&node)?;
    ensure!(after.len() == 3, "the killed ones are back: {after:#?}");
    let fetched = after.iter().map(|row| row.count("fetched")).sum::<eyre::Result<u64>>()?;
    ensure!(fetched > 0, "nobody has fetched anything since: {after:#?}");
    let leaders: Vec<&str> = after.iter().filter(|row| row.status["leads"] == "true").map(|row| row.instance.as_str()).collect();
    ensure!(leaders == ["sync"], "{leaders:?} lead");
    ensure!(node.stop()? == Some(0) && validator.stop()? == Some(0), "a drain failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_node_with_a_liar_among_its_peers_comes_to_the_same_state_and_bans_it() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut validator = Alys::up(&bitcoind, Options::default()).await?;
    let spec_file = validator.data_dir().join("chain.toml");
    let mut second = Node::join(&bitcoind, &validator, &spec_file).await?;
    wait("a past to catch up with", PATIENCE, async || Ok((validator.head().await?.height >= PAST).then_some(()))).await?;
    second.wait_row(Role::Chain, "a second honest node", |row| Ok(row.count("height")? >= PAST)).await?;
    let spec = ChainSpec::from_toml(&std::fs::read_to_string(&spec_file)?)?;
    let liar = Liar::start(spec, &validator.head().await?, validator.cluster()?.remote()).await?;

    let honest = validator.status_field(Role::Network, "addresses").await?.ok_or_eyre("the validator does not listen")?;
    let also_honest = second.row(Role::Network)?.status["addresses"].clone();
    let bootnodes = format!("network.bootnodes={:?}", [&honest, &also_honest, liar.address()]);
    let set = vec![bootnodes, "sync.batch_blocks=1".to_owned(), "sync.window=4".to_owned()];
    let mut node = Node::begin(&bitcoind, &validator, &spec_file, set).await?;
    node.wait_row(Role::Sync, "the first blocks", |row| Ok(row.count("local_height")? >= 2)).await?;
    node.succeed(&["scale", "sync", "3"])?;
    let three = wait("two workers more", PATIENCE, async || {
        let all = workers(&node)?;
        Ok((all.len() == 3).then_some(all))
    });
    let victim = three.await?.into_iter().find(|row| row.instance == "sync-2").ok_or_eyre("sync-2 lives")?;
    signal(victim.pid, Signal::KILL)?;

    node.wait_row(Role::Chain, "the node at the head of then", |row| Ok(row.count("height")? >= PAST)).await?;
    same_block(&validator, &node, PAST).await?;
    let banned = wait("the liar to be banned by name", PATIENCE, async || {
        let peers: Value = serde_json::from_str(&node.succeed(&["peers", "-o", "json"])?)?;
        let banned = peers["banned"].as_array().into_iter().flatten().find(|peer| peer["peer_id"] == liar.peer_id()).cloned();
        Ok(banned)
    });
    let reason = banned.await?["reason"].clone();
    ensure!(reason.as_str().is_some_and(|reason| reason.contains("signature")), "it is banned for {reason}");
    let peers: Value = serde_json::from_str(&node.succeed(&["peers", "-o", "json"])?)?;
    ensure!(peers["banned"].as_array().is_some_and(|banned| banned.len() == 1), "only the liar is banned: {peers:#}");
    liar.stop().await?;
    ensure!(node.stop()? == Some(0) && second.stop()? == Some(0) && validator.stop()? == Some(0), "a drain failed");
    Ok(())
}

/// The same block in every field, state root and receipts included.
async fn same_block(validator: &Alys, node: &Node, height: u64) -> eyre::Result<()> {
    let question = json!([format!("{height:#x}"), false]);
    let ours: Value = validator.ethereum().call("eth_getBlockByNumber", question.clone()).await?;
    let theirs: Value = node.ethereum().call("eth_getBlockByNumber", question).await?;
    for field in ["hash", "stateRoot", "receiptsRoot", "parentBeaconBlockRoot"] {
        ensure!(ours[field].is_string() && ours[field] == theirs[field], "{field} at {height}: {ours:#} and {theirs:#}");
    }
    Ok(())
}
