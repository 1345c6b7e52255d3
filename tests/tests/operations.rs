//! What an operator does with a healthy cluster: look at it, stop it, start it again.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use alys_proto::role::ROLES;
use alys_proto::{Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, is_alive, signal, wait};
use alys_tests::{peg, processes};
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
/// All roles and the governance nodes, with which `up --dev` starts.
const INSTANCES: [&str; 11] = [
    "supervisor",
    "storage",
    "engine",
    "chain",
    "bridge",
    "stream",
    "network",
    "sync",
    "governance-1",
    "governance-2",
    "governance-3",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_process_can_be_looked_into() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    alys.wait_blocks(1).await?;
    let rows = status(&alys)?;
    roles_have_all_columns(&rows)?;
    the_operating_system_agrees(&alys, &rows)?;
    let table = alys.succeed(&["status"])?;
    let mailboxes = alys.succeed(&["debug", "mailbox", "ls"])?;
    for role in ROLES {
        ensure!(table.contains(role.name()) && mailboxes.contains(role.name()), "{role} is missing in {table}{mailboxes}");
    }
    mailboxes_are_shown(&alys)?;
    the_running_configuration_is_shown(&alys)?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    let gone = alys.command(&["status"])?;
    ensure!(gone.status.code() == Some(75) && String::from_utf8_lossy(&gone.stderr).contains("alys up"), "{gone:?}");
    alys.ensure_no_panic()
}

fn status(alys: &Alys) -> eyre::Result<Vec<Value>> {
    Ok(serde_json::from_str(&alys.succeed(&["status", "--wait", "20", "-o", "json"])?)?)
}

fn row<'a>(rows: &'a [Value], instance: &str) -> eyre::Result<&'a Value> {
    rows.iter().find(|row| row["instance"] == instance).ok_or_else(|| eyre::eyre!("{instance} has no row"))
}

fn roles_have_all_columns(rows: &[Value]) -> eyre::Result<()> {
    let named: BTreeSet<&str> = rows.iter().filter_map(|row| row["instance"].as_str()).collect();
    ensure!(named == BTreeSet::from(INSTANCES), "status names {named:?}");
    for role in ROLES {
        let row = row(rows, role.name())?;
        let incarnation = row["incarnation"].as_str().unwrap_or_default();
        let complete = row["role"] == role.name()
            && row["pid"].as_u64() > Some(0)
            && incarnation.len() == 16
            && row["mailbox"]["depth"].is_u64()
            && row["mailbox"]["capacity"].as_u64() > Some(0)
            && row["health"] == "ready"
            && row["how"] == "alive"
            && row["resident_bytes"].as_u64() > Some(0);
        ensure!(complete, "{role}: {row:#}");
    }
    for role in [Role::Storage, Role::Engine, Role::Chain] {
        ensure!(row(rows, role.name())?["head"].as_u64() >= Some(1), "{role} shows no head: {:#}", row(rows, role.name())?);
    }
    let incarnations: BTreeSet<_> =
        rows.iter().filter_map(|row| row["incarnation"].as_str()).filter(|text| !text.is_empty()).collect();
    ensure!(incarnations.len() == ROLES.len(), "two processes have one incarnation: {incarnations:?}");
    Ok(())
}

/// Eight roles and three governance nodes, each a process of its own with a telling command line.
fn the_operating_system_agrees(alys: &Alys, rows: &[Value]) -> eyre::Result<()> {
    let running = processes::of(alys.data_dir())?;
    ensure!(running.len() == INSTANCES.len(), "not eleven processes: {running:#?}");
    let says = |pid: Option<u64>, words: &[&str]| {
        running.iter().any(|process| Some(u64::from(process.pid)) == pid && process.runs(words))
    };
    for role in ROLES {
        ensure!(says(row(rows, role.name())?["pid"].as_u64(), &["role", role.name()]), "{role}: {running:#?}");
    }
    for number in ["1", "2", "3"] {
        let pid = row(rows, &format!("governance-{number}"))?["pid"].as_u64();
        ensure!(says(pid, &["governance", "--member", number]), "member {number}: {running:#?}");
    }
    Ok(())
}

fn mailboxes_are_shown(alys: &Alys) -> eyre::Result<()> {
    let listed: Vec<Value> = serde_json::from_str(&alys.succeed(&["debug", "mailbox", "ls", "-o", "json"])?)?;
    for role in ROLES {
        let found = listed.iter().find(|entry| entry["instance"] == role.name()).ok_or_eyre("a role has no mailbox")?;
        let mailbox = &found["mailbox"];
        ensure!(["depth", "capacity", "high_water", "handled", "refused"].iter().all(|key| mailbox[key].is_u64()), "{found:#}");
        ensure!(mailbox["malformed"] == 0 && mailbox["failed"] == 0, "{found:#}");
        let peeked: Value = serde_json::from_str(&alys.succeed(&["debug", "mailbox", "peek", role.name(), "-o", "json"])?)?;
        ensure!(peeked["messages"].is_array() && peeked["mailbox"]["depth"].is_u64(), "{role}: {peeked:#}");
    }
    let chain = listed.iter().find(|entry| entry["instance"] == "chain").map(|entry| &entry["mailbox"]["handled"]);
    ensure!(chain.and_then(Value::as_u64) > Some(0), "chain has handled nothing");
    ensure!(!alys.succeed(&["debug", "mailbox", "peek", "chain"])?.is_empty(), "peek says nothing to people");
    let unknown = alys.command(&["debug", "mailbox", "peek", "nobody"])?;
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    ensure!(unknown.status.code() == Some(64) && said.contains("nobody") && said.contains("storage"), "{said}");
    Ok(())
}

