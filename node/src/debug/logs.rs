//! `alys debug logs`: the log of one instance, from the process itself wherever it runs, else from its file.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use alys_proto::cluster::LogTail;
use serde_json::Value;

use super::args;
use super::source::{DEADLINE, Source};
use crate::failure::Outcome;
use crate::io::table::{Output, print};

/// Bytes of a log file that are searched for its last lines.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;
/// How often new lines are asked for.
const LOOK: Duration = Duration::from_millis(300);

pub(super) async fn run(source: &mut Source, args: &args::Logs) -> Outcome {
    let wanted = |line: &String| args.contains.as_ref().is_none_or(|text| line.contains(text.as_str()));
    let lines = source.log(&args.instance, if args.contains.is_some() { usize::MAX } else { args.lines }).await;
    let lines: Vec<String> = lines.into_iter().filter(wanted).collect();
    if lines.is_empty() && !args.follow {
        let facts = source.facts().await;
        let names: Vec<&str> = facts.instances.iter().map(|one| one.instance.as_str()).collect();
        if !names.contains(&args.instance.as_str()) {
            return Err(super::source::unknown(&args.instance, &names));
        }
    }
    for line in lines.iter().skip(lines.len().saturating_sub(args.lines)) {
        show(line, args.output);
    }
    if args.follow { follow(source, args).await } else { Ok(()) }
}

/// Until Ctrl-C. A restart of the process is followed: its lines begin at 1 again.
async fn follow(source: &Source, args: &args::Logs) -> Outcome {
    let Source::Live(live) = source else { return Ok(()) };
    let mut after = None;
    loop {
        let asked = LogTail { after: after.unwrap_or(0), limit: 0, contains: String::new() };
        let answer = match live.inspector(&args.instance) {
            Ok(inspector) => inspector.ask_within(DEADLINE, asked).await.ok(),
            Err(_gone) => None,
        };
        match answer {
            Some(tail) => {
                // What was there before is already shown.
                let begin = after.is_none();
                for line in tail.lines.iter().filter(|_| !begin) {
                    if args.contains.as_ref().is_none_or(|text| line.text.contains(text.as_str())) {
                        show(&line.text, args.output);
                    }
                }
                after = Some(tail.lines.last().map_or(after.unwrap_or(0), |line| line.number));
            }
            // A new process counts from 1.
            None => after = Some(0),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn show(line: &str, output: Output) {
    match output {
        Output::Table => print(&format!("{}\n", for_people(line))),
        Output::Json => print(&format!("{line}\n")),
    }
}

/// The last lines of a log file; none when there is no such file.
pub(super) fn tail_of_file(path: &Path, lines: usize) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).map(|line| (*line).to_owned()).collect()
}

/// A JSON line as people read it: time, level, message, fields. Other lines as they are.
pub(super) fn for_people(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = text("timestamp").split_once('T').map_or("", |(_, time)| time.get(..12).unwrap_or(time).trim_end_matches('Z'));
    let rest: Vec<String> = fields
        .iter()
        .filter(|(name, _)| !["timestamp", "level", "message", "target", "span", "spans"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    format!("{time} {:<5} {} {}", text("level"), text("message"), rest.join(" ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lines_for_people() {
        let line = r#"{"timestamp":"2026-11-22T10:00:00.123456Z","level":"WARN","message":"late","height":7,"why":"a b","target":"x","span":{"name":"message"}}"#;
        assert_eq!(for_people(line), "10:00:00.123 WARN  late height=7 why=a b");
        assert_eq!(for_people("panicked at"), "panicked at");
    }

    #[test]
    fn the_last_lines_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        std::fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(tail_of_file(&path, 2), ["b", "c"]);
        assert!(tail_of_file(&folder.path().join("none"), 2).is_empty());
    }
}
