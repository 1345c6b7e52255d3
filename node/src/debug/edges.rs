//! Who waits for whom, and whether they wait in a circle. Pure.
//!
//! A handler that waits holds its mailbox. Handlers that wait for each other in a circle are a deadlock until the first
//! question's deadline; `cycles` names it. A task that waits holds nothing: it is an edge, never part of a cycle.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::facts::Facts;
use super::units;
use crate::io::table;

/// Circles that are named; one deadlock rarely comes alone, but nobody reads more.
const MOST_CYCLES: usize = 16;

/// One question without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Edge {
    /// Instance that waits.
    pub(super) from: String,
    /// Role that is asked.
    pub(super) role: String,
    /// Instances of that role, one of which has the question.
    pub(super) to: Vec<String>,
    /// What it is asked.
    pub(super) name: String,
    /// For how long.
    pub(super) age_millis: u64,
    /// The handler waits, and so the mailbox.
    pub(super) holds_mailbox: bool,
    /// The message in the handler's hand, where it waits.
    pub(super) on_behalf_of: String,
    /// What the asked one does meanwhile.
    pub(super) meanwhile: String,
}

impl Edge {
    /// `storage.CommitBlock`, or the role's own words.
    pub(super) fn asks(&self) -> String {
        if self.role.is_empty() { self.name.clone() } else { format!("{}.{}", self.role, self.name) }
    }
}

/// Every open question, longest wait first.
pub(super) fn edges(facts: &Facts) -> Vec<Edge> {
    let mut edges = Vec::new();
    for instance in &facts.instances {
        let Some(mailbox) = &instance.mailbox else { continue };
        for wait in &mailbox.waits {
            let asked: Vec<_> = facts.instances.iter().filter(|other| other.role == wait.role).collect();
            edges.push(Edge {
                from: instance.instance.clone(),
                role: wait.role.clone(),
                to: asked.iter().map(|other| other.instance.clone()).collect(),
                name: wait.name.clone(),
                age_millis: wait.age_millis,
                holds_mailbox: wait.holds_mailbox,
                on_behalf_of: if wait.holds_mailbox { mailbox.in_flight.clone() } else { String::new() },
                meanwhile: match asked.first() {
                    Some(other) => format!("{} {}", wait.role, meanwhile(other)),
                    // Work of its own, no question to a role.
                    None if wait.role.is_empty() => String::new(),
                    None => format!("nobody plays {}", wait.role),
                },
            });
        }
    }
    edges.sort_by(|a, b| b.age_millis.cmp(&a.age_millis).then_with(|| a.from.cmp(&b.from)));
    edges
}

fn meanwhile(asked: &super::facts::Instance) -> String {
    let health = asked.health();
    let Some(mailbox) = asked.mailbox.as_ref().filter(|_| !["gone", "silent"].contains(&health)) else {
        return format!("is {health}");
    };
    if let Some(frozen) = &mailbox.frozen {
        return format!("is frozen by {}", frozen.who);
    }
    match (mailbox.in_flight.as_str(), mailbox.waiting_on.as_str()) {
        ("", _) => "is idle".to_owned(),
        (name, "") => format!("handles {name} for {}", units::millis(mailbox.busy_millis)),
        (name, other) => format!("handles {name}, waits on {other}"),
    }
}

/// Circles of handlers that wait for each other, each once, beginning with the first name.
pub(super) fn cycles(edges: &[Edge]) -> Vec<Vec<String>> {
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| edge.holds_mailbox) {
        graph.entry(&edge.from).or_default().extend(edge.to.iter().map(String::as_str));
    }
    let mut found = Vec::new();
    for start in graph.keys() {
        walk(&graph, start, &mut vec![start], &mut BTreeSet::new(), &mut found);
    }
    found
}

/// Follows edges to names behind the start, so each circle is found from its first name only. `dead`: names from which
/// the start was not reached.
fn walk<'a>(
    graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    start: &'a str,
    path: &mut Vec<&'a str>,
    dead: &mut BTreeSet<&'a str>,
    found: &mut Vec<Vec<String>>,
) -> bool {
    let Some(next) = path.last().and_then(|last| graph.get(last)) else { return false };
    let mut reached = false;
    for name in next {
        if found.len() >= MOST_CYCLES {
            return reached;
        }
        if *name == start {
            found.push(path.iter().map(|name| (*name).to_owned()).collect());
            reached = true;
        } else if *name > start && !path.contains(name) && !dead.contains(name) {
            path.push(name);
            let through = walk(graph, start, path, dead, found);
            path.pop();
            if through {
                reached = true;
            } else {
                dead.insert(name);
            }
        }
    }
    reached
}

/// For people.
pub(super) fn text(edges: &[Edge]) -> String {
    let mut text = String::new();
    for cycle in cycles(edges) {
        let first = cycle.first().cloned().unwrap_or_default();
        text.push_str(&format!("DEADLOCK: {} → {first}\n", cycle.join(" → ")));
    }
    let rows: Vec<Vec<String>> = edges
        .iter()
        .map(|edge| {
            let waiter = if edge.holds_mailbox { format!("handler of {}", edge.on_behalf_of) } else { "a task".to_owned() };
            vec![edge.from.clone(), waiter, edge.asks(), units::millis(edge.age_millis), edge.meanwhile.clone()]
        })
        .collect();
    if rows.is_empty() {
        return "nobody waits for anybody\n".to_owned();
    }
    text + &table::table(&["instance", "who", "waits for", "since", "meanwhile"], &rows)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn edge(from: &str, to: &str, holds_mailbox: bool) -> Edge {
        Edge {
            from: from.into(),
            role: to.into(),
            to: vec![to.into()],
            name: "Ask".into(),
            age_millis: 5,
            holds_mailbox,
            on_behalf_of: String::new(),
            meanwhile: String::new(),
        }
    }

    #[test]
    fn circles_of_handlers_are_named_once() {
        type Case = (&'static [(&'static str, &'static str, bool)], &'static [&'static [&'static str]]);
        let table: [Case; 6] = [
            (&[], &[]),
            (&[("chain", "engine", true), ("engine", "storage", true)], &[]),
            (&[("chain", "engine", true), ("engine", "chain", true)], &[&["chain", "engine"]]),
            (&[("chain", "engine", true), ("engine", "chain", false)], &[]),
            (&[("a", "a", true)], &[&["a"]]),
            (
                &[("c", "a", true), ("a", "b", true), ("b", "c", true), ("b", "d", true), ("d", "b", true)],
                &[&["a", "b", "c"], &["b", "d"]],
            ),
        ];
        for (given, expected) in table {
            let edges: Vec<Edge> = given.iter().map(|(from, to, holds)| edge(from, to, *holds)).collect();
            assert_eq!(cycles(&edges), expected.to_vec(), "{given:?}");
        }
    }

    #[test]
    fn a_full_graph_ends_soon() {
        let names: Vec<String> = (0..40).map(|number| format!("sync-{number:02}")).collect();
        let edges: Vec<Edge> = names
            .iter()
            .flat_map(|from| names.iter().filter(move |to| *to != from).map(move |to| edge(from, to, true)))
            .collect();
        assert_eq!(cycles(&edges).len(), MOST_CYCLES);
    }

    #[test]
    fn edges_of_a_cluster_for_people() {
        sample::golden("edges", &text(&edges(&sample::facts())));
        assert_eq!(text(&[]), "nobody waits for anybody\n");
    }
}
