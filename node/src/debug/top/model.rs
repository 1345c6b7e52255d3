//! What `top` shows, as plain values: looks and keys go in, the picture is drawn from it. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::super::edges::{self, Edge};
use super::super::facts::{Facts, Instance};
use super::super::peek::Peek;

/// Rates that are remembered for the trend of each instance: half a minute at the default interval.
pub(super) const TREND: usize = 60;

/// One look at the cluster, and closer at the selected instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) facts: Facts,
    pub(super) close: Option<Close>,
}

/// What is seen of one instance only.
#[derive(Clone, Debug, Default)]
pub(super) struct Close {
    pub(super) instance: String,
    pub(super) peek: Peek,
    pub(super) log: Vec<String>,
}

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Enter,
    Back,
    Next,
    Letter(char),
}

/// What a key asks of the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    Quit,
    Change(Change, String),
}

/// What changes a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Freeze,
    Step,
    Thaw,
}

/// Order of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Start,
    Depth,
    Rate,
    Slowest,
}

impl Sort {
    const ALL: [(Self, &str); 4] =
        [(Self::Start, "start order"), (Self::Depth, "depth"), (Self::Rate, "rate"), (Self::Slowest, "p99")];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(sort, _)| *sort == self).map_or("", |(_, name)| name)
    }

    fn next(self) -> Self {
        let position = Self::ALL.iter().position(|(sort, _)| *sort == self).unwrap_or(0);
        Self::ALL.iter().cycle().nth(position.saturating_add(1)).map_or(Self::Start, |(sort, _)| *sort)
    }
}

/// What is below the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Messages,
    Waits,
    Log,
}

/// All that the picture is drawn from.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) facts: Facts,
    pub(super) close: Close,
    pub(super) edges: Vec<Edge>,
    pub(super) deadlocks: Vec<Vec<String>>,
    pub(super) selected: String,
    pub(super) pane: Pane,
    pub(super) detail: bool,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) sort: Sort,
    /// Keys that change something are allowed.
    pub(super) write: bool,
    /// Snapshot that is shown instead of a live node.
    pub(super) file: Option<String>,
    pub(super) notice: Option<String>,
    pub(super) rates: BTreeMap<String, Rates>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    handled: Option<u64>,
    unix_millis: u64,
    trend: VecDeque<u64>,
}

impl Model {
    /// Takes in a look, unless paused.
    pub(super) fn look(&mut self, look: Look) {
        if self.paused {
            return;
        }
        for instance in &look.facts.instances {
            let handled = instance.mailbox.as_ref().filter(|_| instance.health() != "gone").map(|mailbox| mailbox.handled);
            self.rates.entry(instance.instance.clone()).or_default().take(look.facts.unix_millis, handled);
        }
        self.rates.retain(|name, _| look.facts.find(name).is_some());
        self.edges = edges::edges(&look.facts);
        self.deadlocks = edges::cycles(&self.edges);
        self.facts = look.facts;
        if let Some(close) = look.close {
            self.close = close;
        }
        if self.facts.find(&self.selected).is_none() {
            self.selected = self.rows().first().map(|first| first.instance.clone()).unwrap_or_default();
        }
    }

    /// Instances in the order of the table.
    pub(super) fn rows(&self) -> Vec<&Instance> {
        let mut rows: Vec<&Instance> = self.facts.instances.iter().collect();
        let figure = |instance: &Instance| {
            let mailbox = instance.mailbox.as_ref();
            match self.sort {
                Sort::Start => 0,
                Sort::Depth => mailbox.map_or(0, |mailbox| mailbox.depth),
                Sort::Rate => self.rate(&instance.instance).unwrap_or(0),
                Sort::Slowest => mailbox.map_or(0, |mailbox| mailbox.p99_micros),
            }
        };
        rows.sort_by_key(|instance| std::cmp::Reverse(figure(instance)));
        rows
    }

    /// Messages a second, over the last interval.
    pub(super) fn rate(&self, instance: &str) -> Option<u64> {
        self.rates.get(instance)?.trend.back().copied()
    }

    /// The latest rates, oldest first.
    pub(super) fn trend(&self, instance: &str, most: usize) -> Vec<u64> {
        let trend = self.rates.get(instance).map(|rates| &rates.trend);
        let all: Vec<u64> = trend.into_iter().flatten().copied().collect();
        all.into_iter().rev().take(most).rev().collect()
    }

    /// The selected instance.
    pub(super) fn chosen(&self) -> Option<&Instance> {
        self.facts.find(&self.selected)
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: Key) -> Act {
        self.notice = None;
        if self.help {
            self.help = false;
            return if key == Key::Letter('q') { Act::Quit } else { Act::Nothing };
        }
        match key {
            Key::Up | Key::Letter('k') => self.select(|position| position.saturating_sub(1)),
            Key::Down | Key::Letter('j') => self.select(|position| position.saturating_add(1)),
            Key::Enter => self.detail = true,
            Key::Back | Key::Letter('b') => self.detail = false,
            Key::Next => self.pane = [Pane::Waits, Pane::Log, Pane::Messages][self.position()],
            Key::Letter('1' | 'm') => self.pane = Pane::Messages,
            Key::Letter('2' | 'w') => self.pane = Pane::Waits,
            Key::Letter('3' | 'l') => self.pane = Pane::Log,
            Key::Letter('s') => self.sort = self.sort.next(),
            Key::Letter('p' | ' ') => self.paused = !self.paused,
            Key::Letter('?' | 'h') => self.help = true,
            Key::Letter('q') => return Act::Quit,
            Key::Letter('f') => return self.change(Change::Freeze),
            Key::Letter('n') => return self.change(Change::Step),
            Key::Letter('t') => return self.change(Change::Thaw),
            Key::Letter(_) => {}
        }
        Act::Nothing
    }

    const fn position(&self) -> usize {
        match self.pane {
            Pane::Messages => 0,
            Pane::Waits => 1,
            Pane::Log => 2,
        }
    }

    fn select(&mut self, to: impl Fn(usize) -> usize) {
        let rows = self.rows();
        let now = rows.iter().position(|row| row.instance == self.selected).unwrap_or(0);
        let then = rows.get(to(now).min(rows.len().saturating_sub(1))).map(|row| row.instance.clone());
        self.selected = then.unwrap_or_default();
    }

    fn change(&mut self, change: Change) -> Act {
        if self.file.is_some() {
            self.notice = Some("this is a snapshot: nothing in it can be changed".to_owned());
            return Act::Nothing;
        }
        if !self.write {
            self.notice = Some("read-only: start `alys debug top --write` to freeze, step and thaw".to_owned());
            return Act::Nothing;
        }
        if self.chosen().is_none_or(|chosen| chosen.mailbox.is_none()) {
            self.notice = Some(format!("{} has no mailbox", self.selected));
            return Act::Nothing;
        }
        Act::Change(change, self.selected.clone())
    }
}

impl Rates {
    /// A restarted process counts from 0 again.
    fn take(&mut self, unix_millis: u64, handled: Option<u64>) {
        let span = unix_millis.saturating_sub(self.unix_millis);
        if let (Some(before), Some(now)) = (self.handled, handled)
            && span > 0
        {
            let more = now.checked_sub(before).unwrap_or(now);
            self.trend.push_back(more.saturating_mul(1_000).checked_div(span).unwrap_or(0));
            while self.trend.len() > TREND {
                self.trend.pop_front();
            }
        }
        (self.handled, self.unix_millis) = (handled, unix_millis);
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
