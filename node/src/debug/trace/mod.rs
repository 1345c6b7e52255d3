//! `alys debug trace`: one peg-in, peg-out or block through every process, from their logs and from bridge's own list.
//!
//! Lines come from the log files of this host and from the memory of every process of the mesh, whatever host it is on.

mod block;
mod journey;
mod subject;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use alys_proto::bridge::{ListPegs, Pegs};
use alys_proto::cluster::LogTail;
use alys_proto::{bridge, storage};
use serde_json::Value;

use super::args;
use super::source::{DEADLINE, Live, Source};
use crate::cli::pegs::txid_text;
use crate::failure::{Failure, Outcome};
use crate::io::table::{self, Output, print};
use block::BlockTrace;
use journey::{Journey, Step};
use subject::{Subject, Target};

/// How often `--follow` looks again.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn run(mut source: Source, args: &args::Trace) -> Outcome {
    let subject = Subject::parse(&args.subject).map_err(Failure::usage)?;
    if let Subject::Block(height) = subject {
        return show_block(&mut source, height, args.output).await;
    }
    let mut shown = BTreeSet::new();
    loop {
        let journeys = journeys(&mut source, &subject).await?;
        let known: Vec<&Journey> = journeys.iter().filter(|journey| !journey.is_unknown()).collect();
        if !args.follow {
            return show(&known, &args.subject, args.output);
        }
        tell_new(&known, &mut shown);
        if !known.is_empty() && known.iter().all(|journey| journey.waits_for.is_none()) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn show(known: &[&Journey], asked: &str, output: Output) -> Outcome {
    if known.is_empty() {
        return Err(Failure::usage(format!("nothing is known of {asked}")).help(
            "a deposit is known once bridge has seen it; `alys peg-in status` lists them, `alys peg-out status` the burns",
        ));
    }
    if output == Output::Json {
        return table::json(&known);
    }
    let texts: Vec<String> = known.iter().map(|journey| journey::text(journey)).collect();
    print(&texts.join("\n"));
    Ok(())
}

fn tell_new(known: &[&Journey], shown: &mut BTreeSet<Step>) {
    for journey in known {
        for step in journey.steps.iter().filter(|step| shown.insert((*step).clone())) {
            let [time, process, name, said] =
                [0, 1, 2, 3].map(|column| journey::row(step).get(column).cloned().unwrap_or_default());
            print(&format!("{time} {process:<13} {name:<22} {said}\n"));
        }
        if journey.waits_for.is_none() {
            print(&format!("{}: {}\n", journey.name, journey.state));
        }
    }
}

async fn journeys(source: &mut Source, subject: &Subject) -> Outcome<Vec<Journey>> {
    let pegs = pegs(source).await;
    let facts = source.facts().await;
    let targets: Vec<Target> = match subject {
        Subject::Transaction(id) => {
            let lines = lines(source, &hex::encode(id)).await;
            subject.targets(&pegs, |transaction| burnt_by(&lines, transaction))
        }
        _ => subject.targets(&pegs, |_| Vec::new()),
    };
    let mut journeys = Vec::new();
    for target in targets {
        let mut steps = Vec::new();
        for (process, lines) in lines(source, &target.trace_id).await {
            steps.extend(journey::steps_in(&process, &lines, &target.trace_id));
        }
        journeys.push(Journey::new(&target, steps, &facts));
    }
    Ok(journeys)
}

async fn pegs(source: &Source) -> Pegs {
    match source {
        // Without bridge the logs still tell what was.
        Source::Live(live) => live.cluster.remote::<bridge::Inbox>().ask_within(DEADLINE, ListPegs {}).await.unwrap_or_default(),
        Source::File(_) => Pegs::default(),
    }
}

/// Burns that the logs know of a sidechain transaction: the lines of the step that saw it name height and transaction.
fn burnt_by(lines: &BTreeMap<String, Vec<String>>, transaction: &str) -> Vec<(u64, u32)> {
    let mut found = BTreeSet::new();
    for line in lines.values().flatten() {
        let parsed: Value = serde_json::from_str(line).unwrap_or_default();
        let key = parsed.pointer("/span/key").and_then(Value::as_str).and_then(|key| hex::decode(key).ok()).unwrap_or_default();
        if parsed.get("transaction").and_then(Value::as_str) == Some(transaction)
            && let Some((height, index)) = key.split_first_chunk::<8>()
            && let Ok(index) = <[u8; 4]>::try_from(index)
        {
            found.insert((u64::from_be_bytes(*height), u32::from_be_bytes(index)));
        }
    }
    found.into_iter().collect()
}

/// Log lines with a text, by process: of the files here, and of the memory of every process.
async fn lines(source: &Source, text: &str) -> BTreeMap<String, Vec<String>> {
    match source {
        Source::File(snapshot) => {
            let with_text = |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).cloned().collect();
            snapshot.logs.iter().map(|(process, lines)| (process.clone(), with_text(lines))).collect()
        }
        Source::Live(live) => {
            let mut found = in_files(&live.log_dir, text);
            for (process, more) in in_memory(live, text).await {
                found.entry(process).or_default().extend(more);
            }
            found
        }
    }
}

