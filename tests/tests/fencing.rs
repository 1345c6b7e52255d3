//! Leases with real processes: of two processes of a role one acts, and a frozen one never acts again.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use alys_cluster::exit;
use alys_proto::cluster::Health;
use alys_proto::{Role, storage};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::by_hand::ByHand;
use alys_tests::cluster::{Alys, Options, wait};
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
/// `cluster.lease.term` without configuration.
const TERM: Duration = Duration::from_secs(9);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_holder_is_replaced_at_once_under_a_higher_epoch() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let alys = Alys::up(&bitcoind, Options::default()).await?;
    for role in [Role::Chain, Role::Bridge] {
        let before = alys.observation(role).await?.ok_or_eyre("it lives")?;
        let epoch = before.lease.ok_or_eyre("it holds a lease")?.epoch;
        let killed = Instant::now();
        alys.kill(role).await?;
        let now = wait(&format!("{role} to serve again"), PATIENCE, async || {
            let now = alys.observation(role).await?;
            Ok(now.filter(|now| now.incarnation != before.incarnation && now.health() == Health::Ready))
        })
        .await?;
        let took = killed.elapsed();
        println!("{role} serves again after {took:?}");
        ensure!(now.lease.is_some_and(|lease| lease.epoch == epoch + 1), "epoch {epoch}, then {:?}", now.lease);
        // On a machine that does other things too; without the proof of death it would be the whole term.
        ensure!(took < TERM / 2, "{role} took {took:?} to serve again");
    }
    let shown: serde_json::Value = serde_json::from_str(&alys.succeed(&["status", "-o", "json"])?)?;
    let rows = shown.as_array().ok_or_eyre("a list of rows")?;
    for row in rows {
        let fenced = ["chain", "bridge"].contains(&row["role"].as_str().unwrap_or_default());
        ensure!(row["lease"]["epoch"].as_u64() == fenced.then_some(2), "{row}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_holder_is_replaced_and_does_not_act_once_after_it_thaws() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut roles = ByHand::start(&bitcoind, &[]).await?;
    roles.wait_blocks(2, PATIENCE).await?;
    let standby = roles.run(Role::Chain, "chain-b", "chain-b")?;
    let reason = waits(&roles, standby).await?;
    ensure!(reason.contains("is held by chain ("), "{reason}");
    let first = roles.lease(Role::Chain).await?;
    roles.wait_blocks(2, PATIENCE).await?;
    ensure!(roles.lease(Role::Chain).await?.epoch == first.epoch, "the standby took over from a live holder");

    roles.signal("chain", Signal::STOP)?;
    let frozen = Instant::now();
    wait("the standby to take over", PATIENCE, async || {
        Ok((roles.lease(Role::Chain).await?.epoch == first.epoch + 1).then_some(()))
    })
    .await?;
    println!("the standby took over after {:?}", frozen.elapsed());
    ensure!(frozen.elapsed() > TERM / 2, "taken over while the holder may still act");
    roles.wait_blocks(3, PATIENCE).await?;
    let log_before = roles.log("chain")?;

    roles.signal("chain", Signal::CONT)?;
    let status = roles.ended("chain", PATIENCE).await?;
    let log = roles.log("chain")?;
    let after = log.strip_prefix(&log_before).ok_or_eyre("the log was rewritten")?;
    ensure!(status.code() == Some(exit::FENCED.into()), "{status}: {after}");
    ensure!(!after.contains("block committed"), "the thawed process committed a block: {after}");
    roles.wait_blocks(2, PATIENCE).await?;
    let leases = roles.cluster().remote::<storage::Inbox>().ask(storage::GetLeases {}).await?;
    ensure!(leases.fenced_writes == 0, "the thawed process sent {} writes", leases.fenced_writes);
    let holder = roles.observation(standby).await?.ok_or_eyre("the new holder lives")?;
    let field = |name: &str| holder.status.iter().find(|field| field.name == name).map(|field| field.value.clone());
    ensure!(field("equivocations").as_deref() == Some("0"), "{:?}", holder.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_under_one_name_waits_and_serves_when_the_first_has_drained() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut roles = ByHand::start(&bitcoind, &[]).await?;
    roles.wait_blocks(2, PATIENCE).await?;
    let epoch = roles.lease(Role::Chain).await?.epoch;
    let second = roles.run(Role::Chain, "chain", "second")?;
    waits(&roles, second).await?;
    // Asked by name of the role, the first one answers: heads keep coming.
    roles.wait_blocks(3, PATIENCE).await?;
    let waiting = roles.observation(second).await?.ok_or_eyre("it waits")?;
    ensure!(waiting.mailbox.is_some_and(|mailbox| mailbox.handled == 0), "it handled a message");

    roles.signal("chain", Signal::TERM)?;
    let status = roles.ended("chain", PATIENCE).await?;
    let ended = Instant::now();
    ensure!(status.code() == Some(0), "{status}");
    wait("the second to serve", PATIENCE, async || Ok((roles.lease(Role::Chain).await?.epoch == epoch + 1).then_some(())))
        .await?;
    println!("handed over {:?} after the first had drained", ended.elapsed());
    ensure!(ended.elapsed() < TERM / 2, "handed over after {:?}", ended.elapsed());
    roles.wait_blocks(2, PATIENCE).await
}

/// Storage is away for longer than a lease is good for: its holders stop themselves, and come back with it.
#[tokio::test(flavor = "multi_thread")]
async fn holders_stop_themselves_when_storage_is_silent() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut roles = ByHand::start(&bitcoind, &["cluster.lease.term=3s"]).await?;
    roles.wait_blocks(2, PATIENCE).await?;
    let epoch = roles.lease(Role::Chain).await?.epoch;
    roles.signal("storage", Signal::STOP)?;
    for name in ["chain", "bridge"] {
        let status = roles.ended(name, PATIENCE).await?;
        ensure!(status.code() == Some(exit::FENCED.into()), "{name}: {status}");
    }
    roles.signal("storage", Signal::CONT)?;
    roles.run(Role::Chain, "chain", "chain")?;
    roles.run(Role::Bridge, "bridge", "bridge")?;
    roles.wait_blocks(2, PATIENCE).await?;
    ensure!(roles.lease(Role::Chain).await?.epoch == epoch + 1, "a new holder has a new epoch");
    Ok(())
}

/// Waits until a process says that it waits for a lease; its reason.
async fn waits(roles: &ByHand, pid: u32) -> eyre::Result<String> {
    wait("the second process to wait", PATIENCE, async || {
        let seen = roles.observation(pid).await?;
        let waits = |reason: &str| reason.starts_with("the lease of chain ");
        Ok(seen.filter(|seen| seen.health() == Health::Starting && waits(&seen.health_reason)).map(|seen| seen.health_reason))
    })
    .await
}
