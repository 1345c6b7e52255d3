//! Two supervisors on one mesh, as on two hosts: one acts, the other stands by, takes over when it is killed, and restarts
//! nothing of what runs.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_proto::supervisor::{self, GetInstances, Instance};
use alys_proto::{Role, cluster::Observation};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, binary, is_alive, signal, wait};
use alys_tests::processes::{self, Process};
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
/// On one kernel the death of the holder is proven, so nobody waits for its lease to run out.
const TAKEN_OVER: Duration = Duration::from_secs(3);

/// Ends what a failing test leaves: here nothing ends with its parent.
struct Leftovers<'a>(&'a Path);

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        for process in processes::of(self.0).unwrap_or_default() {
            if process.runs(&["role"]) || process.runs(&["governance"]) {
                let _gone = signal(process.pid, Signal::KILL);
            }
        }
    }
}

/// A supervisor with a state, logs and roles of its own, on the mesh of the node.
struct Second {
    process: Child,
    folder: PathBuf,
}

impl Second {
    fn start(node: &Path) -> eyre::Result<Self> {
        let folder = node.join("second");
        std::fs::create_dir_all(&folder)?;
        let set = |key: &str, value: PathBuf| format!("{key}={}", value.display());
        let settings = [
            set("data_dir", folder.clone()),
            set("cluster.run_dir", node.join("run")),
            set("cluster.cookie_file", node.join("cookie")),
            set("chain_spec_file", node.join("chain.toml")),
        ];
        let log = std::fs::File::create(folder.join("supervisor.log"))?;
        let mut command = Command::new(binary("alys")?);
        command.args(["role", "supervisor", "--instance", "supervisor-2", "--config"]).arg(node.join("alys.toml"));
        for setting in &settings {
            command.args(["--set", setting]);
        }
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { process, folder })
    }

    /// Roles that it has started.
    fn roles(&self) -> eyre::Result<Vec<Process>> {
        let own = self.process.id();
        Ok(processes::of(&self.folder)?.into_iter().filter(|process| process.pid != own).collect())
    }

    fn stop(mut self) -> eyre::Result<Option<i32>> {
        signal(self.process.id(), Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eyre::bail!("the second supervisor does not end")
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _already_gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn field(seen: &Observation, name: &str) -> String {
    seen.status.iter().find(|field| field.name == name).map(|field| field.value.clone()).unwrap_or_default()
}

/// Waits until this supervisor says so of itself.
async fn office(alys: &Alys, instance: &str, wanted: &str, within: Duration) -> eyre::Result<Observation> {
    wait(&format!("{instance} to be {wanted}"), within, async || {
        let all = alys.observations().await?;
        Ok(all.into_iter().find(|seen| seen.instance == instance && field(seen, "office") == wanted))
    })
    .await
}

/// What the supervisor that acts keeps.
async fn instances(alys: &Alys) -> eyre::Result<BTreeMap<String, Instance>> {
    let answer = alys.cluster()?.remote::<supervisor::Inbox>().ask(GetInstances {}).await?;
    Ok(answer.instances.into_iter().filter(|one| one.role() != Role::Supervisor).map(|one| (one.name.clone(), one)).collect())
}

/// Processes of the roles, as they say themselves: of every role that is kept, for one that has just started is known to its
/// supervisor before this debug node has met it.
async fn pids(alys: &Alys) -> eyre::Result<BTreeMap<String, u32>> {
    let kept = instances(alys).await?;
    // Governance is kept beside the roles and is none: it answers no debug node.
    let roles: Vec<&String> = kept.values().filter(|one| one.role() != Role::Unspecified).map(|one| &one.name).collect();
    wait("every role to answer for itself", PATIENCE, async || {
        let all = alys.observations().await?.into_iter().filter(|seen| seen.role() != Role::Supervisor);
        let pids: BTreeMap<String, u32> = all.map(|seen| (seen.instance.clone(), seen.pid)).collect();
        Ok(roles.iter().all(|name| pids.contains_key(*name)).then_some(pids))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_supervisors_acts_and_the_other_takes_over_without_a_restart() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let node = alys.data_dir().to_owned();
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    let _leftovers = Leftovers(&node);
    alys.launch_supervisor()?;
    alys.wait_ready(PATIENCE).await?;
    office(&alys, "supervisor", "acting", PATIENCE).await?;
    let second = Second::start(&node)?;
    let seen = office(&alys, "supervisor-2", "standing by", PATIENCE).await?;
    ensure!(field(&seen, "running") == "0", "{seen:?}");
    let before = pids(&alys).await?;

    // Orders reach the one that acts, and the other does not mend what the first one ends.
    alys.succeed(&["restart", "sync", "--wait"])?;
    alys.succeed(&["drain", "stream", "--wait"])?;
    alys.wait_blocks(8).await?;
    ensure!(second.roles()?.is_empty(), "it starts what another supervisor keeps stopped: {:?}", second.roles()?);
    alys.succeed(&["resume", "stream", "--wait"])?;
    let now = pids(&alys).await?;
    let replaced: Vec<&String> = now.iter().filter(|(name, pid)| before.get(*name) != Some(*pid)).map(|(name, _)| name).collect();
    ensure!(replaced == ["stream", "sync"], "{before:?} became {now:?}");

    alys.kill_parent()?;
    office(&alys, "supervisor-2", "acting", TAKEN_OVER).await?;
    alys.wait_blocks(8).await?;
    ensure!(pids(&alys).await? == now && now.values().all(|pid| is_alive(*pid)), "{now:?} became {:?}", pids(&alys).await?);
    ensure!(second.roles()?.is_empty(), "it started what ran: {:?}", second.roles()?);
    let kept = instances(&alys).await?;
    ensure!(kept.values().filter(|one| one.role() != Role::Unspecified).all(|one| one.state == "elsewhere"), "{kept:#?}");

    a_role_that_ends_is_started_by_the_one_that_acts(&alys, &second, &now).await?;
    the_first_one_comes_back_and_stands_by(&mut alys, second).await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    Ok(())
}

async fn a_role_that_ends_is_started_by_the_one_that_acts(
    alys: &Alys,
    second: &Second,
    before: &BTreeMap<String, u32>,
) -> eyre::Result<()> {
    signal(*before.get("sync").ok_or_eyre("sync runs")?, Signal::KILL)?;
    wait("sync to run under the second supervisor", PATIENCE, async || {
        let now = instances(alys).await?;
        Ok(now.get("sync").is_some_and(|sync| sync.state == "running").then_some(()))
    })
    .await?;
    let roles = second.roles()?;
    ensure!(roles.len() == 1 && roles.iter().all(|process| process.runs(&["role", "sync"])), "{roles:?}");
    Ok(())
}

async fn the_first_one_comes_back_and_stands_by(alys: &mut Alys, second: Second) -> eyre::Result<()> {
    let before = pids(alys).await?;
    alys.launch_supervisor()?;
    office(alys, "supervisor", "standing by", PATIENCE).await?;
    alys.wait_blocks(3).await?;
    ensure!(pids(alys).await? == before, "{before:?} became {:?}", pids(alys).await?);
    // With the second one goes what it started; the first one starts that where it was before.
    ensure!(second.stop()? == Some(0), "it did not end well");
    office(alys, "supervisor", "acting", PATIENCE).await?;
    wait("all to run under the first one", PATIENCE, async || {
        let now = instances(alys).await?;
        Ok(now.values().all(|one| one.state == "running").then_some(()))
    })
    .await?;
    let after = pids(alys).await?;
    ensure!(after.iter().all(|(name, pid)| name == "sync" || before.get(name) == Some(pid)), "{before:?} became {after:?}");
    Ok(())
}
