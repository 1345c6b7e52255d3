//! `alys debug show`: all facts of one instance.

use serde_json::json;

use super::edges::{self, Edge};
use super::facts::{Facts, How, Instance};
use super::source::{Source, unknown};
use super::{args, units};
use crate::failure::Outcome;
use crate::io::table::{self, Output, print};

/// Log lines below the facts.
const LOG_LINES: usize = 5;

pub(super) async fn run(source: &mut Source, args: &args::Show) -> Outcome {
    let facts = source.facts().await;
    let names: Vec<&str> = facts.instances.iter().map(|one| one.instance.as_str()).collect();
    let instance = facts.find(&args.instance).ok_or_else(|| unknown(&args.instance, &names))?;
    let concerned = concerning(&facts, &args.instance);
    let log = source.log(&args.instance, LOG_LINES).await;
    if args.look.output == Output::Json {
        return table::json(&json!({ "facts": instance, "edges": concerned, "log": log }));
    }
    print(&text(&facts, instance, &concerned, &log));
    Ok(())
}

/// Edges from or to an instance.
pub(super) fn concerning(facts: &Facts, instance: &str) -> Vec<Edge> {
    edges::edges(facts).into_iter().filter(|edge| edge.from == instance || edge.to.iter().any(|to| to == instance)).collect()
}

/// How the facts were got, as a sentence.
pub(super) fn how(instance: &Instance) -> String {
    match &instance.how {
        How::Alive if instance.vitals.is_some() => "it answered just now".to_owned(),
        How::Alive => "its supervisor says so: it is no role of the mesh".to_owned(),
        How::Timeout { age_millis: Some(age) } => format!("it does not answer; what follows is {} old", units::millis(*age)),
        How::Timeout { age_millis: None } => "it does not answer and never did".to_owned(),
        How::PostMortem { reason } => format!("it is gone ({reason}); what follows is the last it said"),
    }
}

/// Everything but edges and log, by name.
pub(super) fn lines(facts: &Facts, instance: &Instance) -> Vec<(String, String)> {
    let mut lines = vec![
        ("instance".to_owned(), format!("{} ({})", instance.instance, instance.role)),
        ("health".to_owned(), health(instance)),
        ("known by".to_owned(), how(instance)),
    ];
    lines.extend(process(facts, instance));
    lines.extend(mailbox(instance));
    if let Some(vitals) = &instance.vitals {
        lines.extend(vitals.status.iter().map(|(name, value)| (format!("status {name}"), value.clone())));
        let links: Vec<String> = vitals.links.iter().map(|(role, _, transport)| format!("{role} ({transport})")).collect();
        lines.push(("links".to_owned(), if links.is_empty() { "-".to_owned() } else { links.join(", ") }));
    }
    lines
}

fn text(facts: &Facts, instance: &Instance, concerned: &[Edge], log: &[String]) -> String {
    let lines = lines(facts, instance);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect();
    text.push_str(&format!("\n{}", edges::text(concerned)));
    if !log.is_empty() {
        text.push_str("\nlast log lines\n");
        text.extend(log.iter().map(|line| format!("  {}\n", super::logs::for_people(line))));
    }
    text
}

fn health(instance: &Instance) -> String {
    let reason = instance.vitals.as_ref().map(|vitals| vitals.health_reason.as_str()).filter(|reason| !reason.is_empty());
    match reason.filter(|_| matches!(instance.how, How::Alive)) {
        Some(reason) => format!("{}: {reason}", instance.health()),
        None => instance.health().to_owned(),
    }
}

fn process(facts: &Facts, instance: &Instance) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    if let Some(vitals) = &instance.vitals {
        let up = units::millis(facts.unix_millis.saturating_sub(vitals.started_unix_millis));
        lines.push(("process".to_owned(), format!("pid {} on {}, up {up}", vitals.pid, vitals.host)));
        lines.push(("incarnation".to_owned(), instance.incarnation.clone()));
        let memory = units::bytes(vitals.resident_bytes);
        lines.push(("uses".to_owned(), format!("{memory} of memory, {} of processor time", units::millis(vitals.cpu_millis))));
        lines.push(("version".to_owned(), vitals.version.clone()));
    }
    if let Some(kept) = &instance.kept {
        let last =
            if kept.last_exit.is_empty() { "never ended".to_owned() } else { format!("last ended with {}", kept.last_exit) };
        lines.push(("kept".to_owned(), format!("{} by {}, {} restarts, {last}", kept.state, kept.owner, kept.restarts)));
    }
    lines
}

fn mailbox(instance: &Instance) -> Vec<(String, String)> {
    let Some(mailbox) = &instance.mailbox else { return Vec::new() };
    let pairs = |pairs: &[(String, u64)]| {
        let shown: Vec<String> =
            pairs.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
        if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
    };
    let mut lines = vec![
        (
            "mailbox".to_owned(),
            format!(
                "{} of {} wait ({}), at most {} ever, oldest {}",
                mailbox.depth,
                mailbox.capacity,
                units::bytes(mailbox.bytes),
                mailbox.high_water,
                units::millis(mailbox.oldest_millis)
            ),
        ),
        ("queued".to_owned(), pairs(&mailbox.queued)),
        ("lanes".to_owned(), pairs(&mailbox.lanes)),
        (
            "messages".to_owned(),
            format!(
                "{} handled, {} failed, {} refused, {} dropped, {} expired, {} malformed",
                mailbox.handled, mailbox.failed, mailbox.refused, mailbox.dropped, mailbox.expired, mailbox.malformed
            ),
        ),
        ("takes".to_owned(), format!("p50 {}, p99 {}", units::micros(mailbox.p50_micros), units::micros(mailbox.p99_micros))),
        ("in flight".to_owned(), in_flight(mailbox)),
    ];
    if let Some(frozen) = &mailbox.frozen {
        let (age, left) = (units::millis(frozen.age_millis), units::millis(frozen.lease_millis));
        let text = format!("by {} for {age}, {} stepped, thaws by itself in {left}", frozen.who, frozen.stepped);
        lines.push(("frozen".to_owned(), text));
    }
    lines
}

fn in_flight(mailbox: &super::facts::Mailbox) -> String {
    match (mailbox.in_flight.as_str(), mailbox.in_flight_from.as_str()) {
        ("", _) => "-".to_owned(),
        (name, "") => format!("{name} for {}", units::millis(mailbox.busy_millis)),
        (name, from) => format!("{name} from {from} for {}", units::millis(mailbox.busy_millis)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::sample;
    use super::*;

    #[test]
    fn all_facts_of_an_instance_for_people() {
        let facts = sample::facts();
        let log =
            [r#"{"timestamp":"2026-11-22T10:00:00.1Z","level":"INFO","message":"ready","span":{"trace_id":"ab"}}"#.to_owned()];
        let shown: Vec<String> = ["storage", "engine", "chain", "network", "governance-1"]
            .iter()
            .map(|name| text(&facts, facts.find(name).unwrap(), &concerning(&facts, name), &log))
            .collect();
        sample::golden("show", &shown.join("\n--\n"));
    }
}
