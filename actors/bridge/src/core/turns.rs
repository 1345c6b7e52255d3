//! When something that is repeated until the chain shows its effect was last done.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, Txid};

use crate::core::input::Millis;

/// Something that is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// Announce a deposit to governance.
    Announce(OutPoint),
    /// Propose refunds and the next payout.
    Propose,
    /// Ask for signatures.
    Sign(Txid),
    /// Give the signed payout to Bitcoin.
    Broadcast(Txid),
    /// Tell chain that a payout is deep enough.
    Confirm(Txid),
    /// Ask Bitcoin for its fee rate.
    Fees,
    /// Read the ledger again.
    Reload,
}

/// Remembers when each work was last done. Bounded: what has not been repeated for a while is forgotten, so at most the
/// work of [`Turns::FORGET`] is held.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    last: BTreeMap<Work, Millis>,
}

impl Turns {
    /// After this long a work counts as never done. Longer than any interval in the configuration may be.
    pub(super) const FORGET: u64 = 600_000;

    /// Whether it is this work's turn, and if so notes that it is done now.
    pub(super) fn take(&mut self, work: Work, now: Millis, every: u64) -> bool {
        let due = self.last.get(&work).is_none_or(|last| now.0.saturating_sub(last.0) >= every);
        if due {
            self.last.insert(work, now);
        }
        due
    }

    /// Whether it was ever done (lately).
    pub(super) fn done(&self, work: &Work) -> bool {
        self.last.contains_key(work)
    }

    /// Lets it be done again at once.
    pub(super) fn reset(&mut self, work: &Work) {
        self.last.remove(work);
    }

    /// Forgets old entries.
    pub(super) fn sweep(&mut self, now: Millis) {
        self.last.retain(|_, last| now.0.saturating_sub(last.0) < Self::FORGET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_repeated_and_not_hammered() {
        let mut turns = Turns::default();
        assert!(turns.take(Work::Propose, Millis(0), 2_000));
        assert!(!turns.take(Work::Propose, Millis(1_999), 2_000));
        assert!(turns.take(Work::Fees, Millis(1_999), 2_000), "each work has its own turn");
        assert!(turns.take(Work::Propose, Millis(2_000), 2_000));
        turns.reset(&Work::Propose);
        assert!(turns.take(Work::Propose, Millis(2_001), 2_000));
        turns.sweep(Millis(2_001 + Turns::FORGET));
        assert!(!turns.done(&Work::Propose));
    }
}
