//! Two clusters of one chain: a validator and a full node that has nothing but the chain specification, the validator's
//! address and a Bitcoin node.
#![allow(missing_docs)]

use std::time::Duration;

use alloy_primitives::{Address, U256};
use alys_proto::{Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, wait};
use alys_tests::demo::Demonstration;
use alys_tests::ethereum::random_key;
use alys_tests::node::Node;
use alys_tests::peg;
use eyre::ensure;
use serde_json::{Value, json};

const DEPOSIT: Sats = Sats(10_000_000);
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_joins_late_follows_by_gossip_and_has_the_same_state() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let options = Options::default();
    let confirmations = options.confirmations;
    let mut validator = Alys::up(&bitcoind, options).await?;
    // What a late joiner must get right: a deposit, a transfer, a burn, its payout and its settlement.
    Demonstration::new(&bitcoind, &validator, confirmations, |_step| {}).run().await?;
    let past = validator.head().await?.height;

    let mut node = Node::join(&bitcoind, &validator, &validator.data_dir().join("chain.toml")).await?;
    reached(&node, past).await?;
    let sync = node.row(Role::Sync)?;
    ensure!(sync.count("imported")? >= past, "the past came from nowhere: {sync:?}");
    ensure!(node.row(Role::Chain)?.status.get("producing").map(String::as_str) == Some("false"), "it has no key");
    same_block(&validator, &node, past).await?;

    let owner = random_key().address();
    follows_by_gossip(&node).await?;
    deposit(&bitcoind, &validator, owner, u64::from(confirmations)).await?;
    same_balance(&validator, &node, owner).await?;

    let killed = node.kill(Role::Network)?;
    let back = node.wait_row(Role::Network, "network to come back", |row| {
        Ok(row.health == "ready" && row.incarnation != killed.incarnation)
    });
    let back = back.await?;
    node.wait_row(Role::Network, "network to dial again", |row| Ok(row.count("peers").is_ok_and(|peers| peers == 1))).await?;
    follows_by_gossip(&node).await?;
    ensure!(node.row(Role::Network)?.incarnation == back.incarnation, "network was restarted once more");
    reached(&node, validator.head().await?.height).await?;

    assert_eq!(node.stop()?, Some(0), "a full node drains as a validator does");
    let missed = validator.head().await?.height + 3;
    wait("blocks that the full node misses", PATIENCE, async || Ok((validator.head().await?.height >= missed).then_some(())))
        .await?;
    node.resume().await?;
    reached(&node, missed).await?;
    same_block(&validator, &node, missed).await?;
    same_balance(&validator, &node, owner).await?;
    assert_eq!((node.stop()?, validator.stop()?), (Some(0), Some(0)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_specification_is_turned_away() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let validator = Alys::up(&bitcoind, Options::default()).await?;
    // The chain id is the same: only the hash of the specification tells them apart.
    let spec = std::fs::read_to_string(validator.data_dir().join("chain.toml"))?;
    let changed = spec.replace("alys-dev", "alys-other");
    ensure!(changed != spec, "the specification has another name");
    let other_spec = validator.data_dir().join("other.toml");
    std::fs::write(&other_spec, changed)?;

    let stranger = Node::join(&bitcoind, &validator, &other_spec).await?;
    // Either side may see the other's genesis first, and bans.
    wait("one of them to refuse the other", PATIENCE, async || {
        let bans = validator.status_field(Role::Network, "bans").await?;
        let refused = bans.is_some_and(|bans| bans != "0") || stranger.row(Role::Network)?.count("bans")? != 0;
        Ok(refused.then_some(()))
    })
    .await?;
    let later = validator.head().await?.height + 2;
    wait("the chain to go on", PATIENCE, async || Ok((validator.head().await?.height >= later).then_some(()))).await?;
    let network = stranger.row(Role::Network)?;
    assert_eq!((network.count("peers")?, network.count("blocks_received")?), (0, 0), "{network:?}");
    assert_eq!(network.health, "degraded", "its operator sees that no peer is of its chain");
    assert_eq!(stranger.row(Role::Chain)?.count("height")?, 0);
    Ok(())
}

async fn reached(node: &Node, height: u64) -> eyre::Result<()> {
    node.wait_row(Role::Chain, &format!("the full node at height {height}"), |row| Ok(row.count("height")? >= height)).await?;
    Ok(())
}

/// Blocks come by gossip and are committed: sync, which only fills gaps, brings fewer than there are.
async fn follows_by_gossip(node: &Node) -> eyre::Result<()> {
    let sync = node
        .wait_row(Role::Sync, "sync to be done", |row| Ok(row.status.get("phase").is_some_and(|phase| phase == "idle")))
        .await?;
    let before = node.row(Role::Network)?.count("blocks_received")?;
    let height = node.row(Role::Chain)?.count("height")?;
    node.wait_row(Role::Network, "four blocks by gossip", |row| Ok(row.count("blocks_received")? >= before + 4)).await?;
    reached(node, height + 4).await?;
    let by_sync = node.row(Role::Sync)?.count("imported")? - sync.count("imported")?;
    ensure!(by_sync < 4, "{by_sync} blocks came through sync");
    Ok(())
}

async fn deposit(bitcoind: &Bitcoind, validator: &Alys, owner: Address, confirmations: u64) -> eyre::Result<()> {
    peg::deposit(bitcoind, validator, owner, DEPOSIT).await?;
    bitcoind.mine(confirmations).await?;
    Ok(())
}

/// The deposit is on both sides, whole.
async fn same_balance(validator: &Alys, node: &Node, owner: Address) -> eyre::Result<()> {
    let whole = U256::from(DEPOSIT.to_wei().0);
    for (who, ethereum) in [("the validator", validator.ethereum()), ("the full node", node.ethereum())] {
        let what = format!("{who} to have minted the deposit");
        let balance =
            wait(&what, PATIENCE, async || Ok(Some(ethereum.balance(owner).await?).filter(|balance| *balance > U256::ZERO)))
                .await?;
        ensure!(balance == whole, "{who} has minted {balance}, not {whole}");
    }
    Ok(())
}

/// The same block in every field, state root and receipts included. Its beacon root is the consensus hash of the block before.
async fn same_block(validator: &Alys, node: &Node, height: u64) -> eyre::Result<()> {
    let question = json!([format!("{height:#x}"), false]);
    let ours: Value = validator.ethereum().call("eth_getBlockByNumber", question.clone()).await?;
    let theirs: Value = node.ethereum().call("eth_getBlockByNumber", question).await?;
    for field in ["hash", "stateRoot", "receiptsRoot", "parentBeaconBlockRoot"] {
        ensure!(
            ours[field].is_string() && ours[field] == theirs[field],
            "{field} at {height}: {} and {}",
            ours[field],
            theirs[field]
        );
    }
    Ok(())
}
