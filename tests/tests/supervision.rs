//! Supervision over real processes: frozen roles are replaced, and what a person orders is done and kept.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alys_proto::Role;
use alys_proto::cluster::Health;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, is_alive, signal, wait};
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// A wedged role serves again within this time.
const WEDGED: Duration = Duration::from_secs(10);

/// Incarnations by role.
async fn incarnations(alys: &Alys) -> eyre::Result<BTreeMap<&'static str, Vec<u8>>> {
    Ok(alys.observations().await?.into_iter().map(|seen| (seen.role().name(), seen.incarnation)).collect())
}

fn rows(alys: &Alys) -> eyre::Result<Vec<Value>> {
    Ok(serde_json::from_slice(&alys.command(&["status", "-o", "json"])?.stdout)?)
}

fn state(alys: &Alys, instance: &str) -> eyre::Result<String> {
    let row = rows(alys)?.into_iter().find(|row| row["instance"] == instance);
    Ok(row.and_then(|row| row["state"].as_str().map(str::to_owned)).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_role_is_replaced_within_ten_seconds_and_the_rest_goes_on() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    for role in [Role::Bridge, Role::Engine, Role::Storage] {
        let before = incarnations(&alys).await?;
        let frozen = alys.observation(role).await?.ok_or_eyre("it lives")?;
        signal(frozen.pid, Signal::STOP)?;
        let began = Instant::now();
        let came_back = format!("{role} to be replaced");
        wait(&came_back, PATIENCE, async || {
            let now = alys.observation(role).await?;
            Ok(now.filter(|now| now.incarnation != frozen.incarnation && now.health() == Health::Ready).map(drop))
        })
        .await?;
        ensure!(began.elapsed() <= WEDGED, "{role} was away for {:?}", began.elapsed());
        ensure!(!is_alive(frozen.pid), "the frozen {role} was left behind");
        alys.wait_ready(PATIENCE).await?;
        let after = incarnations(&alys).await?;
        // Without storage nobody can renew a lease: a holder that stops itself in time does what it must.
        let fenced = |name: &str| role == Role::Storage && [Role::Chain.name(), Role::Bridge.name()].contains(&name);
        let changed = before.iter().filter(|(name, was)| after.get(*name) != Some(*was)).map(|(name, _)| *name);
        let changed: Vec<_> = changed.filter(|name| !fenced(name)).collect();
        ensure!(changed == [role.name()], "replaced: {changed:?}");
        alys.wait_blocks(2).await?;
    }
    ensure!(alys.logs()?.contains("no progress"), "nobody says why");
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_shown_first_then_done_and_kept_over_a_restart_of_all() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let before = incarnations(&alys).await?;
    let dry: Value = serde_json::from_str(&alys.succeed(&["drain", "chain", "--dry-run", "-o", "json"])?)?;
    ensure!(dry["dry_run"] == true && dry["steps"][0]["action"] == "drain, then keep stopped", "{dry:#}");
    let blocked: Vec<&Value> = dry["blocked"].as_array().ok_or_eyre("no list")?.iter().map(|one| &one["role"]).collect();
    ensure!(blocked == ["bridge", "stream"], "{dry:#}");
    ensure!(dry["messages"].as_array().is_some_and(|names| names.iter().any(|name| name == "GetChainHead")), "{dry:#}");
    ensure!(alys.succeed(&["restart", "storage", "--dry-run"])?.contains("new blocks wait"), "people are told too");
    ensure!(incarnations(&alys).await? == before, "a dry run changed something");

    alys.succeed(&["restart", "network", "--wait"])?;
    ensure!(incarnations(&alys).await?.get("network") != before.get("network"), "the same process");
    alys.succeed(&["drain", "bridge", "--wait"])?;
    alys.succeed(&["scale", "sync", "3", "--wait"])?;
    ensure!(state(&alys, "bridge")? == "drained" && state(&alys, "sync-3")? == "running", "{:#?}", rows(&alys)?);
    alys.wait_blocks(2).await?;
    let refused = alys.command(&["restart", "bridge"])?;
    ensure!(refused.status.code() == Some(64), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("alys resume bridge"), "{refused:?}");
    let singleton = alys.command(&["scale", "chain", "2"])?;
    ensure!(singleton.status.code() == Some(64), "{singleton:?}");

    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.launch()?;
    wait("the orders to hold", PATIENCE, async || {
        Ok((state(&alys, "bridge")? == "drained" && state(&alys, "sync-3")? == "running").then_some(()))
    })
    .await?;
    alys.succeed(&["resume", "bridge", "--wait"])?;
    alys.succeed(&["scale", "sync", "1", "--wait"])?;
    alys.wait_ready(PATIENCE).await?;
    ensure!(state(&alys, "sync-3")?.is_empty(), "{:#?}", rows(&alys)?);
    alys.wait_blocks(2).await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}
