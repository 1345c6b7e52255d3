//! Processes that run another configuration than a start of them would: shown, replaced one after another when asked, or by
//! themselves where that is set.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use alys_proto::supervisor::{self, RestartOutdated};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, wait};
use eyre::ensure;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn rows(alys: &Alys) -> eyre::Result<Vec<Value>> {
    Ok(serde_json::from_slice(&alys.command(&["status", "-o", "json"])?.stdout)?)
}

/// Instance → what a column of `alys status` says, where it says something.
fn column(alys: &Alys, name: &str) -> eyre::Result<BTreeMap<String, String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let all = rows(alys)?.into_iter().map(|row| (text(&row["instance"]), text(&row[name])));
    Ok(all.filter(|(_, value)| !value.is_empty()).collect())
}

/// Sets something in the node's file.
fn configure(data_dir: &Path, section: &str, key: &str, value: &str) -> eyre::Result<()> {
    let file = data_dir.join("alys.toml");
    let (mut text, head) = (std::fs::read_to_string(&file)?, format!("[{section}]\n"));
    if !text.contains(&head) {
        text.push_str(&format!("\n{head}"));
    }
    let text = text.replace(&head, &format!("{head}{key} = \"{value}\"\n"));
    // At once: a process must not read half of it.
    let unfinished = file.with_extension("new");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, &file)?;
    Ok(())
}

async fn outdated(alys: &Alys, expected: &[&str]) -> eyre::Result<()> {
    wait(&format!("{expected:?} to be outdated"), PATIENCE, async || {
        let names = column(alys, "outdated")?;
        Ok(names.keys().eq(expected.iter()).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outdated_is_shown_and_replaced_when_a_person_says_so() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    let nothing = alys.succeed(&["restart", "--outdated"])?;
    ensure!(nothing.contains("nothing is outdated"), "{nothing}");
    let generations = column(&alys, "generation")?;
    ensure!(generations.len() == 8 && generations.values().all(|one| one.contains('+') && one.contains('/')), "{generations:?}");
    let before = column(&alys, "pid")?;

    configure(alys.data_dir(), "network", "redial_max", "77s")?;
    configure(alys.data_dir(), "sync", "retry_max", "17s")?;
    outdated(&alys, &["network", "sync"]).await?;
    // Its exit code speaks of whether all work, too.
    let status = String::from_utf8(alys.command(&["status"])?.stdout)?;
    ensure!(status.contains("outdated: configuration"), "{status}");
    let planned = alys.succeed(&["restart", "--outdated", "--dry-run"])?;
    let position = |text: &str| planned.find(text).unwrap_or(usize::MAX);
    ensure!(position("network") < position("sync") && planned.contains("another configuration"), "{planned}");

    // What would not come back is left alone.
    let file = alys.data_dir().join("alys.toml");
    let good = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("no_such_key = 1\n{good}"))?;
    // Asked over the mesh: a command reads the same file.
    wait("a start to fail", PATIENCE, async || {
        let all = alys.observations().await?;
        Ok((all.len() == 8 && all.iter().all(|seen| seen.on_disk_fault.contains("no_such_key"))).then_some(()))
    })
    .await?;
    wait("nothing to be replaced", PATIENCE, async || {
        let asked = RestartOutdated { reason: "test".to_owned(), dry_run: true };
        let taken = alys.cluster()?.remote::<supervisor::Inbox>().ask(asked).await?;
        Ok(taken.decision.contains("nothing is outdated").then_some(()))
    })
    .await?;
    std::fs::write(&file, good)?;
    outdated(&alys, &["network", "sync"]).await?;
    ensure!(column(&alys, "pid")? == before, "something was replaced that nobody ordered");

    // The supervisor may not have looked yet.
    wait("the order to be taken", PATIENCE, async || {
        let taken = alys.succeed(&["restart", "--outdated", "--dry-run"])?;
        Ok((taken.contains("network") && taken.contains("sync")).then_some(()))
    })
    .await?;
    alys.succeed(&["restart", "--outdated", "--wait"])?;
    outdated(&alys, &[]).await?;
    let after = column(&alys, "pid")?;
    let replaced: Vec<&String> =
        after.iter().filter(|(name, pid)| before.get(*name) != Some(*pid)).map(|(name, _)| name).collect();
    ensure!(replaced == ["network", "sync"], "{before:?} became {after:?}");
    alys.wait_blocks(2).await?;
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outdated_is_replaced_by_itself_where_that_is_set() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let set = vec!["supervision.replace_outdated=true".to_owned()];
    let mut alys = Alys::up(&bitcoind, Options { set, ..Options::default() }).await?;
    let before = column(&alys, "pid")?;
    configure(alys.data_dir(), "sync", "retry_max", "17s")?;
    wait("sync to be replaced", PATIENCE, async || {
        let (now, outdated) = (column(&alys, "pid")?, column(&alys, "outdated")?);
        Ok((now.get("sync") != before.get("sync") && outdated.is_empty() && now.len() == before.len()).then_some(()))
    })
    .await?;
    let after = column(&alys, "pid")?;
    ensure!(after.iter().all(|(name, pid)| name == "sync" || before.get(name) == Some(pid)), "{before:?} became {after:?}");
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());
    alys.ensure_no_panic()
}