fn in_files(folder: &Path, text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A log that was moved away belongs to the same process.
        let Some(process) = name.strip_suffix(".log").or_else(|| name.strip_suffix(".log.1")) else { continue };
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let lines = String::from_utf8_lossy(&bytes);
        let with_text = lines.lines().filter(|line| line.contains(text)).map(str::to_owned);
        found.entry(process.to_owned()).or_default().extend(with_text);
    }
    found
}

async fn in_memory(live: &Live, text: &str) -> Vec<(String, Vec<String>)> {
    let asked = LogTail { contains: text.to_owned(), ..LogTail::default() };
    let questions = live.cluster.instances().into_iter().filter_map(|known| {
        let name = known.identity.instance.clone();
        let inspector = live.cluster.inspector(known.identity.role, &name)?;
        let asked = asked.clone();
        Some(async move {
            let tail = inspector.ask_within(DEADLINE, asked).await.unwrap_or_default();
            (name, tail.lines.into_iter().map(|line| line.text).collect())
        })
    });
    futures::future::join_all(questions).await
}

async fn show_block(source: &mut Source, height: u64, output: Output) -> Outcome {
    let (facts, pegs) = (source.facts().await, pegs(source).await);
    let mut said = Vec::new();
    for (process, lines) in lines(source, &format!("\"height\":{height}")).await {
        said.extend(block::lines_about(&process, &lines, height));
    }
    let said = said.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let stored = match source {
        Source::Live(live) => stored(live, height).await,
        Source::File(_) => None,
    };
    let processes = block::processes(&facts, height);
    let trace = BlockTrace { height, stored, processes, pegs: pegs_in(&pegs, height), said };
    if trace.stored.is_none() && trace.said.is_empty() && trace.processes.iter().all(|process| !process.has_it) {
        let highest = trace.processes.iter().map(|process| process.height).max().unwrap_or(0);
        return Err(Failure::temporary(format!("nobody knows block {height} yet; the highest is {highest}")));
    }
    match output {
        Output::Json => table::json(&trace),
        Output::Table => {
            print(&block::text(&trace));
            Ok(())
        }
    }
}

async fn stored(live: &Live, height: u64) -> Option<block::Stored> {
    let asked = storage::GetBlocks { from_height: height, limit: 1 };
    let blocks = live.cluster.remote::<storage::Inbox>().ask_within(DEADLINE, asked).await.ok()?.blocks;
    let found = blocks.into_iter().find(|block| block.height == height)?;
    Some(block::Stored {
        hash: hex::encode(&found.hash),
        bytes: found.block.len(),
        certificate_bytes: found.certificate.len(),
        burns: found.burns.len(),
    })
}

fn pegs_in(pegs: &Pegs, height: u64) -> Vec<String> {
    let minted = pegs.peg_ins.iter().filter(|peg| peg.minted_height == height).filter_map(|peg| peg.outpoint.as_ref());
    let burnt = pegs.peg_outs.iter().filter_map(|peg| peg.burn.as_ref()).filter(|burn| burn.height == height);
    minted
        .map(|outpoint| format!("deposit {}:{} minted", txid_text(&outpoint.txid), outpoint.vout))
        .chain(burnt.map(|burn| format!("burn {}/{}", burn.height, burn.log_index)))
        .collect()
}
