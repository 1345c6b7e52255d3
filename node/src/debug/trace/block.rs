//! One block through every process: who has it, who does not yet and what that one does, and what was said about it. Pure.

use serde::Serialize;
use serde_json::Value;

use super::super::facts::Facts;
use super::super::logs;
use super::journey::{Step, doing, row};
use crate::io::table;

/// Names under which roles show their height; a value that is no number is a hash.
const HEIGHTS: [&str; 3] = ["height", "head", "head_height"];

/// Where a block is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct BlockTrace {
    pub(super) height: u64,
    /// Hash, sizes, burns: what storage has of it.
    pub(super) stored: Option<Stored>,
    pub(super) processes: Vec<Process>,
    /// Deposits minted and burns made in it.
    pub(super) pegs: Vec<String>,
    pub(super) said: Vec<Step>,
}

/// What storage has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stored {
    pub(super) hash: String,
    pub(super) bytes: usize,
    pub(super) certificate_bytes: usize,
    pub(super) burns: usize,
}

/// One process that follows the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Process {
    pub(super) instance: String,
    pub(super) height: u64,
    pub(super) has_it: bool,
    pub(super) doing: String,
}

/// Every process that shows a height.
pub(super) fn processes(facts: &Facts, height: u64) -> Vec<Process> {
    let of = |instance: &super::super::facts::Instance| {
        let status = &instance.vitals.as_ref()?.status;
        let figure = |name: &&str| {
            let (_, value) = status.iter().find(|(field, _)| field == name)?;
            value.split_whitespace().next()?.parse::<u64>().ok()
        };
        let at = HEIGHTS.iter().find_map(figure)?;
        Some(Process { instance: instance.instance.clone(), height: at, has_it: at >= height, doing: doing(instance) })
    };
    facts.instances.iter().filter_map(of).collect()
}

/// Lines that name the height.
pub(super) fn lines_about(process: &str, lines: &[String], height: u64) -> Vec<Step> {
    let about = |line: &String| {
        let parsed: Value = serde_json::from_str(line).ok()?;
        let named = ["/height", "/span/height"].iter().find_map(|pointer| parsed.pointer(pointer).and_then(Value::as_u64))?;
        let text = |pointer: &str| parsed.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let said = logs::for_people(line).split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        (named == height).then(|| Step { time: text("/timestamp"), process: process.to_owned(), step: text("/span/step"), said })
    };
    lines.iter().filter_map(about).collect()
}

/// For people.
pub(super) fn text(block: &BlockTrace) -> String {
    let stored = match &block.stored {
        Some(stored) => format!(
            "{}, {} bytes, certificate of {} bytes, {} burns",
            stored.hash, stored.bytes, stored.certificate_bytes, stored.burns
        ),
        None => "not stored".to_owned(),
    };
    let mut text = format!("block {} · {stored}\n\n", block.height);
    let rows: Vec<Vec<String>> = block
        .processes
        .iter()
        .map(|process| {
            let has = if process.has_it { "has it".to_owned() } else { format!("{} behind", block.height - process.height) };
            vec![process.instance.clone(), process.height.to_string(), has, process.doing.clone()]
        })
        .collect();
    text.push_str(&table::table(&["process", "at", "block", "process now"], &rows));
    if !block.pegs.is_empty() {
        text.push_str(&format!("\nin it: {}\n", block.pegs.join(", ")));
    }
    if !block.said.is_empty() {
        text.push('\n');
        text.push_str(&table::table(&["time", "process", "step", "said"], &block.said.iter().map(row).collect::<Vec<_>>()));
    }
    let missing: Vec<&Process> = block.processes.iter().filter(|process| !process.has_it).collect();
    if let Some(first) = missing.first() {
        text.push_str(&format!("\nit is stuck before {}: {} {}\n", first.instance, first.instance, first.doing));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::*;

    #[test]
    fn who_has_a_block_and_who_does_not() {
        let mut facts = sample::facts();
        for vitals in facts.instances.iter_mut().take(1).filter_map(|one| one.vitals.as_mut()) {
            vitals.status = vec![("head".into(), "16 00ab".into())];
        }
        let line = r#"{"timestamp":"2026-11-22T10:00:07.5Z","level":"INFO","message":"block committed","height":17,"facts":1}"#;
        let other = r#"{"timestamp":"2026-11-22T10:00:09.5Z","level":"INFO","message":"block committed","height":18}"#;
        let said = lines_about("chain", &[line.to_owned(), other.to_owned(), "x".to_owned()], 17);
        assert_eq!(said.len(), 1);
        let pegs = vec!["deposit ab:0 minted".to_owned()];
        let block = BlockTrace { height: 17, stored: None, processes: processes(&facts, 17), pegs, said };
        let has: Vec<_> = block.processes.iter().map(|process| (process.instance.as_str(), process.has_it)).collect();
        assert_eq!(has, [("storage", false), ("engine", true), ("chain", true), ("network", true)]);
        sample::golden("trace-block", &text(&block));
    }
}
