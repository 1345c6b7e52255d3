//! Losing the supervisor is harmless: as a role of its own it can be killed, and the next one goes on with what runs.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alys_proto::Role;
use alys_proto::supervisor::{self, GetInstances, Instance};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, is_alive, signal, wait};
use alys_tests::processes;
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
/// A new supervisor has adopted everything within this time.
const ADOPTED: Duration = Duration::from_secs(3);

/// Ends what a failing test leaves: here nothing ends with its parent.
struct Leftovers<'a>(&'a std::path::Path);

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        for process in processes::of(self.0).unwrap_or_default() {
            if process.runs(&["role"]) || process.runs(&["governance"]) {
                let _gone = signal(process.pid, Signal::KILL);
            }
        }
    }
}

async fn instances(alys: &Alys) -> eyre::Result<BTreeMap<String, Instance>> {
    let answer = alys.cluster()?.remote::<supervisor::Inbox>().ask(GetInstances {}).await?;
    Ok(answer.instances.into_iter().filter(|one| one.name != "supervisor").map(|one| (one.name.clone(), one)).collect())
}

fn pids(instances: &BTreeMap<String, Instance>) -> BTreeMap<&str, u32> {
    instances.iter().map(|(name, instance)| (name.as_str(), instance.pid)).collect()
}

async fn all_run(alys: &Alys) -> eyre::Result<BTreeMap<String, Instance>> {
    wait("all instances to run", PATIENCE, async || {
        let now = instances(alys).await?;
        Ok((now.len() > 7 && now.values().all(|instance| instance.state == "running")).then_some(now))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_takes_nothing_with_it_and_the_next_one_adopts() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let data_dir = alys.data_dir().to_owned();
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    let _leftovers = Leftovers(&data_dir);
    alys.launch_supervisor()?;
    alys.wait_ready(PATIENCE).await?;
    let before = all_run(&alys).await?;

    two_supervisors_never_fight(&alys, &before).await?;
    alys.kill_parent()?;
    alys.wait_blocks(3).await?;
    ensure!(before.values().all(|instance| is_alive(instance.pid)), "a role went with its supervisor");

    alys.launch_supervisor()?;
    let began = Instant::now();
    let after = wait("all to be adopted", PATIENCE, async || {
        let now = instances(&alys).await?;
        Ok((now.len() == before.len() && now.values().all(|instance| instance.state == "running")).then_some(now))
    })
    .await?;
    ensure!(began.elapsed() <= ADOPTED, "adopting took {:?}", began.elapsed());
    ensure!(pids(&after) == pids(&before), "{:?} became {:?}", pids(&before), pids(&after));
    ensure!(after.values().all(|instance| instance.restarts == 0), "{after:#?}");

    // What it adopted it keeps as its own: one that ends, one that freezes, one that is drained.
    for (role, how) in [(Role::Network, Signal::KILL), (Role::Bridge, Signal::STOP)] {
        signal(after[role.name()].pid, how)?;
        let name = format!("{role} to be replaced");
        wait(&name, PATIENCE, async || {
            let now = instances(&alys).await?;
            let instance = now.get(role.name()).ok_or_eyre("it is kept")?;
            Ok((instance.state == "running" && instance.pid != after[role.name()].pid).then_some(()))
        })
        .await?;
    }
    alys.succeed(&["drain", "sync", "--wait"])?;
    ensure!(!is_alive(after["sync"].pid), "it was not adopted for real");
    alys.succeed(&["resume", "sync", "--wait"])?;
    alys.wait_blocks(1).await?;

    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    ensure!(processes::of(&data_dir)?.is_empty(), "a process is left: {:#?}", processes::of(&data_dir)?);
    Ok(())
}

async fn two_supervisors_never_fight(alys: &Alys, before: &BTreeMap<String, Instance>) -> eyre::Result<()> {
    let second = alys.command(&["role", "supervisor"])?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(second.status.code() == Some(78) && said.contains("already runs"), "{second:?}");
    ensure!(pids(&instances(alys).await?) == pids(before), "a process was replaced");
    Ok(())
}
