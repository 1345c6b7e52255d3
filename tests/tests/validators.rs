//! Four validators of one chain, each a cluster of real processes of its own, over libp2p: turns, one of them lost, too many
//! lost, a disk lost, all of them killed at once, a partition.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use alloy_primitives::Address;
use alys_proto::{Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::ethereum::random_key;
use alys_tests::lab::{self, Weather};
use alys_tests::peg;
use alys_tests::validators::Validators;
use bitcoin::Amount;
use eyre::ensure;

const CONFIRMATIONS: u32 = 2;
const DEPOSIT: Sats = Sats(10_000_000);
const PATIENCE: Duration = Duration::from_secs(90);
const SLOT: Duration = Duration::from_secs(1);
/// The design's figure.
const AFTER_A_PARTITION: Duration = Duration::from_secs(10);
const ALL: [usize; 4] = [0, 1, 2, 3];

#[tokio::test(flavor = "multi_thread")]
async fn four_validators_make_one_chain_as_long_as_three_of_them_live() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut net = Validators::start(&bitcoind, 4, CONFIRMATIONS, &[])?;
    for node in &net.nodes {
        node.wait_working().await?;
    }
    net.wait_height(&ALL, 8, PATIENCE).await?;
    all_take_turns(&net).await?;
    net.ensure_same_block(&ALL, 8).await?;

    let owner = random_key();
    deposited(&bitcoind, &net, owner.address()).await?;

    net.nodes[3].kill_all()?;
    let went_on = net.highest().await + 6;
    net.wait_height(&[0, 1, 2], went_on, PATIENCE).await?;

    net.nodes[2].kill_all()?;
    stands_still(&net, &[0, 1]).await?;
    net.nodes[2].resume().await?;
    let resumed = net.highest().await + 4;
    net.wait_height(&[0, 1, 2], resumed, PATIENCE).await?;
    net.nodes[3].resume().await?;
    net.wait_height(&ALL, resumed + 2, PATIENCE).await?;
    net.ensure_same_block(&ALL, resumed).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_and_a_power_cut_everywhere_lose_no_block() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut net = Validators::start(&bitcoind, 4, CONFIRMATIONS, &[])?;
    net.wait_height(&ALL, 6, PATIENCE).await?;

    let lost = &mut net.nodes[3];
    lost.kill_all()?;
    for data in ["storage", "engine"] {
        std::fs::remove_dir_all(lost.home().join(data))?;
    }
    lost.resume().await?;
    lost.wait_row(Role::Chain, "the validator without a disk to propose again", |row| Ok(row.count("proposed")? >= 1)).await?;
    for node in &net.nodes {
        ensure!(node.row(Role::Chain)?.count("equivocations")? == 0, "somebody voted twice:\n{}", net.show());
    }
    let before = net.highest().await;
    net.ensure_same_block(&ALL, before - 2).await?;

    for node in &mut net.nodes {
        node.kill_all()?;
    }
    for node in &mut net.nodes {
        node.launch()?;
    }
    net.wait_height(&ALL, before + 4, PATIENCE).await?;
    net.ensure_same_block(&ALL, before).await?;
    for node in &net.nodes {
        ensure!(node.row(Role::Chain)?.count("equivocations")? == 0, "somebody voted twice:\n{}", net.show());
        node.ensure_no_panic()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_halves_make_no_block_and_go_on_within_ten_seconds_of_meeting_again() -> eyre::Result<()> {
    let hosts = ["a", "b", "c", "d"];
    let test = "two_halves_make_no_block_and_go_on_within_ten_seconds_of_meeting_again";
    let Some(lab) = lab::enter(test, &hosts).await? else { return Ok(()) };
    let bitcoind = Bitcoind::start().await?;
    let net = Validators::spread(&lab, &hosts, &bitcoind, CONFIRMATIONS, &[]).await?;
    net.wait_height(&ALL, 5, PATIENCE).await?;
    // Short, and so long that packets are repeated at intervals of many seconds.
    for parted in [5, 40] {
        for host in ["a", "b"] {
            lab.between(host, &["c", "d"], Weather::BLACK_HOLE)?;
        }
        stands_still(&net, &ALL).await?;
        tokio::time::sleep(SLOT * parted).await;
        let before = net.highest().await;
        lab.heal();
        let healed = Instant::now();
        net.wait_height(&ALL, before + 1, PATIENCE).await?;
        let took = healed.elapsed();
        println!("parted for {parted} s and more: the next block {:.1} s after", took.as_secs_f64());
        ensure!(took < AFTER_A_PARTITION, "the next block came {took:?} after the halves met again");
        net.wait_height(&ALL, before + 4, PATIENCE).await?;
        net.ensure_same_block(&ALL, before + 1).await?;
    }
    for node in &net.nodes {
        ensure!(node.row(Role::Chain)?.count("equivocations")? == 0, "somebody voted twice:\n{}", net.show());
    }
    Ok(())
}

/// Each validator has proposed more than once: the turn of each comes round in as many slots as there are validators.
async fn all_take_turns(net: &Validators) -> eyre::Result<()> {
    for node in &net.nodes {
        node.wait_row(Role::Chain, "its second turn", |row| Ok(row.count("proposed")? >= 2)).await?;
    }
    Ok(())
}

/// A deposit is minted on every validator, once.
async fn deposited(bitcoind: &Bitcoind, net: &Validators, to: Address) -> eyre::Result<()> {
    let federation = net.nodes[0].federation_address()?;
    bitcoind.deposit(&federation, Amount::from_sat(DEPOSIT.0), to.as_slice()).await?;
    bitcoind.mine(CONFIRMATIONS.into()).await?;
    net.wait_balance(to, peg::wei(DEPOSIT), PATIENCE).await
}

/// No block without more than two thirds. That nothing happens can only be seen by waiting.
async fn stands_still(net: &Validators, nodes: &[usize]) -> eyre::Result<()> {
    // One that they have voted on already may still come.
    tokio::time::sleep(SLOT * 2).await;
    let before = net.highest().await;
    tokio::time::sleep(SLOT * 5).await;
    for node in nodes {
        let height = net.nodes[*node].height().await?;
        ensure!(height <= before, "two of four validators have made block {height}");
    }
    Ok(())
}
