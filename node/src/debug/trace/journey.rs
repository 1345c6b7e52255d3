//! The steps that one thing has taken, and the one it waits for. Pure: log lines and facts in, a text out.
//!
//! The steps in order, as the `trail.rs` files of the roles tell them:
//!
//! | peg-in | by | | peg-out | by |
//! |---|---|---|---|---|
//! | detected, confirmed, announced | bridge | | burned | engine, chain |
//! | asked | stream | | seen, proposed | bridge |
//! | approved | governance | | accepted, recorded | chain |
//! | approval, quorum | stream | | signatures requested | bridge |
//! | accepted, minted | chain | | signatures asked | stream |
//! | minted | engine | | signed | governance |
//! | | | | signature passed on | stream |
//! | | | | complete, broadcast, confirmed | bridge |
//! | | | | settlement accepted, settled | chain |

use std::collections::BTreeSet;

use alys_proto::Cause;
use serde::Serialize;
use serde_json::Value;

use super::super::facts::{Facts, How};
use super::super::{logs, units};
use super::subject::Target;
use crate::io::table;

const PEG_IN: [(&str, &str); 10] = [
    ("bridge", "detected"),
    ("bridge", "confirmed"),
    ("bridge", "announced"),
    ("stream", "asked"),
    ("governance", "approved"),
    ("stream", "approval"),
    ("stream", "quorum"),
    ("chain", "accepted"),
    ("chain", "minted"),
    ("engine", "minted"),
];
const PEG_OUT: [(&str, &str); 15] = [
    ("engine", "burned"),
    ("chain", "burned"),
    ("bridge", "seen"),
    ("bridge", "proposed"),
    ("chain", "accepted"),
    ("chain", "recorded"),
    ("bridge", "signatures requested"),
    ("stream", "signatures asked"),
    ("governance", "signed"),
    ("stream", "signature passed on"),
    ("bridge", "complete"),
    ("bridge", "broadcast"),
    ("bridge", "confirmed"),
    ("chain", "settlement accepted"),
    ("chain", "settled"),
];
/// A burn that is given back instead of paid goes another way behind this step.
const REFUND: &str = "refund proposed";
/// These end a journey.
const ENDS: [&str; 4] = ["minted", "settled", "refunded", "invalid"];

/// A log line that belongs to a trace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Step {
    /// As logged, UTC.
    pub(super) time: String,
    /// Instance.
    pub(super) process: String,
    /// Empty: a line of a message that was sent within the trace.
    pub(super) step: String,
    /// What was said, with its fields.
    pub(super) said: String,
}

/// One thing's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Journey {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) trace_id: String,
    /// As bridge sees it.
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) steps: Vec<Step>,
    /// The next step and why it may not be taken; none at the end of the way.
    pub(super) waits_for: Option<Waiting>,
}

/// A step that is not taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Waiting {
    pub(super) process: String,
    pub(super) step: String,
    /// What that process does now.
    pub(super) because: String,
}

/// The lines of one process that belong to a trace.
pub(super) fn steps_in(process: &str, lines: &[String], trace_id: &str) -> Vec<Step> {
    lines.iter().filter(|line| line.contains(trace_id)).filter_map(|line| step_of(process, line, trace_id)).collect()
}

fn step_of(process: &str, line: &str, trace_id: &str) -> Option<Step> {
    let parsed: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| parsed.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text("/span/trace_id") != trace_id {
        return None;
    }
    let shown = logs::for_people(line);
    // Behind time and level.
    let said = shown.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    Some(Step { time: text("/timestamp"), process: process.to_owned(), step: text("/span/step"), said })
}

impl Journey {
    /// Puts what all processes said in order.
    pub(super) fn new(target: &Target, steps: Vec<Step>, facts: &Facts) -> Self {
        // A line may come from the process and from its file.
        let steps: Vec<Step> = steps.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let waits_for = waits_for(target, &steps, facts);
        Self {
            name: target.name.clone(),
            kind: target.kind.to_owned(),
            trace_id: target.trace_id.clone(),
            state: target.state.clone(),
            reason: target.reason.clone(),
            steps,
            waits_for,
        }
    }

    /// Nothing is known of it at all.
    pub(super) fn is_unknown(&self) -> bool {
        self.steps.is_empty() && self.state.is_empty()
    }
}

fn waits_for(target: &Target, steps: &[Step], facts: &Facts) -> Option<Waiting> {
    let expected: &[(&str, &str)] = match target.kind {
        Cause::PEG_IN => &PEG_IN,
        Cause::PEG_OUT => &PEG_OUT,
        _ => return None,
    };
    if ENDS.contains(&target.state.as_str()) {
        return None;
    }
    let taken = |process: &str, step: &str| steps.iter().any(|one| one.step == step && one.process.starts_with(process));
    if taken("bridge", REFUND) && !taken("chain", "refunded") {
        return Some(waiting(target, facts, "chain", "refunded"));
    }
    // A step may have no line any more, or be another node's: what counts is the last one that was taken.
    let last = expected.iter().rposition(|(process, step)| taken(process, step));
    let next = expected.get(last.map_or(0, |last| last.saturating_add(1)))?;
    Some(waiting(target, facts, next.0, next.1))
}

