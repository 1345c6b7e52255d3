//! Faults of processes, lines, disks and clocks on three hosts, one after the other, with deposits, transfers and burns under
//! way; chain and bridge have a standby on another host. What must hold all the time is watched all the time
//! (`src/watch.rs`), what must have happened once is counted at the end (`src/traffic.rs`).
//!
//! | fault | what must follow |
//! |---|---|
//! | drain | the standby serves within 1 s |
//! | kill | another serves within 2 s |
//! | frozen for 60 s | out of view within 3 s, another serves within 10 s, the thawed one ends and has not acted |
//! | bad line (1 % loss, 100 ms jitter) | nobody is suspected, no lease changes hands |
//! | black hole, one-way loss | out of view within 3 s, another serves within 10 s, the one cut off ends itself |
//! | slow disk | blocks go on, no lease changes hands |
//! | full disk | storage ends as temporary, and goes on when there is room |
//! | clock an hour back, half a minute ahead | whoever nobody believes loses its lease; the chain goes on |
//! | storage's clock an hour ahead | it believes nobody, so the holders end themselves; right again, all go on |
//! | restart storm | all serve again |
#![allow(missing_docs)]

mod fault_world;

use std::time::{Duration, Instant};

use alloy_primitives::{TxKind, U256};
use alys_cluster::exit;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::wait;
use alys_tests::disk::SmallDisk;
use alys_tests::lab::platform::Ended;
use alys_tests::lab::preload::Preload;
use alys_tests::lab::spread::Spread;
use alys_tests::lab::{self, Lab, Weather};
use alys_tests::sidechain::Sidechain as _;
use alys_tests::traffic::Traffic;
use alys_tests::watch::Watch;
use eyre::{OptionExt as _, WrapErr as _, ensure};
use rustix::process::Signal;

use fault_world::{ACTS, AFTER_A_CRASH, AFTER_SILENCE, CONFIRMATIONS, FENCED, PATIENCE, World, plan};

const FROZEN: Duration = Duration::from_secs(60);
const BAD_LINE: Weather = Weather { lost: 0.01, late: Duration::from_millis(100) };
const SLOW_FSYNC_MILLIS: u32 = 400;
const AHEAD_SECONDS: i32 = 30;
const STORMS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn three_hosts_live_through_every_fault_with_nothing_lost_or_done_twice() -> eyre::Result<()> {
    let test = "three_hosts_live_through_every_fault_with_nothing_lost_or_done_twice";
    let Some(lab) = lab::enter(test, &["a", "b", "c"]).await? else { return Ok(()) };
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let disk = SmallDisk::at(lab.folder().join("disk"), 128)?;
    let storage = Preload::new(lab.folder().join("preload-storage"))?;
    let (b, c) = (Preload::new(lab.folder().join("preload-b"))?, Preload::new(lab.folder().join("preload-c"))?);
    let node = Spread::start(&lab, Some(&bitcoind), plan(&disk, [&storage, &b, &c])?).await?;
    node.wait_ready(PATIENCE).await?;
    let traffic = Traffic::begin(&bitcoind, &node, CONFIRMATIONS).await?;
    let mut world = World { lab: &lab, node: &node, traffic, watch: Watch::begin(node.mesh()?), begun: Instant::now() };

    let done = async {
        for role in FENCED {
            world.hand_over(role).await.wrap_err("drain")?;
        }
        world.calm("both drained, their standbys serve").await?;
        killed(&mut world).await.wrap_err("kill")?;
        frozen_beside_a_bad_line(&mut world).await.wrap_err("frozen, bad line")?;
        cut(&mut world, "black hole", |lab, host, other| lab.between(host, &[other], Weather::BLACK_HOLE)).await?;
        cut(&mut world, "loss of all it sends", |lab, host, other| lab.weather(host, other, Weather::BLACK_HOLE)).await?;
        cut(&mut world, "loss of all it is sent", |lab, host, other| lab.weather(other, host, Weather::BLACK_HOLE)).await?;
        slow_disk(&mut world, &storage).await.wrap_err("slow disk")?;
        full_disk(&mut world, &disk).await.wrap_err("full disk")?;
        clock_jumps(&mut world, &[("b", &b), ("c", &c)]).await.wrap_err("clock")?;
        storage_ahead(&mut world, &storage).await.wrap_err("clock of storage")?;
        restart_storm(&mut world).await.wrap_err("restart storm")?;
        world.traffic.check().await
    };
    done.await.wrap_err_with(|| node.platform.report())?;
    world.told("every deposit minted once, every burn paid once, every transfer arrived once");
    world.nothing_was_broken().await
}

