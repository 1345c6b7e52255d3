//! Bridge, engine and storage on three hosts, linked over TLS: the round trip of the demonstration, to the last unit, while one
//! host after the other is cut off and healed.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use alys_cluster::exit;
use alys_proto::Role;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::wait;
use alys_tests::demo::{Demonstration, Moment};
use alys_tests::lab::platform::Ended;
use alys_tests::lab::spread::{Plan, Spread, place};
use alys_tests::lab::{self, Lab};
use eyre::{WrapErr as _, ensure};

const CONFIRMATIONS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);
/// The design's three seconds, and one for a busy machine.
const OUT_OF_VIEW: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn the_round_trip_is_exact_on_three_hosts_though_each_of_them_is_cut_off() -> eyre::Result<()> {
    let test = "the_round_trip_is_exact_on_three_hosts_though_each_of_them_is_cut_off";
    let Some(lab) = lab::enter(test, &["a", "b", "c"]).await? else { return Ok(()) };
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let plan = Plan {
        hosts: vec!["a", "b", "c"],
        places: vec![
            place(0, Role::Storage, "storage"),
            place(0, Role::Chain, "chain"),
            place(1, Role::Engine, "engine"),
            place(1, Role::Network, "network"),
            place(1, Role::Sync, "sync"),
            place(2, Role::Bridge, "bridge"),
            place(2, Role::Stream, "stream"),
        ],
        confirmations: CONFIRMATIONS,
        ..Plan::default()
    };
    let node = Spread::start(&lab, Some(&bitcoind), plan).await?;
    node.wait_ready(PATIENCE).await?;
    all_links_are_tls(&node).await?;
    let demonstration = Demonstration::new(&bitcoind, &node, CONFIRMATIONS, |step| {
        println!("{:6.1} s  {}: {}", step.took.as_secs_f64(), step.what, step.result);
    });
    let steps = demonstration.run_with(async |moment| match moment {
        // Its lease runs out: nobody may mint or pay on the word of a bridge that is away.
        Moment::Confirmed => {
            cut_off(&lab, &node, "c", "bridge").await?;
            node.wait_blocks(2, PATIENCE).await?;
            ended_itself(&node, "bridge").await?;
            healed(&lab, &node).await
        }
        Moment::Transferred => {
            cut_off(&lab, &node, "b", "engine").await?;
            healed(&lab, &node).await
        }
        Moment::Burned => {
            cut_off(&lab, &node, "a", "storage").await?;
            healed(&lab, &node).await
        }
    });
    steps.await.wrap_err_with(|| node.platform.report())?;
    node.platform.ensure_no_panic()
}

async fn all_links_are_tls(node: &Spread) -> eyre::Result<()> {
    let seen = node.observations().await;
    let bridge = seen.iter().find(|seen| seen.role() == Role::Bridge).map(|seen| seen.links.clone()).unwrap_or_default();
    for role in [Role::Storage, Role::Engine] {
        let link = bridge.iter().find(|link| link.role() == role);
        ensure!(link.is_some_and(|link| link.transport == "tls"), "bridge has no link to {role} over TLS: {bridge:?}");
    }
    Ok(())
}

/// Takes a host off the network and waits until its role is out of view, which must be soon.
async fn cut_off(lab: &Lab, node: &Spread, host: &str, instance: &str) -> eyre::Result<()> {
    lab.cut_off(host)?;
    let cut = Instant::now();
    wait(&format!("{instance} to be out of view"), PATIENCE, async || Ok((!node.in_view(instance)).then_some(()))).await?;
    let took = cut.elapsed();
    println!("{:6.1} s  host {host} cut off: {instance} is out of view", took.as_secs_f64());
    ensure!(took < OUT_OF_VIEW, "{instance} was in view for {took:?}");
    Ok(())
}

/// Without its lease a process ends, also when nobody can tell it to.
async fn ended_itself(node: &Spread, instance: &str) -> eyre::Result<()> {
    let fenced = Ended::Code(exit::FENCED.into());
    wait(&format!("{instance} to end itself"), PATIENCE, async || {
        Ok(node.platform.ends(instance)?.contains(&fenced).then_some(()))
    })
    .await
}

async fn healed(lab: &Lab, node: &Spread) -> eyre::Result<()> {
    lab.heal();
    let healed = Instant::now();
    node.wait_ready(PATIENCE).await?;
    println!("{:6.1} s  healed: all roles serve", healed.elapsed().as_secs_f64());
    node.wait_blocks(1, PATIENCE).await
}
