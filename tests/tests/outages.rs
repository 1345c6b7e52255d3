//! What the cluster depends on goes away and comes back: blocks go on, the peg waits, and then does its work once.
#![allow(missing_docs)]

use std::time::Duration;

use alloy_primitives::{Address, U256};
use alys::prepare::{DevChain, dev};
use alys_proto::cluster::Health;
use alys_proto::{Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, is_alive, signal, temporary_folder, wait};
use alys_tests::ethereum::random_key;
use alys_tests::peg;
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const CONFIRMATIONS: u64 = 3;
const DEPOSIT: Sats = Sats(10_000_000);

/// Starts without waiting for the bridge, which cannot be ready.
async fn started(bitcoind: &Bitcoind, options: Options) -> eyre::Result<Alys> {
    let mut alys = Alys::start(bitcoind, options)?;
    alys.attach().await?;
    wait("the first block", PATIENCE, async || Ok((alys.head().await?.height > 0).then_some(()))).await?;
    Ok(alys)
}

async fn degraded(alys: &Alys, role: Role, words: &[&str]) -> eyre::Result<()> {
    wait(&format!("{role} to say {words:?}"), PATIENCE, async || {
        let Some(seen) = alys.observation(role).await? else { return Ok(None) };
        let says = words.iter().all(|word| seen.health_reason.contains(word));
        Ok((seen.health() == Health::Degraded && says).then_some(()))
    })
    .await
}

/// Exactly one mint, also after more blocks.
async fn minted_once(alys: &Alys, to: Address) -> eyre::Result<()> {
    peg::minted(alys, to, DEPOSIT).await?;
    alys.wait_blocks(3).await?;
    ensure!(alys.ethereum().balance(to).await? == peg::wei(DEPOSIT), "minted twice");
    let minted = alys.pegs().await?.peg_ins.into_iter().filter(|peg_in| peg_in.recipient == to.as_slice()).collect::<Vec<_>>();
    ensure!(minted.len() == 1 && minted[0].state == "minted", "{minted:?}");
    Ok(())
}