async fn killed(world: &mut World<'_>) -> eyre::Result<()> {
    world.under_way().await?;
    for role in FENCED {
        let lease = world.node.lease(role).await?;
        let killed = Instant::now();
        world.node.platform.signal(&lease.instance, Signal::KILL)?;
        world.handed_over(role, lease.epoch, killed, AFTER_A_CRASH).await?;
    }
    for instance in ["storage", "engine", "stream", "network"] {
        let before = world.node.platform.pid(instance)?;
        world.node.platform.signal(instance, Signal::KILL)?;
        wait(instance, PATIENCE, async || Ok((world.node.platform.pid(instance)? != before).then_some(()))).await?;
        world.calm(&format!("{instance} killed")).await?;
    }
    Ok(())
}

async fn frozen_beside_a_bad_line(world: &mut World<'_>) -> eyre::Result<()> {
    world.under_way().await?;
    let holders = world.holders().await?;
    let seen = world.node.observations().await;
    let frozen = Instant::now();
    let before = world.before(&holders)?;
    for (_, instance, _) in &holders.leases {
        world.node.platform.signal(instance, Signal::STOP)?;
    }
    for (role, instance, _) in &holders.leases {
        let was = seen.iter().find(|seen| seen.instance == *instance).ok_or_eyre("the holder answers")?;
        world.out_of_view(*role, &was.incarnation, frozen).await?;
    }
    for (role, _, epoch) in &holders.leases {
        world.handed_over(*role, *epoch, frozen, AFTER_SILENCE).await?;
    }
    world.calm("holders frozen and replaced").await?;

    let epochs = world.epochs().await?;
    let suspicions = world.suspicions()?;
    for host in ["a", "b", "c"] {
        let others: Vec<&str> = ["hub", "a", "b", "c"].into_iter().filter(|other| *other != host).collect();
        world.lab.between(host, &others, BAD_LINE)?;
    }
    let mut blocks = 0;
    while frozen.elapsed() < FROZEN {
        world.node.wait_blocks(2, PATIENCE).await?;
        world.traffic.transfer().await?;
        blocks += 2;
    }
    ensure!(suspicions > 0, "the frozen ones were not suspected, or not in these words");
    ensure!(world.suspicions()? == suspicions, "somebody was suspected for a bad line:\n{}", world.node.platform.report());
    ensure!(world.epochs().await? == epochs, "a lease changed hands for a bad line");
    world.told(&format!("{blocks} blocks on a bad line, nobody suspected"));
    world.lab.heal();

    for (_, instance, _) in &holders.leases {
        world.node.platform.signal(instance, Signal::CONT)?;
    }
    for before in &before {
        let (instance, after) = (&before.instance, world.fenced_since(before).await?);
        let acted = ACTS.iter().find(|act| after.contains(*act));
        ensure!(acted.is_none(), "the thawed {instance} has acted ({acted:?}): {after}");
    }
    ensure!(world.node.leases().await?.fenced_writes == 0, "a thawed process wrote something");
    world.calm("frozen for a minute and thawed").await
}

/// Cuts the host of the holders off the others. The test still sees both sides, and bitcoind is within reach of both.
async fn cut(world: &mut World<'_>, what: &str, apply: impl Fn(&Lab, &str, &str) -> eyre::Result<()>) -> eyre::Result<()> {
    world.under_way().await.wrap_err_with(|| what.to_owned())?;
    let holders = world.holders().await?;
    let seen = world.node.observations().await;
    let before = world.before(&holders)?;
    for other in &holders.others {
        apply(world.lab, holders.host, other)?;
    }
    let cut = Instant::now();
    for (role, instance, _) in &holders.leases {
        let was = seen.iter().find(|seen| seen.instance == *instance).ok_or_eyre("the holder answers")?;
        world.out_of_view(*role, &was.incarnation, cut).await.wrap_err_with(|| what.to_owned())?;
    }
    for (role, _, epoch) in &holders.leases {
        world.handed_over(*role, *epoch, cut, AFTER_SILENCE).await.wrap_err_with(|| what.to_owned())?;
    }
    for before in &before {
        world.fenced_since(before).await.wrap_err_with(|| what.to_owned())?;
    }
    world.node.wait_blocks(2, PATIENCE).await?;
    world.calm(what).await
}

