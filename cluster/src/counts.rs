//! What became of messages, by message. Names come from the .proto, so the table has at most as many rows as the role has
//! messages, and one each for its own messages and for names that are not its own.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alys_proto::Refused;

use crate::metrics::Histogram;

/// Row of messages that the role does not know: their names are a stranger's choice.
const UNKNOWN: &str = "unknown";

/// From a counter's update to the longest legal handler.
const HANDLING_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    table: Mutex<Table>,
}

/// Found by their names one after the other: there are few, and most often it is the one of the message before.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<(&'static str, Row)>,
    last: usize,
}

/// What became of the messages of one name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Handlers that ended.
    pub(crate) handled: u64,
    /// Of these with an error.
    pub(crate) failed: u64,
    /// Queued, then displaced by a newer one.
    pub(crate) dropped: u64,
    /// Not handled, by the kind of refusal.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Time in the handler.
    pub(crate) handling: Histogram,
}

impl Default for Row {
    fn default() -> Self {
        Self { handled: 0, failed: 0, dropped: 0, refused: BTreeMap::new(), handling: Histogram::new(HANDLING_SECONDS) }
    }
}

impl Counts {
    pub(crate) fn handled(&self, name: &'static str, took: Duration, failed: bool) {
        let mut table = self.lock();
        let row = table.row(name);
        row.handled = row.handled.saturating_add(1);
        row.failed = row.failed.saturating_add(u64::from(failed));
        row.handling.observe(took.as_secs_f64());
    }

    pub(crate) fn dropped(&self, name: &'static str) {
        let mut table = self.lock();
        let row = table.row(name);
        row.dropped = row.dropped.saturating_add(1);
    }

    /// `name`: `None` when it is not one of the role's.
    pub(crate) fn refused(&self, name: Option<&'static str>, refused: &Refused) {
        let mut table = self.lock();
        let count = table.row(name.unwrap_or(UNKNOWN)).refused.entry(kind_of(refused)).or_default();
        *count = count.saturating_add(1);
    }

    /// A copy of the table.
    pub(crate) fn rows(&self) -> BTreeMap<&'static str, Row> {
        self.lock().rows.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each change is a single addition, so a poisoned table is still whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    #[allow(clippy::indexing_slicing, reason = "a position that was found or made just before")]
    fn row(&mut self, name: &'static str) -> &mut Row {
        if self.rows.get(self.last).is_none_or(|(found, _)| *found != name) {
            self.last = self.rows.iter().position(|(found, _)| *found == name).unwrap_or(self.rows.len());
            if self.last == self.rows.len() {
                self.rows.push((name, Row::default()));
            }
        }
        &mut self.rows[self.last].1
    }
}

/// A refusal's name in metrics.
const fn kind_of(refused: &Refused) -> &'static str {
    match refused {
        Refused::Busy(_) => "busy",
        Refused::NotReady(_) => "not_ready",
        Refused::Unknown(_) => "unknown",
        Refused::Malformed(_) => "malformed",
        Refused::Unauthorised(_) => "unauthorised",
        Refused::TooLate(_) => "too_late",
        Refused::Fenced(_) => "fenced",
        Refused::Failed(_) => "failed",
        Refused::Unreachable(_) => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_under_its_message() {
        let counts = Counts::default();
        counts.handled("GetHead", Duration::from_millis(2), false);
        counts.handled("GetHead", Duration::from_secs(40), true);
        counts.dropped("GetBlocks");
        counts.refused(Some("GetBlocks"), &Refused::Busy("full".into()));
        counts.refused(Some("GetBlocks"), &Refused::TooLate("late".into()));
        counts.refused(None, &Refused::Unknown("a stranger's name".into()));
        let rows = counts.rows();
        assert_eq!((rows["GetHead"].handled, rows["GetHead"].failed), (2, 1));
        assert_eq!(rows["GetHead"].handling.count(), 2);
        assert_eq!(rows["GetBlocks"].dropped, 1);
        assert_eq!(rows["GetBlocks"].refused, BTreeMap::from([("busy", 1), ("too_late", 1)]));
        assert_eq!(rows["unknown"].refused, BTreeMap::from([("unknown", 1)]));
        assert_eq!(rows.len(), 3, "a stranger's names make no rows");
    }
}
