//! From `kill -9` of a fenced singleton to the first question that its successor answers, under a new lease.
//!
//! The whole cluster of `alys up`, eight real roles, and the supervisor restarts. Each kill counts as a first failure: the limit
//! of five restarts a minute is lifted, and the wait before a restart stays at its first value instead of doubling.

use std::time::{Duration, Instant};

use alys_cluster::Remote;
use alys_proto::cluster::Health;
use alys_proto::{Ask, Inbox, Role, bridge, chain, storage};
use eyre::{OptionExt as _, WrapErr as _, ensure};

use super::times::Times;
use crate::bitcoind::Bitcoind;
use crate::cluster::{Alys, Options, wait};

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions when one was refused. A hundredth of what is measured.
const AGAIN: Duration = Duration::from_millis(2);
/// What the design allows for 99 of 100.
const AIM: Duration = Duration::from_secs(2);

/// Measures in a process of its own (the mesh is a static of the process) and prints.
pub fn measure_beside(kills: usize) -> eyre::Result<()> {
    super::own::run_beside(&["failover", &kills.to_string()])
}

/// Kills chain and bridge in turn, each so often, and prints.
pub async fn measure(kills: usize) -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let set = ["supervision.restart.max_restarts=1000000", "supervision.restart.longest_delay=250ms"];
    let options = Options { set: set.map(str::to_owned).to_vec(), ..Options::default() };
    let mut alys = Alys::up(&bitcoind, options).await?;
    let (mut chain, mut bridge) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        let one = || format!("kill {kill}, log of `alys up`:\n{}", alys.log_tail());
        chain.push(fail(&alys, Role::Chain, chain::GetChainHead {}).await.wrap_err_with(one)?);
        bridge.push(fail(&alys, Role::Bridge, bridge::GetFederation {}).await.wrap_err_with(one)?);
    }
    for (role, times) in [("chain", chain), ("bridge", bridge)] {
        let times = Times::of(times)?;
        let within = times.within(AIM);
        println!("{:<37}{times}  within {AIM:?}: {within}", format!("{role} killed → serves again"));
    }
    alys.stop()?;
    Ok(())
}

/// One kill: how long until an answer of the successor, who holds the next lease.
async fn fail<I: Inbox, M: Ask<I> + Clone>(alys: &Alys, role: Role, question: M) -> eyre::Result<Duration> {
    let before = wait(&format!("{role} to be ready"), PATIENCE, async || {
        let now = alys.observation(role).await?;
        Ok(now.filter(|now| now.health() == Health::Ready && now.lease.is_some_and(|lease| lease.epoch > 0)))
    })
    .await?;
    let epoch = before.lease.ok_or_eyre("it holds a lease")?.epoch;
    let remote = alys.cluster()?.remote::<I>();
    let killed = Instant::now();
    crate::processes::signal(before.pid, rustix::process::Signal::KILL)?;
    let took = answered(&remote, question, killed).await?;
    let leases = alys.cluster()?.remote::<storage::Inbox>().ask(storage::GetLeases {}).await?.leases;
    let now = leases.into_iter().find(|lease| lease.role() == role).ok_or_eyre("nobody holds the lease")?;
    ensure!(now.epoch > epoch, "{role} answered under epoch {}, before the kill it was {epoch}", now.epoch);
    Ok(took)
}

/// When the first answer came, from the kill on.
async fn answered<I: Inbox, M: Ask<I> + Clone>(remote: &Remote<I>, question: M, killed: Instant) -> eyre::Result<Duration> {
    loop {
        let answer = remote.ask_within(PATIENCE, question.clone()).await;
        let took = killed.elapsed();
        match answer {
            Ok(_) => return Ok(took),
            Err(refused) => ensure!(took < PATIENCE, "no answer within {PATIENCE:?}: {refused}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