/// Other commands see the ports that `up` was started with, and say that they came from there.
fn the_running_configuration_is_shown(alys: &Alys) -> eyre::Result<()> {
    let settings: Vec<Value> = serde_json::from_str(&alys.succeed(&["config", "show", "--origin", "-o", "json"])?)?;
    let listen = settings.iter().find(|setting| setting["key"] == "engine.rpc.listen").ok_or_eyre("no engine.rpc.listen")?;
    let address = alys.ethereum().url().trim_start_matches("http://");
    ensure!(listen["value"] == address, "{listen:#}");
    ensure!(listen["origin"].as_str().is_some_and(|origin| origin.contains("running node")), "{listen:#}");
    ensure!(alys.succeed(&["config", "check"])?.contains("is in order"), "config check");
    ensure!(alys.succeed(&["version"])?.contains("message schema"), "version");
    ensure!(alys.succeed(&["completions", "bash"])?.contains("peg-out"), "completions");
    let keys: Vec<Value> = serde_json::from_str(&alys.succeed(&["keys", "show", "-o", "json"])?)?;
    ensure!(keys.iter().filter(|key| key["kind"] == "governance").count() == 3, "{keys:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_a_stop_is_there_after_it() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let owner = peg::funded(&bitcoind, &alys, Sats(50_000_000)).await?;
    let friend = alys_tests::ethereum::random_key();
    alys.ethereum().transfer(&owner, friend.address(), peg::wei(Sats(10_000_000))).await?;
    let balances = [alys.ethereum().balance(owner.address()).await?, alys.ethereum().balance(friend.address()).await?];
    let (head, pegs) = (alys.head().await?.height, alys.pegs().await?);

    a_second_start_is_refused(&alys).await?;
    let running = processes::of(alys.data_dir())?;
    let asked = Instant::now();
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    ensure!(asked.elapsed() <= Duration::from_secs(10), "stopping took {:?}", asked.elapsed());
    ensure!(running.len() == INSTANCES.len() && !running.iter().any(|process| is_alive(process.pid)), "{running:#?}");
    ensure!(processes::of(alys.data_dir())?.is_empty(), "a process is left");

    alys.resume().await?;
    ensure!(alys.head().await?.height >= head, "blocks are lost");
    let again = [alys.ethereum().balance(owner.address()).await?, alys.ethereum().balance(friend.address()).await?];
    ensure!(again == balances, "{balances:?} became {again:?}");
    wait("the deposit in the list of the bridge", PATIENCE, async || {
        let listed = alys.pegs().await?.peg_ins;
        Ok((listed.len() == pegs.peg_ins.len() && listed.iter().all(|peg_in| peg_in.state == "minted")).then_some(()))
    })
    .await?;
    alys.wait_blocks(2).await?;
    ensure!(alys.ethereum().balance(friend.address()).await? == balances[1], "a restart changed a balance");
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}

/// The first cluster does not notice, and the second says what is wrong and what to do.
async fn a_second_start_is_refused(alys: &Alys) -> eyre::Result<()> {
    let before = alys.pids().await?;
    let second = alys.command(&["up", "--dev"])?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    ensure!(second.status.code() == Some(78), "{:?}: {said}", second.status);
    ensure!(said.contains("already runs") && said.contains("--data-dir"), "{said}");
    alys.wait_blocks(1).await?;
    ensure!(alys.pids().await? == before, "a process of the first cluster was replaced");
    Ok(())
}

/// Exit 0 is "done as asked": the supervisor leaves it stopped, shows that, and starts it when it is asked to.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_stopped_stays_stopped_until_it_is_asked_for() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let before = alys.observation(Role::Sync).await?.ok_or_eyre("sync lives")?;
    let others: BTreeSet<u32> = alys.pids().await?.into_iter().filter(|pid| *pid != before.pid).collect();
    signal(before.pid, Signal::TERM)?;
    wait("sync to be stopped", PATIENCE, async || {
        let output = alys.command(&["status", "-o", "json"])?;
        ensure!(output.status.code() == Some(75) || output.status.success(), "{output:?}");
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        let sync = row(&rows, "sync")?;
        Ok((sync["state"] == "stopped" && sync["last_exit"] == "exit 0 (done)").then_some(()))
    })
    .await?;
    alys.wait_blocks(2).await?;
    ensure!(alys.observation(Role::Sync).await?.is_none(), "it was started again");
    alys.succeed(&["restart", "sync"])?;
    alys.wait_ready(PATIENCE).await?;
    let after = alys.observation(Role::Sync).await?.ok_or_eyre("sync lives again")?;
    ensure!(after.incarnation != before.incarnation, "the same process");
    let now: BTreeSet<u32> = alys.pids().await?.into_iter().filter(|pid| *pid != after.pid).collect();
    ensure!(now == others, "another role was restarted: {others:?} became {now:?}");
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}