async fn end(mut alys: Alys) -> eyre::Result<()> {
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bitcoind_that_comes_later_finds_the_peg_waiting() -> eyre::Result<()> {
    let mut bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    bitcoind.stop()?;
    let mut alys = started(&bitcoind, Options::default()).await?;
    degraded(&alys, Role::Bridge, &["bitcoind"]).await?;
    alys.wait_blocks(2).await?;
    ensure!(alys.said().contains("all processes are ready"), "`up` does not wait for bitcoind: {}", alys.log_tail());

    bitcoind.resume().await?;
    alys.wait_ready(PATIENCE).await?;
    peg::funded(&bitcoind, &alys, DEPOSIT).await?;
    end(alys).await
}

/// The specification is for signet, the node is on regtest.
#[tokio::test(flavor = "multi_thread")]
async fn a_bitcoind_on_another_network_is_named_and_blocks_go_on() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let folder = temporary_folder()?;
    let chain = DevChain { slot_millis: 1_000, confirmations: 3, ..DevChain::default() };
    dev(folder.path(), &chain).map_err(|failure| eyre::eyre!("{failure}"))?;
    let spec_file = folder.path().join("chain.toml");
    let spec = std::fs::read_to_string(&spec_file)?;
    ensure!(spec.contains("\"regtest\""), "{spec}");
    std::fs::write(&spec_file, spec.replace("\"regtest\"", "\"signet\""))?;
    let options = Options { data_dir: Some(folder.path().to_owned()), ..Options::default() };
    let alys = started(&bitcoind, options).await?;
    degraded(&alys, Role::Bridge, &["regtest", "signet", &bitcoind.url()]).await?;
    let before = alys.pids().await?;
    alys.wait_blocks(3).await?;
    ensure!(alys.pids().await? == before, "a role was restarted");
    end(alys).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_survives_a_restart_of_bitcoind_in_its_middle() -> eyre::Result<()> {
    let mut bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let before = alys.pids().await?;
    let owner = random_key().address();
    peg::deposit(&bitcoind, &alys, owner, DEPOSIT).await?;
    bitcoind.mine(1).await?;
    wait("the deposit to be seen", PATIENCE, async || Ok((!alys.pegs().await?.peg_ins.is_empty()).then_some(()))).await?;
    bitcoind.stop()?;
    degraded(&alys, Role::Bridge, &["bitcoind"]).await?;
    bitcoind.resume().await?;
    bitcoind.mine(CONFIRMATIONS - 1).await?;
    minted_once(&alys, owner).await?;
    alys.wait_ready(PATIENCE).await?;

    // And away again between the last confirmation and the mint, as far as that can be hit.
    let second = random_key().address();
    peg::deposit(&bitcoind, &alys, second, DEPOSIT).await?;
    bitcoind.mine(CONFIRMATIONS).await?;
    bitcoind.restart().await?;
    minted_once(&alys, second).await?;
    ensure!(alys.pids().await? == before, "a role was restarted");
    end(alys).await
}

fn member(alys: &Alys, number: u32) -> eyre::Result<Value> {
    // 75 while something is away: the rows are there all the same.
    let output = alys.command(&["status", "-o", "json"])?;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    rows.into_iter().find(|row| row["instance"] == format!("governance-{number}")).ok_or_eyre("the member has no row")
}

fn pid_of(alys: &Alys, number: u32) -> eyre::Result<u32> {
    Ok(u32::try_from(member(alys, number)?["pid"].as_u64().ok_or_eyre("no pid")?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_governance_node_is_not_missed_and_comes_back() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let alys = Alys::up(&bitcoind, Options::default()).await?;
    let owner = random_key().address();
    peg::deposit(&bitcoind, &alys, owner, DEPOSIT).await?;
    let killed = pid_of(&alys, 2)?;
    signal(killed, Signal::KILL)?;
    bitcoind.mine(CONFIRMATIONS).await?;
    minted_once(&alys, owner).await?;
    wait("governance-2 to come back", PATIENCE, async || {
        let row = member(&alys, 2)?;
        Ok((row["state"] == "running" && row["pid"].as_u64() != Some(killed.into()) && row["restarts"] == 1).then_some(()))
    })
    .await?;
    // It counts again: without the first member it is the second of two.
    signal(pid_of(&alys, 1)?, Signal::TERM)?;
    wait("governance-1 to be stopped", PATIENCE, async || Ok((member(&alys, 1)?["state"] == "stopped").then_some(()))).await?;
    peg::funded(&bitcoind, &alys, DEPOSIT).await?;
    end(alys).await
}

/// One of two is stopped as an operator stops it, the other hangs; one alone is below the threshold.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_waits_for_the_threshold() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let alys = Alys::up(&bitcoind, Options::default()).await?;
    let (stopped, hanging) = (pid_of(&alys, 1)?, pid_of(&alys, 2)?);
    signal(stopped, Signal::TERM)?;
    wait("governance-1 to end", PATIENCE, async || Ok((!is_alive(stopped)).then_some(()))).await?;
    signal(hanging, Signal::STOP)?;

    let owner = random_key().address();
    peg::deposit(&bitcoind, &alys, owner, DEPOSIT).await?;
    bitcoind.mine(CONFIRMATIONS).await?;
    wait("the deposit to be announced", PATIENCE, async || {
        Ok(alys.pegs().await?.peg_ins.iter().any(|peg_in| peg_in.state == "announced").then_some(()))
    })
    .await?;
    alys.wait_blocks(4).await?;
    ensure!(alys.ethereum().balance(owner).await? == U256::ZERO, "minted with one approval of two");

    signal(hanging, Signal::CONT)?;
    minted_once(&alys, owner).await?;
    alys.succeed(&["restart", "governance-1"])?;
    wait("governance-1 to run", PATIENCE, async || Ok((member(&alys, 1)?["state"] == "running").then_some(()))).await?;
    end(alys).await
}