fn waiting(target: &Target, facts: &Facts, process: &str, step: &str) -> Waiting {
    let instances: Vec<_> = facts.instances.iter().filter(|one| one.role == process).collect();
    let mut because: Vec<String> = instances.iter().map(|one| format!("{} {}", one.instance, doing(one))).collect();
    if because.is_empty() {
        because.push(format!("no {process} is known here"));
    }
    if !target.reason.is_empty() {
        because.push(format!("bridge says: {}", target.reason));
    }
    Waiting { process: process.to_owned(), step: step.to_owned(), because: because.join("; ") }
}

pub(super) fn doing(instance: &super::super::facts::Instance) -> String {
    match &instance.how {
        How::PostMortem { reason } => return format!("is gone ({reason})"),
        How::Timeout { .. } => return "does not answer".to_owned(),
        How::Alive => {}
    }
    let Some(mailbox) = &instance.mailbox else { return format!("is {}", instance.health()) };
    let mut text = format!("is {}", instance.health());
    if let Some(vitals) = instance.vitals.as_ref().filter(|vitals| !vitals.health_reason.is_empty()) {
        text.push_str(&format!(" ({})", vitals.health_reason));
    }
    if !mailbox.in_flight.is_empty() {
        text.push_str(&format!(", handles {} for {}", mailbox.in_flight, units::millis(mailbox.busy_millis)));
    }
    if !mailbox.waiting_on.is_empty() {
        text.push_str(&format!(", waits on {}", mailbox.waiting_on));
    }
    if mailbox.depth > 0 {
        text.push_str(&format!(", {} messages wait, the oldest for {}", mailbox.depth, units::millis(mailbox.oldest_millis)));
    }
    text
}

/// For people.
pub(super) fn text(journey: &Journey) -> String {
    let kind = if journey.kind.is_empty() { "trace" } else { &journey.kind };
    let state = if journey.state.is_empty() { "not listed by bridge".to_owned() } else { journey.state.clone() };
    let mut text = format!("{kind} · {} · trace {} · {state}\n\n", journey.name, journey.trace_id);
    let rows: Vec<Vec<String>> = journey.steps.iter().map(row).collect();
    if rows.is_empty() {
        text.push_str("no process has said anything about it\n");
    } else {
        text.push_str(&table::table(&["time", "process", "step", "said"], &rows));
    }
    match &journey.waits_for {
        Some(next) => text.push_str(&format!("\nwaits for `{}` of {}: {}\n", next.step, next.process, next.because)),
        None if ENDS.contains(&journey.state.as_str()) => text.push_str("\nit has come to its end\n"),
        None => {}
    }
    text
}

/// One line of the table.
pub(super) fn row(step: &Step) -> Vec<String> {
    let time = step.time.split_once('T').map_or(step.time.as_str(), |(_, time)| time.get(..12).unwrap_or(time));
    let name = if step.step.is_empty() { "-" } else { &step.step };
    vec![time.to_owned(), step.process.clone(), name.to_owned(), step.said.clone()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::sample;
    use super::*;

    const TRACE: &str = "0123456789abcdef0123456789abcdef";

    fn line(second: u32, step: &str, message: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-11-22T10:00:{second:02}.000000Z","level":"INFO","message":"{message}","height":7,"span":{{"step":"{step}","trace_id":"{TRACE}","name":"step"}}}}"#
        )
    }

    fn target(state: &str) -> Target {
        Target {
            name: "deposit ab:0".into(),
            kind: Cause::PEG_IN,
            trace_id: TRACE.into(),
            state: state.into(),
            reason: String::new(),
        }
    }

    fn steps() -> Vec<Step> {
        let bridge = [line(1, "detected", "deposit detected"), line(3, "announced", "deposit announced"), "noise".to_owned()];
        let stream = [line(4, "asked", "governance is asked"), line(9, "quorum", "a quorum").replace(TRACE, &"0".repeat(32))];
        let mut steps = steps_in("stream", &stream, TRACE);
        steps.extend(steps_in("bridge", &bridge, TRACE));
        steps.extend(steps_in("bridge", &bridge, TRACE));
        steps
    }

    #[test]
    fn steps_are_in_order_once_and_the_next_one_is_named() {
        let journey = Journey::new(&target("announced"), steps(), &sample::facts());
        let names: Vec<_> = journey.steps.iter().map(|step| (step.process.as_str(), step.step.as_str())).collect();
        assert_eq!(names, [("bridge", "detected"), ("bridge", "announced"), ("stream", "asked")]);
        let next = journey.waits_for.as_ref().unwrap();
        assert_eq!((next.process.as_str(), next.step.as_str()), ("governance", "approved"));
        sample::golden("trace", &text(&journey));
    }

    #[test]
    fn what_is_stuck_says_where_and_why() {
        let mut facts = sample::facts();
        let mut steps = steps();
        steps.extend(steps_in("stream", &[line(9, "quorum", "a quorum")], TRACE));
        let because = |facts: &Facts| Journey::new(&target("announced"), steps.clone(), facts).waits_for.unwrap().because;
        assert_eq!(because(&facts), "chain is gone (signal 9; backing-off)");
        facts.instances[2].how = How::Alive;
        assert_eq!(because(&facts), "chain is ready");
        facts.instances.remove(2);
        assert_eq!(because(&facts), "no chain is known here");
    }

    #[test]
    fn what_has_ended_waits_for_nothing() {
        assert_eq!(Journey::new(&target("minted"), steps(), &sample::facts()).waits_for, None);
        let unknown = Journey::new(&target(""), vec![], &sample::facts());
        assert!(unknown.is_unknown());
        assert_eq!(unknown.waits_for.unwrap().step, "detected");
    }
}