async fn slow_disk(world: &mut World<'_>, storage: &Preload) -> eyre::Result<()> {
    world.under_way().await?;
    let (epochs, pid) = (world.epochs().await?, world.node.platform.pid("storage")?);
    storage.slow_disk(SLOW_FSYNC_MILLIS)?;
    world.node.wait_blocks(4, PATIENCE).await?;
    world.traffic.transfer().await?;
    storage.slow_disk(0)?;
    ensure!(world.epochs().await? == epochs, "a lease changed hands");
    ensure!(world.node.platform.pid("storage")? == pid, "storage was restarted");
    world.calm("slow disk").await
}

async fn full_disk(world: &mut World<'_>, disk: &SmallDisk) -> eyre::Result<()> {
    world.under_way().await?;
    let spender = world.traffic.another_saver().await?;
    let ends = world.node.platform.ends("storage")?.len();
    disk.fill()?;
    wait("storage to say that the disk is full", PATIENCE, async || {
        // Until it has to grow, a database goes on in its own free pages.
        let junk = vec![1; 100_000].into();
        let _refused = world.node.wallet().send(&spender, TxKind::Create, U256::ZERO, junk, 4_000_000).await;
        Ok((world.node.platform.ends("storage")?.len() > ends).then_some(()))
    })
    .await?;
    let how = world.node.platform.ends("storage")?;
    ensure!(how.get(ends) == Some(&Ended::Code(exit::TEMPORARY.into())), "storage ended {how:?}");
    disk.make_room()?;
    world.calm("full disk").await
}

async fn clock_jumps(world: &mut World<'_>, clocks: &[(&str, &Preload)]) -> eyre::Result<()> {
    let clock_of = |host: &str| clocks.iter().find(|(name, _)| *name == host).map(|(_, clock)| *clock).ok_or_eyre("no clock");
    world.under_way().await?;
    let holders = world.holders().await?;
    clock_of(holders.host)?.set_clock(-3_600)?;
    let jumped = Instant::now();
    for (role, _, epoch) in &holders.leases {
        world.handed_over(*role, *epoch, jumped, AFTER_SILENCE).await?;
    }
    clock_of(holders.host)?.set_clock(0)?;
    world.calm("clock an hour back").await?;

    world.under_way().await?;
    let holders = world.holders().await?;
    let height = world.node.wallet().height().await?;
    clock_of(holders.host)?.set_clock(AHEAD_SECONDS)?;
    wait("blocks of the future", PATIENCE, async || Ok((world.node.wallet().height().await? > height + 3).then_some(()))).await?;
    clock_of(holders.host)?.set_clock(0)?;
    world.calm("clock half a minute ahead, and right again").await
}

async fn storage_ahead(world: &mut World<'_>, storage: &Preload) -> eyre::Result<()> {
    world.under_way().await?;
    let holders = world.holders().await?;
    let before = world.before(&holders)?;
    storage.set_clock(3_600)?;
    for before in &before {
        world.fenced_since(before).await?;
    }
    storage.set_clock(0)?;
    world.calm("storage's clock an hour ahead, and right again").await
}

async fn restart_storm(world: &mut World<'_>) -> eyre::Result<()> {
    world.under_way().await?;
    for _storm in 0..STORMS {
        let mut killed = Vec::new();
        for name in world.node.platform.names() {
            let pid = world.running(&name).await?;
            // Between two starts there is nothing to kill.
            let _ended_by_itself = world.node.platform.signal(&name, Signal::KILL);
            killed.push((name, pid));
        }
        for (name, pid) in killed {
            wait(&format!("{name} to run again"), PATIENCE, async || Ok((world.running(&name).await? != pid).then_some(())))
                .await?;
        }
    }
    world.calm("restart storm").await
}
