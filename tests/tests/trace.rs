//! One peg-in is one trace across the processes: at a real OTLP collector when there is one, in the JSON logs otherwise.
//!
//! The collector is PyPI's `rotel`, which prints every span that it gets (`tests/tools/install-test-tools.sh` puts it into
//! `.tools/rotel`).
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy_primitives::Address;
use alys_cluster::telemetry::{life_trace_id, trace_id_of};
use alys_cluster::testing::free_port;
use alys_proto::common::OutPoint;
use alys_proto::{Cause, Role, Sats};
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options, wait};
use alys_tests::ethereum::{random_key, write_key};
use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use eyre::{WrapErr as _, ensure};

const DEPOSIT: Sats = Sats(50_000_000);
const PATIENCE: Duration = Duration::from_secs(60);
/// Logs begin with the name of their process: the roles, and the governance nodes, that a peg-in passes through.
const PASSED: [&str; 5] = ["bridge", "stream", "governance", "chain", "engine"];
/// What each of them does for a burn.
const PEG_OUT: [(&str, &[&str]); 5] = [
    ("engine", &["burned"]),
    ("chain", &["burned", "accepted", "recorded", "settled"]),
    ("bridge", &["seen", "proposed", "recorded", "signatures requested", "complete", "broadcast", "confirmed"]),
    ("stream", &["signatures asked", "signature passed on"]),
    ("governance", &["signed"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_peg_in_is_one_trace_at_a_collector() -> eyre::Result<()> {
    let Some(program) = Collector::program() else {
        eprintln!("SKIPPED: .tools/rotel holds no collector that runs here: `make setup-test`, with python3 and its venv");
        return Ok(());
    };
    let collector = Collector::start(&program).await?;
    let bitcoind = Bitcoind::start().await?;
    let set = vec![format!("cluster.telemetry.otlp_endpoint=http://127.0.0.1:{}", collector.port)];
    let alys = Alys::up(&bitcoind, Options { set, ..Options::default() }).await?;
    let trace_id = deposit(&bitcoind, &alys, Address::repeat_byte(0x42)).await?;

    wait("spans of every process that the peg-in passes", PATIENCE, async || {
        let seen = collector.spans_of(&trace_id)?;
        let has = |service: &str, step: &str| seen.contains(&(format!("alys-{service}"), format!("peg-in.{step}")));
        for (service, step) in
            [("bridge", "announced"), ("stream", "quorum"), ("governance", "approved"), ("chain", "minted"), ("engine", "minted")]
        {
            ensure!(has(service, step), "no `{step}` of {service} in trace {trace_id}, only {seen:?}");
        }
        Ok(Some(()))
    })
    .await
    .wrap_err_with(|| format!("collector: {}", collector.output_tail()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peg_in_is_one_trace_in_the_logs() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let alys = Alys::up(&bitcoind, Options::default()).await?;
    let trace_id = deposit(&bitcoind, &alys, Address::repeat_byte(0x42)).await?;

    let logs = alys.data_dir().join("logs");
    wait("a log line of every process that the peg-in passes", PATIENCE, async || {
        let steps = steps_in(&logs, &trace_id)?;
        let missing: Vec<&&str> =
            PASSED.iter().filter(|name| !steps.iter().any(|(process, _)| process.starts_with(**name))).collect();
        ensure!(missing.is_empty(), "{missing:?} have no line of {trace_id}; there is {steps:?}");
        for step in ["detected", "confirmed", "announced", "asked", "approval", "quorum", "approved", "accepted", "minted"] {
            ensure!(steps.iter().any(|(_, name)| name == step), "no step `{step}` in {steps:?}");
        }
        Ok(Some(()))
    })
    .await?;
    let steps = steps_in(&logs, &trace_id)?;
    let announced = steps.iter().filter(|step| **step == ("bridge".to_owned(), "announced".to_owned())).count();
    ensure!(announced == 1, "a step that is repeated is told once, not {announced} times");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peg_out_is_one_trace_in_the_logs() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let alys = Alys::up(&bitcoind, Options::default()).await?;
    let owner = random_key();
    deposit(&bitcoind, &alys, owner.address()).await?;
    let key_file = alys.data_dir().join("owner.key");
    write_key(&owner, &key_file)?;
    let (key_file, target) = (key_file.display().to_string(), bitcoind.new_address().await?.to_string());
    alys.succeed(&[
        "peg-out",
        "--amount",
        "0.2",
        "--to",
        &target,
        "--key-file",
        &key_file,
        "--no-follow",
        "--rpc",
        alys.ethereum().url(),
    ])?;
    let burn = wait("the burn to be settled", PATIENCE, async || {
        let found = alys.pegs().await?.peg_outs.into_iter().next();
        if found.as_ref().is_some_and(|peg_out| peg_out.state == "broadcast") {
            bitcoind.mine(1).await?;
        }
        Ok(found.filter(|peg_out| peg_out.state == "settled").and_then(|peg_out| peg_out.burn))
    })
    .await?;

    let trace_id = trace_id_of(&Cause::from(&burn));
    wait("every step of the peg-out", PATIENCE, async || {
        let steps = steps_in(&alys.data_dir().join("logs"), &trace_id)?;
        for (process, taken) in PEG_OUT {
            for step in taken {
                ensure!(
                    steps.iter().any(|(by, name)| by.starts_with(process) && name == step),
                    "no `{step}` of {process} in {steps:?}"
                );
            }
        }
        Ok(Some(()))
    })
    .await
}

/// `kill -9` of bridge between "detected" and "confirmed": the deposit stays one trace, and the second bridge's steps link to
/// its start, which is in one trace with the first one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_peg_in_stays_one_trace_through_kill_9() -> eyre::Result<()> {
    let Some(program) = Collector::program() else {
        eprintln!("SKIPPED: .tools/rotel holds no collector that runs here: `make setup-test`, with python3 and its venv");
        return Ok(());
    };
    let collector = Collector::start(&program).await?;
    let bitcoind = Bitcoind::start().await?;
    let set = vec![format!("cluster.telemetry.otlp_endpoint=http://127.0.0.1:{}", collector.port)];
    let alys = Alys::up(&bitcoind, Options { set, ..Options::default() }).await?;
    let outpoint = announce(&bitcoind, &alys, Address::repeat_byte(0x42)).await?;
    let (trace_id, lives) = (trace_id_of(&Cause::from(&outpoint)), life_trace_id("bridge"));
    let taken_by_bridge = |step: &str| -> eyre::Result<Vec<Span>> {
        let mut spans = collector.spans(&trace_id)?;
        spans.retain(|span| span.service == "alys-bridge" && span.name == format!("peg-in.{step}"));
        Ok(spans)
    };
    let detected = wait("the first bridge's step at the collector", PATIENCE, async || Ok(taken_by_bridge("detected")?.pop()))
        .await
        .wrap_err_with(|| collector.output_tail())?;
    alys.kill(Role::Bridge).await?;
    mint(&bitcoind, &alys).await?;

    let (confirmed, starts) = wait("the second bridge's steps and both starts at the collector", PATIENCE, async || {
        let Some(confirmed) = taken_by_bridge("confirmed")?.pop() else { return Ok(None) };
        let mut starts = collector.spans(&lives)?;
        starts.retain(|span| span.name == "life.start");
        let seen = |step: &Span| starts.iter().any(|start| start.incarnation == step.incarnation);
        Ok((seen(&detected) && seen(&confirmed)).then_some((confirmed, starts)))
    })
    .await
    .wrap_err_with(|| collector.output_tail())?;
    ensure!(detected.incarnation != confirmed.incarnation, "the killed bridge cannot have confirmed");
    for step in [&detected, &confirmed] {
        let start = starts.iter().find(|start| start.incarnation == step.incarnation);
        let id = start.map(|start| start.id.as_str()).unwrap_or_default();
        ensure!(step.links.iter().any(|link| link == id), "{step:?} does not link to its process's start among {starts:?}");
    }
    let spans = collector.spans_of(&trace_id)?;
    ensure!(spans.contains(&("alys-engine".to_owned(), "peg-in.minted".to_owned())), "the trace ends early: {spans:?}");
    Ok(())
}

/// Brings coins to the sidechain. Returns the trace id, computed from the outpoint and nothing else.
async fn deposit(bitcoind: &Bitcoind, alys: &Alys, recipient: Address) -> eyre::Result<String> {
    let outpoint = announce(bitcoind, alys, recipient).await?;
    let minted = mint(bitcoind, alys).await?;
    ensure!(outpoint == minted, "another deposit was minted");
    Ok(trace_id_of(&Cause::from(&outpoint)))
}

/// Sends a deposit, until it is seen in the mempool.
async fn announce(bitcoind: &Bitcoind, alys: &Alys, recipient: Address) -> eyre::Result<OutPoint> {
    bitcoind.mine_coins().await?;
    let (amount, recipient) = (DEPOSIT.to_string(), recipient.to_string());
    let sent =
        alys.succeed(&["peg-in", "send", "--amount", &amount, "--recipient", &recipient, "--wallet", "miner", "-o", "json"])?;
    let sent: serde_json::Value = serde_json::from_str(&sent)?;
    let txid: Txid = sent.get("txid").and_then(serde_json::Value::as_str).unwrap_or_default().parse()?;
    // `peg-in send` tells bridge, so it is seen before it is in a block.
    let outpoint = wait("the deposit to be seen in the mempool", PATIENCE, async || {
        let seen = alys.pegs().await?.peg_ins;
        let seen = seen.into_iter().find(|peg_in| peg_in.state == "detected" && peg_in.bitcoin_height == 0);
        Ok(seen.and_then(|peg_in| peg_in.outpoint))
    })
    .await?;
    ensure!(outpoint.txid == txid.to_byte_array(), "another deposit was seen");
    Ok(outpoint)
}

/// Confirms the deposit on Bitcoin, until it is minted.
async fn mint(bitcoind: &Bitcoind, alys: &Alys) -> eyre::Result<OutPoint> {
    let confirmations = wait("bridge to answer", PATIENCE, async || Ok(Some(alys.federation().await?.confirmations))).await?;
    bitcoind.mine(confirmations.into()).await?;
    wait("the deposit to be minted", PATIENCE, async || {
        let minted = alys.pegs().await?.peg_ins.into_iter().find(|peg_in| peg_in.state == "minted");
        Ok(minted.and_then(|peg_in| peg_in.outpoint))
    })
    .await
    .wrap_err_with(|| alys.log_tail())
}

/// (process, step) of each JSON line under this trace id, in no particular order.
fn steps_in(logs: &Path, trace_id: &str) -> eyre::Result<Vec<(String, String)>> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        let process = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        for line in std::fs::read_to_string(&path)?.lines().filter(|line| line.contains(trace_id)) {
            let line: serde_json::Value = serde_json::from_str(line).wrap_err_with(|| format!("not JSON: {line}"))?;
            let field = |name: &str| line.pointer(&format!("/span/{name}")).and_then(serde_json::Value::as_str);
            ensure!(field("trace_id") == Some(trace_id), "the trace id is not that of the line's span: {line}");
            // A line of a message that was sent within the trace has no step.
            steps.extend(field("step").map(|step| (process.clone(), step.to_owned())));
        }
    }
    Ok(steps)
}

/// A span as the collector prints it.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    incarnation: String,
    name: String,
    id: String,
    /// Ids of the spans it links to.
    links: Vec<String>,
}

/// Of a line `    Name           : peg-in.minted`.
fn value<'text>(span: &'text str, name: &str) -> Option<&'text str> {
    let line = span.lines().find(|line| line.trim_start().starts_with(name))?;
    line.split_once(": ").map(|(_, value)| value.trim())
}

