//! Messages that are posted between hosts, through every fault of the line between them and of the processes at its ends: what
//! was acknowledged arrives, and nothing is handled twice unless its receiver died in between.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alys_proto::Role;
use alys_tests::cluster::wait;
use alys_tests::lab::spread::{Plan, Spread, place};
use alys_tests::lab::{self, Lab, Weather};
use eyre::{WrapErr as _, ensure};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(60);
/// More than are posted while the test lasts.
const WITHOUT_END: &str = "--post=1000000";
/// So many arrive between two faults.
const BETWEEN: usize = 20;
/// So long the bad line lasts.
const BAD_LINE: Duration = Duration::from_secs(8);

const HOSTS: [(&str, &str); 3] = [("a", "storage"), ("b", "engine"), ("c", "bridge")];

struct World<'a> {
    lab: &'a Lab,
    node: &'a Spread,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_on_one_host_arrives_once_on_another_whatever_the_line_does() -> eyre::Result<()> {
    let test = "what_is_acknowledged_on_one_host_arrives_once_on_another_whatever_the_line_does";
    let Some(lab) = lab::enter(test, &["a", "b", "c"]).await? else { return Ok(()) };
    let file = |role: Role| format!("--file={}", lab.folder().join(format!("{role}.effects")).display());
    let plan = Plan {
        hosts: vec!["a", "b", "c"],
        places: vec![place(0, Role::Storage, "storage"), place(1, Role::Engine, "engine"), place(2, Role::Bridge, "bridge")],
        confirmations: 1,
        test_roles: vec![("engine", vec![file(Role::Engine), WITHOUT_END.into()]), ("bridge", vec![file(Role::Bridge)])],
        ..Plan::default()
    };
    let node = Spread::start(&lab, None, plan).await?;
    let world = World { lab: &lab, node: &node };
    world.flows("the beginning").await?;
    // Posts do not arrive, then marks, then acknowledgements; each time the other direction goes on.
    for (from, to) in [("b", "c"), ("c", "b"), ("c", "a"), ("a", "b")] {
        lab.weather(from, to, Weather::BLACK_HOLE)?;
        world.lose_sight(from, to).await?;
        lab.heal();
        world.flows(&format!("{from} could not send to {to}")).await?;
    }
    for (host, instance) in HOSTS {
        lab.cut_off(host)?;
        wait(&format!("{host} to be out of view"), PATIENCE, async || Ok((!node.in_view(instance)).then_some(()))).await?;
        lab.heal();
        world.flows(&format!("{host} was cut off")).await?;
    }
    world.bad_line().await?;
    for (_, instance) in HOSTS {
        node.platform.signal(instance, Signal::KILL)?;
        world.flows(&format!("{instance} was killed")).await?;
    }
    world.books().await
}

impl World<'_> {
    fn effects(&self, role: Role) -> Vec<u64> {
        let text = std::fs::read_to_string(self.lab.folder().join(format!("{role}.effects"))).unwrap_or_default();
        // The last line may be half of one: its writer was killed.
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until messages arrive that were not there before.
    async fn flows(&self, what: &str) -> eyre::Result<()> {
        let wanted = self.effects(Role::Bridge).len() + BETWEEN;
        let begun = Instant::now();
        let arrived = async || Ok((self.effects(Role::Bridge).len() >= wanted).then_some(()));
        wait("messages to arrive", PATIENCE, arrived)
            .await
            .wrap_err_with(|| format!("{what}: {}", self.node.platform.report()))?;
        println!("{:5.1} s until {BETWEEN} messages arrived after: {what}", begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until the process on one host has no link to that on another.
    async fn lose_sight(&self, from: &str, to: &str) -> eyre::Result<()> {
        let instance = |host: &str| HOSTS.iter().find(|(name, _)| *name == host).map_or("", |(_, instance)| instance);
        wait(&format!("{to} to lose sight of {from}"), PATIENCE, async || {
            let seen = self.node.observations().await;
            let Some(it) = seen.iter().find(|seen| seen.instance == instance(to)) else { return Ok(None) };
            Ok((!it.links.iter().any(|link| link.role().name() == instance(from))).then_some(()))
        })
        .await
    }

    /// All lines bad at once.
    async fn bad_line(&self) -> eyre::Result<()> {
        let bad = Weather { lost: 0.01, late: Duration::from_millis(100) };
        for (host, others) in [("a", ["b", "c"]), ("b", ["a", "c"]), ("c", ["a", "b"])] {
            self.lab.between(host, &others, bad)?;
        }
        let begun = Instant::now();
        while begun.elapsed() < BAD_LINE {
            self.flows("a bad line").await?;
        }
        self.lab.heal();
        self.flows("the bad line").await
    }

    /// All that was acknowledged until now, one by one. The sender goes on: it is what delivers.
    async fn books(&self) -> eyre::Result<()> {
        let last = self.effects(Role::Engine).into_iter().max().unwrap_or(0);
        wait("the last message", PATIENCE, async || Ok(self.effects(Role::Bridge).contains(&last).then_some(()))).await?;
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for number in self.effects(Role::Bridge).into_iter().filter(|number| *number <= last) {
            *times.entry(number).or_default() += 1;
        }
        let missing: Vec<u64> = (1..=last).filter(|number| !times.contains_key(number)).collect();
        ensure!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        let repeated: usize = times.values().map(|times| times - 1).sum();
        // The receiver died between an effect and its mark, or the sender between an acknowledgement and its note of it.
        let deaths = self.node.platform.ends("bridge")?.len() + self.node.platform.ends("engine")?.len();
        println!("{last} messages, {deaths} deaths, {repeated} handled again");
        ensure!(repeated <= deaths, "{repeated} were handled again after {deaths} deaths");
        Ok(())
    }
}
