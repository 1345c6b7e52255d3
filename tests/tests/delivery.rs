//! Posted messages and poison with real processes: what is acknowledged arrives whatever is killed, and one message does not
//! keep a role down.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use alys_cluster::{Remote, exit};
use alys_proto::Role;
use alys_proto::bridge::{self, BitcoinTransactionSeen};
use alys_proto::cluster::Health;
use alys_proto::storage::{self, DeadLetter, DropDeadLetter, GetDeadLetter, ListDeadLetters, RequeueDeadLetter};
use alys_tests::by_hand::ByHand;
use alys_tests::cluster::{binary, wait};
use eyre::ensure;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGES: u64 = 150;

/// Starts the test's own bridge or engine.
fn start(roles: &mut ByHand, role: Role, more: &[String]) -> eyre::Result<u32> {
    let folder = roles.data_dir();
    let mut arguments = vec![role.name().to_owned(), format!("--config={}", folder.join("alys.toml").display())];
    arguments.push(format!("--file={}", folder.join(format!("{role}.effects")).display()));
    arguments.extend_from_slice(more);
    roles.spawn("alys-test-role", &arguments, role.name())
}

fn effects(roles: &ByHand, role: Role) -> Vec<String> {
    let text = std::fs::read_to_string(roles.data_dir().join(format!("{role}.effects"))).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn posted_messages_survive_the_death_of_sender_receiver_and_storage() -> eyre::Result<()> {
    let mut roles = ByHand::empty().await?;
    let post = [format!("--post={MESSAGES}")];
    roles.run(Role::Storage, "storage", "storage")?;
    start(&mut roles, Role::Engine, &post)?;
    start(&mut roles, Role::Bridge, &[])?;
    let mut kills = 0;
    let victims = [Role::Bridge, Role::Engine, Role::Storage];
    for victim in victims.into_iter().cycle().take(9) {
        let before = effects(&roles, Role::Bridge).len();
        wait("messages to arrive", PATIENCE, async || {
            let now = effects(&roles, Role::Bridge).len();
            Ok((now > before + 3 || done(&roles)).then_some(()))
        })
        .await?;
        roles.kill(victim.name())?;
        kills += 1;
        match victim {
            Role::Storage => roles.run(Role::Storage, "storage", "storage")?,
            Role::Engine => start(&mut roles, victim, &post)?,
            _ => start(&mut roles, victim, &[])?,
        };
    }
    wait("the last message", PATIENCE, async || Ok(done(&roles).then_some(()))).await?;

    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for height in effects(&roles, Role::Bridge) {
        *times.entry(height).or_default() += 1;
    }
    let missing: Vec<u64> = (1..=MESSAGES).filter(|height| !times.contains_key(&height.to_string())).collect();
    ensure!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    // Killed between an effect and its mark, or between an acknowledgement and the note of it.
    let repeated: usize = times.values().map(|times| times - 1).sum();
    println!("{MESSAGES} messages, {kills} kills, {repeated} handled again");
    ensure!(repeated <= kills, "{repeated} repetitions by {kills} kills");
    Ok(())
}

fn done(roles: &ByHand) -> bool {
    effects(roles, Role::Bridge).iter().any(|height| *height == MESSAGES.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_three_times_is_put_aside_and_the_role_serves() -> eyre::Result<()> {
    let mut roles = ByHand::empty().await?;
    roles.run(Role::Storage, "storage", "storage")?;
    for (number, text) in [(1, "panic"), (2, "break")] {
        let deadly = kill_three_times(&mut roles, text, number).await?;
        let pid = start(&mut roles, Role::Bridge, &deadly)?;
        let bridge = ready(&roles, pid).await?;
        bridge.tell(seen(text))?;
        bridge.tell(seen(&format!("after {text}")))?;
        handled(&roles, &format!("after {text}")).await?;
        ensure!(!effects(&roles, Role::Bridge).contains(&text.to_owned()), "the dead letter was handled");
        roles.kill("bridge")?;
    }
    let (newest, oldest) = match letters(&roles).await?.as_slice() {
        [newest, oldest] => (newest.clone(), oldest.clone()),
        other => eyre::bail!("{other:?}"),
    };
    ensure!(oldest.explanation == "panicked: panic" && oldest.deaths == 3 && oldest.receiver() == Role::Bridge, "{oldest:?}");
    ensure!(newest.explanation == "broken: break" && newest.method == "BitcoinTransactionSeen", "{newest:?}");
    let store = roles.cluster().remote::<storage::Inbox>();
    let whole = store.ask(GetDeadLetter { id: oldest.id }).await?;
    ensure!(whole.header.is_some_and(|header| header.sender() == Role::Debug) && !whole.body.is_empty(), "it is not whole");

    // Repaired: the requeued one is handled and gone, the dropped one may come again.
    let pid = start(&mut roles, Role::Bridge, &[])?;
    let bridge = ready(&roles, pid).await?;
    store.ask(RequeueDeadLetter { id: oldest.id }).await?;
    handled(&roles, "panic").await?;
    wait("the requeued letter to leave", PATIENCE, async || Ok((letters(&roles).await?.len() == 1).then_some(()))).await?;
    store.ask(DropDeadLetter { id: newest.id }).await?;
    wait("the dropped one to be taken again", PATIENCE, async || {
        bridge.tell(seen("break"))?;
        Ok(effects(&roles, Role::Bridge).contains(&"break".to_owned()).then_some(()))
    })
    .await
}

/// The command line over the life of a letter: it is put aside, seen, requeued, handled and gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_a_dead_letter_and_requeues_it() -> eyre::Result<()> {
    let mut roles = ByHand::empty().await?;
    roles.run(Role::Storage, "storage", "storage")?;
    wait("storage to say that nothing is dead", PATIENCE, async || {
        let (code, said) = debug(&roles, &["deadletter", "ls"]).await?;
        Ok((code == Some(0) && said == "no dead letters\n").then_some(()))
    })
    .await?;
    kill_three_times(&mut roles, "panic", 1).await?;
    let pid = start(&mut roles, Role::Bridge, &[])?;
    ready(&roles, pid).await?;

    let (_, listed) = debug(&roles, &["deadletter", "ls", "-o", "json"]).await?;
    let listed: Value = serde_json::from_str(&listed)?;
    let letter = &listed["letters"][0];
    ensure!(letter["reason"] == "killed its handler" && letter["deaths"] == 3 && letter["receiver"] == "bridge", "{listed:#}");
    ensure!(letter["explanation"] == "panicked: panic" && letter["state"] == "dead", "{listed:#}");
    let id = letter["id"].to_string();
    let (_, shown) = debug(&roles, &["deadletter", "show", &id]).await?;
    ensure!(shown.contains("txid=70616e6963") && shown.contains("BitcoinTransactionSeen from debug to bridge"), "{shown}");
    let file = roles.data_dir().join("bundle").display().to_string();
    ensure!(debug(&roles, &["snapshot", "-o", &file]).await?.0 == Some(0), "no snapshot");

    for wrong in [&["deadletter", "requeue", &id][..], &["deadletter", "drop", &id], &["deadletter", "requeue", "99", "--write"]]
    {
        ensure!(debug(&roles, wrong).await?.0 == Some(exit::USAGE.into()), "{wrong:?} was taken");
    }
    let audit = roles.data_dir().join("audit.log");
    ensure!(!audit.exists(), "what was not done is written down");
    let (code, said) = debug(&roles, &["deadletter", "requeue", &id, "--write", "--reason", "mended"]).await?;
    ensure!(code == Some(0) && said.contains("bridge takes BitcoinTransactionSeen again"), "{said}");
    handled(&roles, "panic").await?;
    wait("the requeued letter to leave", PATIENCE, async || Ok(letters(&roles).await?.is_empty().then_some(()))).await?;
    let audit = std::fs::read_to_string(audit)?;
    ensure!(audit.contains("deadletter requeue") && audit.contains("mended"), "{audit}");

    let (_, kept) = debug(&roles, &["deadletter", "show", &id, "--from", &file]).await?;
    ensure!(kept == shown, "the snapshot shows\n{kept}\ninstead of\n{shown}");
    Ok(())
}

/// Lets bridge die of a message until it is a dead letter, the `number`th; returns what made it deadly.
async fn kill_three_times(roles: &mut ByHand, text: &str, number: usize) -> eyre::Result<[String; 1]> {
    let deadly = [format!("--{text}-over={text}")];
    for death in 1..=3 {
        let pid = start(roles, Role::Bridge, &deadly)?;
        ready(roles, pid).await?.tell(seen(text))?;
        let status = roles.ended("bridge", PATIENCE).await?;
        ensure!(status.code() == Some(exit::BUG.into()), "{status}");
        let dead = letters(roles).await?.len();
        ensure!(dead == if death < 3 { number - 1 } else { number }, "after {death} deaths there are {dead} letters");
    }
    Ok(deadly)
}

/// Runs `alys debug …` on the node; its exit code and what it printed.
async fn debug(roles: &ByHand, arguments: &[&str]) -> eyre::Result<(Option<i32>, String)> {
    let mut command = tokio::process::Command::new(binary("alys")?);
    command.arg("debug").args(arguments).arg(format!("--data-dir={}", roles.data_dir().display()));
    let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await??;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

/// The address of this very process, once it is ready.
async fn ready(roles: &ByHand, pid: u32) -> eyre::Result<Remote<bridge::Inbox>> {
    wait("the role to be ready", PATIENCE, async || {
        let Some(seen) = roles.observation(pid).await?.filter(|seen| seen.health() == Health::Ready) else { return Ok(None) };
        let mut all = roles.cluster().remotes::<bridge::Inbox>().into_iter();
        Ok(all.find(|(identity, _)| identity.incarnation.to_bytes() == seen.incarnation).map(|(_, remote)| remote))
    })
    .await
}

fn seen(text: &str) -> BitcoinTransactionSeen {
    BitcoinTransactionSeen { txid: text.as_bytes().to_vec() }
}

async fn handled(roles: &ByHand, text: &str) -> eyre::Result<()> {
    wait(text, PATIENCE, async || Ok(effects(roles, Role::Bridge).contains(&text.to_owned()).then_some(()))).await
}

async fn letters(roles: &ByHand) -> eyre::Result<Vec<DeadLetter>> {
    Ok(roles.cluster().remote::<storage::Inbox>().ask(ListDeadLetters::default()).await?.letters)
}
