//! The node that the fault matrix does harm to, and what it looks at.

use std::time::{Duration, Instant};

use alys_cluster::exit;
use alys_proto::Role;
use alys_proto::cluster::{Health, HeldLease, Observation};
use alys_tests::cluster::wait;
use alys_tests::disk::SmallDisk;
use alys_tests::lab::Lab;
use alys_tests::lab::platform::Ended;
use alys_tests::lab::preload::Preload;
use alys_tests::lab::spread::{Plan, Spread, place};
use alys_tests::traffic::Traffic;
use alys_tests::watch::Watch;
use eyre::{OptionExt as _, WrapErr as _, ensure};
use rustix::process::Signal;

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The design's figures, and what a machine of two cores that does everything at once may need on top.
const OUT_OF_VIEW: Duration = Duration::from_secs(3 + 1);
const PLANNED: Duration = Duration::from_secs(1 + 1);
pub(crate) const AFTER_A_CRASH: Duration = Duration::from_secs(2 + 2);
pub(crate) const AFTER_SILENCE: Duration = Duration::from_secs(10 + 3);
const SUSPECTED: &str = "unreachable: not heard of for too long";
/// What chain and bridge say when they have acted.
pub(crate) const ACTS: [&str; 5] =
    ["block committed", "deposit announced", "payout proposed", "signatures requested", "payout is with bitcoin"];
pub(crate) const FENCED: [Role; 2] = [Role::Chain, Role::Bridge];
pub(crate) const CONFIRMATIONS: u32 = 2;

/// What the faults happen to.
pub(crate) struct World<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) node: &'a Spread,
    pub(crate) traffic: Traffic<'a, Spread>,
    pub(crate) watch: Watch,
    pub(crate) begun: Instant,
}

/// Who holds the leases, and on which host it is.
pub(crate) struct Holders {
    pub(crate) host: &'static str,
    pub(crate) others: Vec<&'static str>,
    /// Role, instance, epoch.
    pub(crate) leases: Vec<(Role, String, u64)>,
}

/// A holder before a fault.
pub(crate) struct Before {
    pub(crate) instance: String,
    log: String,
    ends: usize,
}

/// Chain and bridge have a standby on another host; disks and clocks can be harmed.
pub(crate) fn plan(disk: &SmallDisk, [storage, b, c]: [&Preload; 3]) -> eyre::Result<Plan> {
    let mut environment = Vec::new();
    for (instance, preload) in [("storage", storage), ("chain", b), ("bridge", b), ("chain-c", c), ("bridge-c", c)] {
        environment.extend(preload.environment()?.into_iter().map(|(name, value)| (instance, name, value)));
    }
    Ok(Plan {
        hosts: vec!["a", "b", "c"],
        places: vec![
            place(0, Role::Storage, "storage"),
            place(0, Role::Engine, "engine"),
            place(0, Role::Stream, "stream"),
            place(0, Role::Network, "network"),
            place(0, Role::Sync, "sync"),
            place(1, Role::Chain, "chain"),
            place(1, Role::Bridge, "bridge"),
            place(2, Role::Chain, "chain-c"),
            place(2, Role::Bridge, "bridge-c"),
        ],
        confirmations: CONFIRMATIONS,
        settings: vec![("storage.data_dir".into(), disk.folder().join("storage").display().to_string())],
        environment,
        ..Plan::default()
    })
}

