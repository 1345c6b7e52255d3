//! `kill -9` of each role while deposits and burns are under way: it comes back, every deposit is minted exactly once and
//! every burn paid exactly once.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::time::Duration;

use alloy_primitives::U256;
use alloy_signer_local::PrivateKeySigner;
use alys_proto::cluster::Health;
use alys_proto::{Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, is_alive, wait};
use alys_tests::ethereum::random_key;
use alys_tests::peg;
use eyre::{OptionExt as _, ensure};

const DEPOSIT: Sats = Sats(10_000_000);
const BURN: Sats = Sats(3_000_000);
const PATIENCE: Duration = Duration::from_secs(60);
const CONFIRMATIONS: u64 = 3;

/// All but the supervisor, whose death ends a cluster that `alys up` holds together.
const VICTIMS: [Role; 7] = [Role::Storage, Role::Engine, Role::Chain, Role::Bridge, Role::Stream, Role::Network, Role::Sync];

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_killed_and_nothing_is_lost_or_done_twice() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let owner = random_key();
    // Coins to burn before the first kill.
    deposit(&bitcoind, &alys, &owner).await?;
    bitcoind.mine(CONFIRMATIONS).await?;
    minted(&alys, &owner, 1).await?;

    let mut deposits = 1;
    for (burns, victim) in (1u32..).zip(VICTIMS) {
        deposit(&bitcoind, &alys, &owner).await?;
        deposits += 1;
        let burning = burn(&bitcoind, &alys, &owner).await?;
        bitcoind.mine(CONFIRMATIONS).await?;
        let before = alys.observation(victim).await?.ok_or_eyre("the victim lives")?;
        alys.kill(victim).await?;
        restarted(&alys, victim, &before.incarnation).await?;
        minted(&alys, &owner, deposits).await?;
        paid(&bitcoind, &alys, burns, &burning).await?;
    }
    exactly_once(&alys, deposits).await?;
    assert_eq!(alys.stop()?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_outlives_a_killed_parent() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let pids = alys.pids().await?;
    ensure!(pids.len() == 8, "eight roles, not {}", pids.len());
    alys.kill_parent()?;
    wait("all roles to end", Duration::from_secs(10), async || Ok((!pids.iter().any(|pid| is_alive(*pid))).then_some(()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_killed_whole_with_a_deposit_under_way_mints_it_once_when_it_is_back() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let owner = random_key();
    deposit(&bitcoind, &alys, &owner).await?;
    let pids = alys.pids().await?;
    bitcoind.mine(CONFIRMATIONS).await?;
    alys.kill_parent()?;
    wait("all roles to end", Duration::from_secs(10), async || Ok((!pids.iter().any(|pid| is_alive(*pid))).then_some(())))
        .await?;
    alys.resume().await?;
    minted(&alys, &owner, 1).await?;
    let balance = alys.ethereum().balance(owner.address()).await?;
    ensure!(balance == U256::from(DEPOSIT.to_wei().0), "{balance} wei for {DEPOSIT} BTC");
    Ok(())
}

async fn deposit(bitcoind: &Bitcoind, alys: &Alys, owner: &PrivateKeySigner) -> eyre::Result<()> {
    peg::deposit(bitcoind, alys, owner.address(), DEPOSIT).await.map(drop)
}

/// Burns and returns the Bitcoin address that must be paid.
async fn burn(bitcoind: &Bitcoind, alys: &Alys, owner: &PrivateKeySigner) -> eyre::Result<bitcoin::Address> {
    let target = bitcoind.new_address().await?;
    peg::burn(alys, owner, BURN, &target).await?;
    Ok(target)
}

async fn restarted(alys: &Alys, role: Role, before: &[u8]) -> eyre::Result<()> {
    wait(&format!("{role} to come back"), PATIENCE, async || {
        let now = alys.observation(role).await?;
        Ok(now.filter(|now| now.incarnation != before && now.health() == Health::Ready).map(drop))
    })
    .await
}

async fn minted(alys: &Alys, owner: &PrivateKeySigner, deposits: u64) -> eyre::Result<()> {
    wait(&format!("deposit {deposits} to be minted"), PATIENCE, async || {
        let pegs = alys.pegs().await?;
        let minted = pegs.peg_ins.iter().filter(|peg_in| peg_in.state == "minted").count();
        Ok((minted >= usize::try_from(deposits)?).then_some(()))
    })
    .await?;
    let most = U256::from(Sats(DEPOSIT.0 * deposits).to_wei().0);
    ensure!(alys.ethereum().balance(owner.address()).await? <= most, "more was minted than deposited");
    Ok(())
}

/// Mines until the burn's target holds exactly one payment.
async fn paid(bitcoind: &Bitcoind, alys: &Alys, burns: u32, target: &bitcoin::Address) -> eyre::Result<()> {
    wait(&format!("burn {burns} to be settled"), PATIENCE, async || {
        bitcoind.mine(1).await?;
        let pegs = alys.pegs().await?;
        let settled = pegs.peg_outs.iter().filter(|peg_out| peg_out.state == "settled").count();
        Ok((settled >= usize::try_from(burns)?).then_some(()))
    })
    .await?;
    let received: Vec<serde_json::Value> =
        bitcoind.call("listreceivedbyaddress", &[0.into(), false.into(), false.into(), target.to_string().into()]).await?;
    let transactions =
        received.first().and_then(|entry| entry.get("txids")).and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    ensure!(transactions == 1, "burn {burns} was paid by {transactions} transactions");
    Ok(())
}

async fn exactly_once(alys: &Alys, deposits: u64) -> eyre::Result<()> {
    let pegs = alys.pegs().await?;
    let outpoints: BTreeSet<_> =
        pegs.peg_ins.iter().filter_map(|peg_in| peg_in.outpoint.clone()).map(|o| (o.txid, o.vout)).collect();
    ensure!(outpoints.len() == usize::try_from(deposits)?, "{} deposits are listed, not {deposits}", outpoints.len());
    ensure!(pegs.peg_ins.iter().all(|peg_in| peg_in.state == "minted"), "a deposit is not minted");
    ensure!(pegs.peg_outs.len() == VICTIMS.len(), "{} burns are listed", pegs.peg_outs.len());
    Ok(())
}