fn between<'text>(text: &'text str, before: &str, after: &str) -> Option<&'text str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// A real OTLP collector that prints what it gets. Ended by its pid when dropped, also when the test panics.
struct Collector {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Collector {
    /// The program, if it is installed and runs on this machine.
    fn program() -> Option<PathBuf> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(".tools/bin/rotel");
        let runs = Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success());
        runs.then_some(program)
    }

    async fn start(program: &Path) -> eyre::Result<Self> {
        let (port, http_port) = (free_port()?, free_port()?);
        let folder = tempfile::tempdir()?;
        let output = File::create(folder.path().join("spans"))?;
        let process = Command::new(program)
            .args(["start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .arg(format!("--otlp-grpc-endpoint=127.0.0.1:{port}"))
            .arg(format!("--otlp-http-endpoint=127.0.0.1:{http_port}"))
            .arg("--batch-timeout=200ms")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut collector = Self { process, port, folder };
        let address = ("127.0.0.1", port);
        wait("the collector to listen", PATIENCE, async || Ok(std::net::TcpStream::connect(address).ok())).await.wrap_err_with(
            || {
                let ended = collector.process.try_wait();
                format!("{ended:?}: {}", collector.output_tail())
            },
        )?;
        Ok(collector)
    }

    fn output(&self) -> eyre::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.folder.path().join("spans"))?).into_owned())
    }

    /// (service, span) of everything in this trace that has arrived.
    fn spans_of(&self, trace_id: &str) -> eyre::Result<BTreeSet<(String, String)>> {
        Ok(self.spans(trace_id)?.into_iter().map(|span| (span.service, span.name)).collect())
    }

    /// Everything in this trace that has arrived.
    fn spans(&self, trace_id: &str) -> eyre::Result<Vec<Span>> {
        let text = self.output()?;
        let mut found = Vec::new();
        for resource in text.split("ResourceSpans #") {
            let attribute = |name: &str| between(resource, &format!("{name}: Str("), ")").unwrap_or_default().to_owned();
            let spans = resource.split("\nSpan #").skip(1);
            for span in spans.filter(|span| value(span, "Trace ID") == Some(trace_id)) {
                let links = span.split("SpanLink #").skip(1).filter_map(|link| value(link, "-> ID"));
                found.push(Span {
                    service: attribute("service.name"),
                    incarnation: attribute("service.instance.id"),
                    name: value(span, "Name").unwrap_or_default().to_owned(),
                    id: value(span, "ID").unwrap_or_default().to_owned(),
                    links: links.map(str::to_owned).collect(),
                });
            }
        }
        Ok(found)
    }

    fn output_tail(&self) -> String {
        let text = self.output().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(60)).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // `kill` and `wait` are by the pid of this child; it may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