impl World<'_> {
    pub(crate) fn told(&self, what: &str) {
        println!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Something of each kind that the next fault falls into.
    pub(crate) async fn under_way(&mut self) -> eyre::Result<()> {
        self.traffic.deposit().await?;
        self.traffic.burn().await
    }

    /// The fault is over: everybody serves, blocks go on, and nothing was ever broken.
    pub(crate) async fn calm(&mut self, what: &str) -> eyre::Result<()> {
        self.lab.heal();
        let calms = async {
            self.node.wait_ready(PATIENCE).await?;
            self.node.wait_blocks(2, PATIENCE).await?;
            self.traffic.transfer().await?;
            self.watch.holds()
        };
        calms.await.wrap_err_with(|| what.to_owned())?;
        self.told(what);
        Ok(())
    }

    /// The holders, both on one host: one that is elsewhere hands over to its standby.
    pub(crate) async fn holders(&self) -> eyre::Result<Holders> {
        let of = |role| wait("a lease", PATIENCE, async move || Ok(Some(self.node.lease(role).await?)));
        let (chain, bridge) = (of(Role::Chain).await?, of(Role::Bridge).await?);
        if chain.instance.ends_with("-c") != bridge.instance.ends_with("-c") {
            self.hand_over(Role::Bridge).await?;
        }
        let leases = [(Role::Chain, chain), (Role::Bridge, of(Role::Bridge).await?)];
        let leases: Vec<_> = leases.into_iter().map(|(role, lease)| (role, lease.instance, lease.epoch)).collect();
        let on_c = leases.iter().filter(|(_, instance, _)| instance.ends_with("-c")).count();
        ensure!(on_c == 0 || on_c == leases.len(), "the holders are on two hosts: {leases:?}");
        let (host, other) = if on_c > 0 { ("c", "b") } else { ("b", "c") };
        Ok(Holders { host, others: vec!["a", other], leases })
    }

    /// A planned hand-over to the standby.
    pub(crate) async fn hand_over(&self, role: Role) -> eyre::Result<()> {
        let lease = self.node.lease(role).await?;
        self.node.platform.signal(&lease.instance, Signal::TERM)?;
        let drained = Some(&Ended::Code(exit::DONE.into()));
        let ended = async || Ok((self.node.platform.ends(&lease.instance)?.last() == drained).then(Instant::now));
        let released = wait(&format!("{} to drain", lease.instance), PATIENCE, ended).await?;
        self.handed_over(role, lease.epoch, released, PLANNED).await?;
        self.node.platform.start_again(&lease.instance)
    }

    /// Waits until somebody serves under a higher epoch.
    pub(crate) async fn handed_over(&self, role: Role, epoch: u64, since: Instant, within: Duration) -> eyre::Result<()> {
        wait(&format!("another {role}"), PATIENCE, async || {
            let holds = |lease: Option<HeldLease>| lease.is_some_and(|lease| lease.epoch > epoch && lease.remaining_millis > 0);
            let seen = self.node.observations().await;
            Ok(seen.iter().any(|seen| seen.role() == role && seen.health() == Health::Ready && holds(seen.lease)).then_some(()))
        })
        .await?;
        let took = since.elapsed();
        self.told(&format!("  {role} serves again after {:.1} s", took.as_secs_f64()));
        ensure!(took < within, "{role} was away for {took:?}, not {within:?}");
        Ok(())
    }

    /// Waits until storage has no link to an instance's processes.
    pub(crate) async fn out_of_view(&self, role: Role, incarnation: &[u8], since: Instant) -> eyre::Result<()> {
        wait(&format!("storage to lose sight of {role}"), PATIENCE, async || {
            let seen = self.node.observations().await;
            let storage = seen.iter().find(|seen| seen.role() == Role::Storage).ok_or_eyre("storage does not answer")?;
            Ok((!storage.links.iter().any(|link| link.incarnation == incarnation)).then_some(()))
        })
        .await?;
        ensure!(since.elapsed() < OUT_OF_VIEW, "{role} was in view for {:?}", since.elapsed());
        Ok(())
    }

    pub(crate) async fn epochs(&self) -> eyre::Result<Vec<u64>> {
        let leases = wait("the leases", PATIENCE, async || Ok(Some(self.node.leases().await?.leases))).await?;
        Ok(leases.iter().map(|lease| lease.epoch).collect())
    }

    /// Process id of a service that runs or is about to.
    pub(crate) async fn running(&self, name: &str) -> eyre::Result<u32> {
        wait(&format!("{name} to run"), PATIENCE, async || Ok(self.node.platform.pid(name).ok())).await
    }

    pub(crate) fn suspicions(&self) -> eyre::Result<usize> {
        let names = self.node.platform.names();
        names.iter().map(|name| Ok(self.node.platform.log(name)?.matches(SUSPECTED).count())).sum()
    }

    /// What the holders have said, and how often they have ended, until now.
    pub(crate) fn before(&self, holders: &Holders) -> eyre::Result<Vec<Before>> {
        let platform = &self.node.platform;
        let before = |instance: &String| {
            Ok(Before { instance: instance.clone(), log: platform.log(instance)?, ends: platform.ends(instance)?.len() })
        };
        holders.leases.iter().map(|(_, instance, _)| before(instance)).collect()
    }

    /// Waits until the process of then has ended for want of a lease; what it said until its end.
    pub(crate) async fn fenced_since(&self, before: &Before) -> eyre::Result<String> {
        let Before { instance, log, ends } = before;
        let ended = async || {
            self.watch.holds()?;
            Ok(self.node.platform.ends(instance)?.get(*ends).copied())
        };
        let end = wait(&format!("{instance} to end itself"), PATIENCE, ended).await?;
        ensure!(end == Ended::Code(exit::FENCED.into()), "{instance} ended {end:?}");
        let now = self.node.platform.log(instance)?;
        Ok(now.strip_prefix(log.as_str()).ok_or_eyre("the log was rewritten")?.to_owned())
    }

    /// At the end of it all.
    pub(crate) async fn nothing_was_broken(&self) -> eyre::Result<()> {
        // Or the thawed ones were searched for words that nobody says any more.
        let said =
            ["chain", "chain-c", "bridge", "bridge-c"].map(|instance| self.node.platform.log(instance).unwrap_or_default());
        let unsaid = ACTS.iter().find(|act| !said.iter().any(|log| log.contains(*act)));
        ensure!(unsaid.is_none(), "nobody said {unsaid:?}");
        self.watch.holds()?;
        let serves = |seen: &&Observation| seen.role() == Role::Chain && seen.health() == Health::Ready;
        for seen in self.node.observations().await.iter().filter(serves) {
            let equivocations = seen.status.iter().find(|field| field.name == "equivocations").map(|field| field.value.as_str());
            ensure!(equivocations == Some("0"), "{}: {:?}", seen.instance, seen.status);
        }
        self.node.platform.ensure_no_panic()
    }
}
