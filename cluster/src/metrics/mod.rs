//! Metrics as plain structs: field names and doc comments are the metrics' names and help texts. The shell has one that is
//! the same for all roles; a role adds its own, taken after every message.
//!
//! | field | metric |
//! |---|---|
//! | name ends in `_total` | counter `alys_<role>_<field>` |
//! | [`Histogram`], [`Distributions`] | histogram, one or one per value of a label |
//! | [`Labelled`] | one series per value of its labels, counter or gauge by its name |
//! | `bool` | gauge, 0 or 1 |
//! | `None` | no sample: not known yet |
//! | `invariant_violations_total` | counter `alys_invariant_violations_total`, one name for all roles |
//! | other numbers | gauge |

mod encode;
mod shell;

use std::collections::BTreeMap;
use std::fmt;

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

pub(crate) use encode::{MEDIA_TYPE, Page};
pub(crate) use shell::Shell;

/// Metrics of roles that have one name in all of them, without the role in it.
const SHARED: [&str; 1] = ["invariant_violations_total"];

/// A role's own figures at one instant. Implemented by deriving `Serialize` and `DocumentedFields`.
pub trait RoleMetrics: fmt::Debug + Send {
    /// Name, help text and value of every metric.
    fn figures(&self) -> Vec<Figure>;
}

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Without prefix.
    pub name: &'static str,
    /// What it means, in one line.
    pub help: String,
    /// What it is now.
    pub value: Value,
}

/// What a metric can be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(Number),
    /// A distribution.
    Histogram(Histogram),
    /// Numbers by labels.
    Labelled(Labelled),
    /// Distributions by a label.
    Distributions(Distributions),
    /// Not known yet.
    Unknown(()),
}

/// A number of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// Anything else.
    Real(f64),
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Whole(count)
    }
}

impl From<f64> for Number {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}

impl<T: Serialize + DocumentedFields + fmt::Debug + Send> RoleMetrics for T {
    fn figures(&self) -> Vec<Figure> {
        // Numbers, flags, histograms and labelled numbers serialise without fail; anything else in a role's struct shows
        // as not known.
        let values = serde_json::to_value(self).unwrap_or_default();
        let figure = |(name, help): (&&'static str, &&str)| Figure {
            name,
            help: help.split_whitespace().collect::<Vec<_>>().join(" "),
            value: serde_json::from_value(values[*name].clone()).unwrap_or(Value::Unknown(())),
        };
        T::FIELD_NAMES.iter().zip(T::FIELD_DOCS).map(figure).collect()
    }
}

/// Numbers by labels. Labels' values must come from a fixed list: never from a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    labels: Vec<String>,
    numbers: Vec<(Vec<String>, Number)>,
}

impl Labelled {
    /// By one label. Give all its values, also those that are zero: a series that appears with its first event has no rate.
    pub fn new<N: Into<Number>>(label: &str, numbers: impl IntoIterator<Item = (impl Into<String>, N)>) -> Self {
        Self::by([label], numbers.into_iter().map(|(value, number)| ([value.into()], number)))
    }

    /// By several labels.
    pub fn by<const K: usize, N: Into<Number>>(labels: [&str; K], numbers: impl IntoIterator<Item = ([String; K], N)>) -> Self {
        Self {
            labels: labels.map(str::to_owned).to_vec(),
            numbers: numbers.into_iter().map(|(values, number)| (values.to_vec(), number.into())).collect(),
        }
    }
}

/// Distributions by a label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distributions {
    /// The label's name.
    pub label: String,
    /// One for each of its values.
    pub histograms: BTreeMap<String, Histogram>,
}

/// A distribution over fixed buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    bounds: Vec<f64>,
    /// One for each bound, and one for what is above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Empty. `bounds` rise; they are the buckets' upper ends, inclusive.
    pub fn new(bounds: &[f64]) -> Self {
        Self { bounds: bounds.to_vec(), counts: vec![0; bounds.len().saturating_add(1)], sum: 0.0 }
    }

    /// Adds one value.
    pub fn observe(&mut self, value: f64) {
        // Most values are small ones, so a search from below ends soonest.
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.sum += value;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper end and count of each bucket; the last is infinite.
    fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
    }
}

/// The exposition of a role's own metrics as they are before it has done anything: what the documentation is made from.
pub fn describe<M: RoleMetrics + Default>(role: &str) -> String {
    let figures = M::default().figures();
    Page { role: role.to_owned(), role_figures: figures, ..Page::default() }.to_string()
}

/// The same for the metrics that all roles have.
pub fn describe_shell() -> String {
    Page { shell_figures: Shell::default().figures(), ..Page::default() }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, DocumentedFields)]
    struct Shown {
        /// Blocks that were
        /// committed.
        blocks_total: u64,
        /// Whether it is.
        fine: bool,
        /// Height of something.
        height: Option<u64>,
        /// By kind.
        broken_total: Labelled,
        /// How long.
        commit_seconds: Histogram,
    }

    #[test]
    fn a_struct_is_its_metrics() {
        let mut commit_seconds = Histogram::new(&[0.1, 1.0]);
        for seconds in [0.1, 0.2, 7.0] {
            commit_seconds.observe(seconds);
        }
        let broken_total = Labelled::new("invariant", [("PEG-1", 2_u64)]);
        let shown = Shown { blocks_total: 7, fine: true, height: None, broken_total, commit_seconds };
        let text = Page { role: "chain".into(), role_figures: shown.figures(), ..Page::default() }.to_string();
        for line in [
            "# HELP alys_chain_blocks Blocks that were committed.",
            "# TYPE alys_chain_blocks counter",
            "alys_chain_blocks_total 7",
            "alys_chain_fine 1",
            "# TYPE alys_chain_height gauge",
            "alys_chain_broken_total{invariant=\"PEG-1\"} 2",
            "alys_chain_commit_seconds_bucket{le=\"0.1\"} 1",
            "alys_chain_commit_seconds_bucket{le=\"1.0\"} 2",
            "alys_chain_commit_seconds_bucket{le=\"+Inf\"} 3",
            "alys_chain_commit_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "no line `{line}` in\n{text}");
        }
        assert!(!text.contains("\nalys_chain_height "), "what is not known has no sample");
        assert!(text.ends_with("# EOF\n"));
    }
}
