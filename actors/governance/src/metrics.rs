//! What a governance node counts and shows beside the metrics that all processes have.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alys_cluster::metrics::Labelled;
use documented::DocumentedFields;
use serde::Serialize;

use crate::core::refusal::Refusal;

/// The metrics of a governance node.
#[derive(Clone, Debug, Default, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Whether the stream has confirmed the session.
    pub(crate) session_connected: bool,
    /// Whether the own bitcoind answers, and usably.
    pub(crate) bitcoin_reachable: bool,
    /// Height of the own bitcoind's best chain when it answered last; absent before.
    pub(crate) bitcoin_height: Option<u64>,
    /// Height of the sidechain up to which blocks were checked and folded.
    pub(crate) head_height: u64,
    /// The highest head that the stream told of; absent before the first.
    pub(crate) told_height: Option<u64>,
    /// Whether the replay stands still at a block that must not be: nothing is approved or signed.
    pub(crate) replay_stopped: bool,
    /// Payouts recorded on the own chain and not settled.
    pub(crate) payouts_in_flight: usize,
    /// Transactions ever signed with this key.
    pub(crate) transactions_signed: usize,
    /// Deposits approved, since the start; one that is asked for again counts again.
    pub(crate) approvals_total: u64,
    /// Payouts signed, since the start; one that is asked for again counts again.
    pub(crate) signatures_total: u64,
    /// Deposits not approved, by reason: some are `not yet` (lagging views), the others are `no`.
    pub(crate) approvals_refused_total: Labelled,
    /// Payouts not signed, by reason.
    pub(crate) signatures_refused_total: Labelled,
    /// Answers that fell out because the stream acknowledged none for too long; it asks again.
    pub(crate) answers_dropped_total: u64,
}

/// Refusals by reason: as many rows as there are reasons.
#[derive(Debug)]
struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

impl Default for Refusals {
    fn default() -> Self {
        // A series that appears with its first event has no rate.
        Self(Mutex::new(Refusal::KINDS.iter().map(|kind| (*kind, 0)).collect()))
    }
}

impl Refusals {
    fn count(&self, refusal: &Refusal) {
        let mut counts = self.lock();
        let count = counts.entry(refusal.kind()).or_default();
        *count = count.saturating_add(1);
    }

    fn labelled(&self) -> Labelled {
        Labelled::new("reason", self.lock().iter().map(|(kind, count)| (*kind, *count)))
    }

    fn sum(&self) -> u64 {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        // Each change is a single addition, so a poisoned table is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was done since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) approved: AtomicU64,
    pub(crate) signed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    not_approved: Refusals,
    not_signed: Refusals,
    last_refusal: Mutex<String>,
}

impl Counters {
    /// A deposit was not approved, or a payout not signed.
    pub(crate) fn refused(&self, signing: bool, refusal: &Refusal) {
        let refusals = if signing { &self.not_signed } else { &self.not_approved };
        refusals.count(refusal);
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal.to_string();
    }

    /// How many, and the last one in words.
    pub(crate) fn refusals(&self) -> (u64, String) {
        let last = self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.not_approved.sum().saturating_add(self.not_signed.sum()), last)
    }

    /// Puts its numbers into the metrics.
    pub(crate) fn show(&self, metrics: &mut Metrics) {
        metrics.approvals_total = self.approved.load(Ordering::Relaxed);
        metrics.signatures_total = self.signed.load(Ordering::Relaxed);
        metrics.answers_dropped_total = self.dropped.load(Ordering::Relaxed);
        metrics.approvals_refused_total = self.not_approved.labelled();
        metrics.signatures_refused_total = self.not_signed.labelled();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_what_was_asked_and_why() {
        let counters = Counters::default();
        counters.refused(false, &Refusal::AlreadyMinted);
        counters.refused(true, &Refusal::BitcoinSyncing);
        counters.refused(true, &Refusal::BitcoinAway("a text that a stranger could choose".into()));
        counters.refused(true, &Refusal::BitcoinAway("another".into()));
        assert_eq!(counters.refusals(), (4, Refusal::BitcoinAway("another".into()).to_string()));
        let mut metrics = Metrics::default();
        counters.show(&mut metrics);
        let expected = |count: fn(&str) -> u64| {
            let mut kinds = Refusal::KINDS.to_vec();
            kinds.sort_unstable();
            Labelled::new("reason", kinds.into_iter().map(|kind| (kind, count(kind))))
        };
        assert_eq!(metrics.approvals_refused_total, expected(|kind| u64::from(kind == "already_minted")));
        let signing = |kind: &str| match kind {
            "bitcoin_away" => 2,
            "bitcoin_syncing" => 1,
            _ => 0,
        };
        assert_eq!(metrics.signatures_refused_total, expected(signing));
    }
}
