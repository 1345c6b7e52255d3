//! The debug node on a cluster that works: it sees everything, changes nothing by looking, and what it holds lets go by itself.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use alys_proto::cluster::{Health, Observation};
use alys_proto::role::ROLES;
use alys_proto::{Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, binary, signal, wait};
use alys_tests::ethereum::{random_key, write_key};
use alys_tests::peg;
use alys_tests::terminal::Terminal;
use eyre::{OptionExt as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// The lease of a freeze is five seconds.
const THAWED_BY_ITSELF: Duration = Duration::from_secs(8);

/// A debugger that runs beside the test; killed with SIGKILL when dropped.
struct Debugger(Child);

impl Debugger {
    fn start(alys: &Alys, arguments: &[&str], output: &Path) -> eyre::Result<Self> {
        let mut command = Command::new(binary("alys")?);
        command.arg("debug").args(arguments).arg(format!("--data-dir={}", alys.data_dir().display()));
        Ok(Self(command.stdin(Stdio::null()).stdout(std::fs::File::create(output)?).spawn()?))
    }

    /// Until it ends by itself.
    async fn wait(&mut self, what: &str) -> eyre::Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while self.0.try_wait()?.is_none() {
            ensure!(Instant::now() < give_up, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        // By the pid of this child; it may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn json(alys: &Alys, arguments: &[&str]) -> eyre::Result<Value> {
    Ok(serde_json::from_str(&alys.succeed(arguments)?)?)
}

/// Instance → incarnation.
async fn incarnations(alys: &Alys) -> eyre::Result<BTreeMap<String, Vec<u8>>> {
    Ok(alys.observations().await?.into_iter().map(|seen| (seen.instance, seen.incarnation)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debugger_sees_everything_and_leaves_no_trace() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    let mut alys = Alys::up(&bitcoind, Options::default()).await?;
    alys.wait_blocks(1).await?;
    let before = incarnations(&alys).await?;

    looking_changes_nothing(&alys).await?;
    a_terminal_is_put_back(&alys).await?;
    let txid = a_tap_shows_a_deposit(&alys, &bitcoind).await?;
    wait("bridge to know that it is minted", PATIENCE, async || {
        Ok(alys.pegs().await?.peg_ins.iter().any(|peg_in| peg_in.state == "minted").then_some(()))
    })
    .await?;
    a_trace_names_every_step_in_order(&alys, &txid)?;
    no_secret_is_shown(&alys, &bitcoind).await?;
    let recording = alys.data_dir().join("storage.rec").display().to_string();
    alys.succeed(&["debug", "record", "storage", "-o", &recording, "--count", "24"])?;
    a_snapshot_opens_without_the_node(&mut alys, &before).await?;
    a_recording_runs_again(&alys, &recording)?;
    alys.ensure_no_panic()
}

/// Commands that look come and go; nobody restarts, nobody is linked with them afterwards, blocks go on.
async fn looking_changes_nothing(alys: &Alys) -> eyre::Result<()> {
    let before = incarnations(alys).await?;
    let picture = alys.succeed(&["debug", "top", "--once"])?;
    for role in ROLES {
        ensure!(picture.contains(role.name()), "{role} is not in the picture:\n{picture}");
        ensure!(alys.succeed(&["debug", "show", role.name()])?.contains("it answered just now"), "{role}");
    }
    alys.succeed(&["debug", "edges"])?;
    ensure!(alys.succeed(&["debug", "logs", "chain", "--contains", "block committed"])?.contains("height="), "no log");
    let height = alys.head().await?.height;
    let block = json(alys, &["debug", "trace", &height.to_string(), "-o", "json"])?;
    let has_it = |name: &str| {
        let processes = block["processes"].as_array().into_iter().flatten();
        processes.filter(|process| process["instance"] == name).any(|process| process["has_it"] == true)
    };
    ensure!(has_it("storage") && has_it("engine") && has_it("chain"), "{block:#}");
    alys.wait_blocks(1).await?;
    ensure!(incarnations(alys).await? == before, "an instance was restarted or came in addition");
    wait("links with debuggers to close", PATIENCE, async || {
        // The harness itself is one.
        let debuggers = |seen: &Observation| seen.links.iter().filter(|link| link.role() == Role::Debug).count();
        Ok(alys.observations().await?.iter().all(|seen| debuggers(seen) == 1).then_some(()))
    })
    .await
}

/// By `q`, and by SIGTERM.
async fn a_terminal_is_put_back(alys: &Alys) -> eyre::Result<()> {
    const LEFT: &str = "\u{1b}[?1049l";
    for by_key in [true, false] {
        let mut command = Command::new(binary("alys")?);
        command.args(["debug", "top"]).arg(format!("--data-dir={}", alys.data_dir().display()));
        let mut top = Terminal::start(command, 80, 24)?;
        wait("top to draw", PATIENCE, async || Ok(top.drawn().contains("governance-3").then_some(()))).await?;
        ensure!(!top.drawn().contains(LEFT), "it left the terminal early");
        if by_key {
            top.press("?")?;
            wait("the help", PATIENCE, async || Ok(top.drawn().contains("thaws").then_some(()))).await?;
            top.press("xjj\rq")?;
        } else {
            signal(top.pid(), Signal::TERM)?;
        }
        let status = ended(&mut top).await?;
        ensure!(status.success(), "{status}: {}", top.drawn());
        wait("the terminal to be put back", PATIENCE, async || Ok(top.drawn().contains(LEFT).then_some(()))).await?;
    }
    Ok(())
}

async fn ended(top: &mut Terminal) -> eyre::Result<ExitStatus> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = top.ended()? {
            return Ok(status);
        }
        ensure!(Instant::now() < give_up, "it does not end: {}", top.drawn());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the deposit's transaction id.
async fn a_tap_shows_a_deposit(alys: &Alys, bitcoind: &Bitcoind) -> eyre::Result<String> {
    let output = alys.data_dir().join("tap.json");
    let tapped = ["mailbox", "tap", "chain", "--name", "PegInValidationRequest", "--count", "2", "--for", "60s", "-o", "json"];
    let mut tap = Debugger::start(alys, &tapped, &output)?;
    wait("the tap to be open", PATIENCE, async || {
        let chain = alys.observation(Role::Chain).await?.and_then(|seen| seen.mailbox);
        Ok(chain.is_some_and(|mailbox| mailbox.taps == 1).then_some(()))
    })
    .await?;
    let owner = random_key();
    let txid = peg::deposit(bitcoind, alys, owner.address(), Sats(50_000_000)).await?.to_string();
    bitcoind.mine(alys.federation().await?.confirmations.into()).await?;
    peg::minted(alys, owner.address(), Sats(50_000_000)).await?;
    tap.wait("the tap to have seen it").await?;
    let text = std::fs::read_to_string(&output)?;
    let seen: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let [arrived, handled] = &seen[..] else { eyre::bail!("not two lines: {text}") };
    ensure!(arrived["passage"] == "arrived" && arrived["sender"] == "stream", "{arrived:#}");
    ensure!(arrived["body"].as_str().is_some_and(|body| body.contains(&txid)), "{txid} is not in {arrived:#}");
    ensure!(handled["passage"] == "handled" && handled["took_micros"].as_u64() > Some(0), "{handled:#}");
    ensure!(handled["message_id"] == arrived["message_id"], "two messages: {text}");
    wait("the tap to be forgotten", PATIENCE, async || {
        let chain = alys.observation(Role::Chain).await?.and_then(|seen| seen.mailbox);
        Ok(chain.is_some_and(|mailbox| mailbox.taps == 0).then_some(()))
    })
    .await?;
    Ok(txid)
}

fn a_trace_names_every_step_in_order(alys: &Alys, txid: &str) -> eyre::Result<()> {
    let journeys = json(alys, &["debug", "trace", txid, "-o", "json"])?;
    let journey = journeys.get(0).ok_or_eyre("no journey")?;
    ensure!(journey["state"] == "minted" && journey["waits_for"].is_null(), "{journey:#}");
    let steps: Vec<(&str, &str)> = journey["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|step| Some((step["process"].as_str()?, step["step"].as_str()?)))
        .collect();
    let way = [
        ("bridge", "detected"),
        ("bridge", "confirmed"),
        ("stream", "asked"),
        ("governance", "approved"),
        ("stream", "quorum"),
        ("chain", "accepted"),
        ("chain", "minted"),
    ];
    let mut position = 0;
    for (process, name) in way {
        let found = steps.iter().skip(position).position(|(by, step)| by.starts_with(process) && *step == name);
        position += found.ok_or_else(|| eyre::eyre!("`{name}` of {process} is missing or too early in {steps:?}"))? + 1;
    }
    let text = alys.succeed(&["debug", "trace", txid])?;
    ensure!(text.contains("it has come to its end") && text.contains("DETECTED") | text.contains("detected"), "{text}");
    let unknown = alys.command(&["debug", "trace", &"00".repeat(32)])?;
    ensure!(unknown.status.code() == Some(64), "{unknown:?}");
    Ok(())
}

/// The partial signatures of a payout pass through bridge's mailbox; who looks sees how long they are.
async fn no_secret_is_shown(alys: &Alys, bitcoind: &Bitcoind) -> eyre::Result<()> {
    let output = alys.data_dir().join("signatures.json");
    let tapped = ["mailbox", "tap", "bridge", "--name", "FederationSignatures", "--count", "1", "--for", "60s", "-o", "json"];
    let mut tap = Debugger::start(alys, &tapped, &output)?;
    let owner = peg::funded(bitcoind, alys, Sats(50_000_000)).await?;
    let key_file = alys.data_dir().join("owner.key");
    write_key(&owner, &key_file)?;
    let (key_file, target) = (key_file.display().to_string(), bitcoind.new_address().await?.to_string());
    let url = alys.ethereum().url();
    alys.succeed(&["peg-out", "--amount", "0.2", "--to", &target, "--key-file", &key_file, "--no-follow", "--rpc", url])?;
    tap.wait("signatures to pass").await?;
    let text = std::fs::read_to_string(&output)?;
    ensure!(text.contains("signature=(redacted, 64 bytes)"), "{text}");
    ensure!(text.contains("FederationSignatures") && text.contains("governance-"), "{text}");
    Ok(())
}

async fn a_snapshot_opens_without_the_node(alys: &mut Alys, live: &BTreeMap<String, Vec<u8>>) -> eyre::Result<()> {
    let file = alys.data_dir().join("node.alys").display().to_string();
    alys.succeed(&["debug", "snapshot", "-o", &file])?;
    let cookie = std::fs::read_to_string(alys.data_dir().join("cookie"))?;
    ensure!(!std::fs::read_to_string(&file)?.contains(cookie.trim()), "the cookie is in the snapshot");
    ensure!(alys.stop()? == Some(0), "{}", alys.log_tail());

    let listed = json(alys, &["debug", "mailbox", "ls", "--from", &file, "-o", "json"])?;
    ensure!(listed.as_array().map(Vec::len) == Some(ROLES.len()), "{listed:#}");
    for (instance, incarnation) in live {
        let shown = json(alys, &["debug", "show", instance, "--from", &file, "-o", "json"])?;
        ensure!(shown["facts"]["incarnation"] == hex::encode(incarnation), "{instance}: {shown:#}");
        ensure!(shown["log"].as_array().is_some_and(|log| !log.is_empty()), "{instance} has no log: {shown:#}");
        alys.succeed(&["debug", "mailbox", "peek", instance, "--from", &file])?;
    }
    let picture = alys.succeed(&["debug", "top", "--once", "--from", &file])?;
    ensure!(picture.contains("8 of 8") | picture.contains("11 of 11"), "{picture}");
    alys.succeed(&["debug", "edges", "--from", &file])?;
    ensure!(alys.succeed(&["debug", "logs", "chain", "--from", &file])?.contains("block committed"), "no log");
    Ok(())
}

/// Against a copy of the database that the recorded messages went into: the node is stopped.
fn a_recording_runs_again(alys: &Alys, recording: &str) -> eyre::Result<()> {
    let folder = alys.data_dir().join("again");
    std::fs::create_dir_all(folder.join("storage"))?;
    for entry in std::fs::read_dir(alys.data_dir().join("storage"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.join("storage").join(entry.file_name()))?;
    }
    let on = folder.display().to_string();
    let answers = json(alys, &["debug", "replay", recording, "--on", &on, "-o", "json"])?;
    let answers = answers.as_array().ok_or_eyre("no answers")?;
    ensure!(answers.len() == 24, "{answers:#?}");
    let commits = answers.iter().filter(|answer| answer["name"] == "CommitBlock");
    ensure!(commits.clone().count() > 0, "no block in {answers:#?}");
    for commit in commits {
        // Under a lease of the replay's own. The block is on the copy already, and the same one again is done.
        ensure!(commit["refused"].is_null() && commit["sender"] == "chain", "{commit:#}");
    }
    let fenced = |answer: &Value| answer["refused"].as_str().is_some_and(|refused| refused.starts_with("fenced"));
    ensure!(!answers.iter().any(fenced), "{answers:#?}");
    let own = alys.command(&["debug", "replay", recording, "--on", &alys.data_dir().display().to_string()])?;
    ensure!(own.status.code() == Some(64), "a replay on the node's own folder: {own:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_debugger_froze_thaws_by_itself() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let alys = Alys::up(&bitcoind, Options::default()).await?;
    let before = incarnations(&alys).await?;
    let health = async |role| eyre::Ok(alys.observation(role).await?.map(|seen| seen.health()));

    let read_only = alys.command(&["debug", "mailbox", "freeze", "network"])?;
    ensure!(read_only.status.code() == Some(64), "{read_only:?}");
    let not_frozen = alys.command(&["debug", "mailbox", "step", "network", "--write"])?;
    ensure!(not_frozen.status.code() == Some(64), "{not_frozen:?}");

    let debugger = Debugger::start(&alys, &["mailbox", "freeze", "network", "--write"], &alys.data_dir().join("freeze"))?;
    wait("network to be frozen", PATIENCE, async || Ok((health(Role::Network).await? == Some(Health::Frozen)).then_some(())))
        .await?;
    // Blocks are told to it and wait; the chain does not.
    alys.wait_blocks(3).await?;
    let depth = async || {
        let seen = alys.observation(Role::Network).await?.and_then(|seen| seen.mailbox).ok_or_eyre("network lives")?;
        eyre::Ok(seen.depth)
    };
    wait("messages to wait", PATIENCE, async || Ok((depth().await? >= 2).then_some(()))).await?;
    let peeked = alys.succeed(&["debug", "mailbox", "peek", "network", "--name", "FinalizedBlock"])?;
    ensure!(peeked.contains("FinalizedBlock") && peeked.contains("height="), "{peeked}");
    let stepped = alys.succeed(&["debug", "mailbox", "step", "network", "--write"])?;
    ensure!(stepped.contains("1 stepped") || stepped.contains("0 stepped"), "{stepped}");
    let another = alys.command(&["debug", "mailbox", "freeze", "network", "--write", "--for", "1s"])?;
    ensure!(another.status.code() == Some(75), "two debuggers hold one mailbox: {another:?}");

    let killed = Instant::now();
    drop(debugger);
    wait("network to thaw by itself", THAWED_BY_ITSELF, async || {
        Ok((health(Role::Network).await? == Some(Health::Ready) && depth().await? == 0).then_some(()))
    })
    .await?;
    ensure!(killed.elapsed() >= Duration::from_secs(3), "the lease ended too soon for a debugger that only stalls");
    alys.wait_blocks(1).await?;
    ensure!(incarnations(&alys).await? == before, "a frozen role was taken for a wedged one and restarted");
    let audit = std::fs::read_to_string(alys.data_dir().join("audit.log"))?;
    ensure!(audit.contains("\"freeze\"") && audit.contains("\"step\"") && audit.contains("network"), "{audit}");

    // A test chain lets consensus be frozen, too: it misses its turns and goes on.
    alys.succeed(&["debug", "mailbox", "freeze", "chain", "--write", "--for", "2s"])?;
    alys.wait_blocks(1).await?;
    alys.ensure_no_panic()
}
