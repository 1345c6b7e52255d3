//! The invariants, recomputed from the entries: what the simulator, the end-to-end tests and the metrics ask.

use std::collections::BTreeSet;

use alys_proto::{Sats, Wei};

use super::{BurnState, Ledger, Totals, Violation};

impl Ledger {
    /// Recomputes every sum and cross-reference from the entries. Linear in the history; for tests, metrics and audits.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        self.check_cover()?;
        self.check_totals()?;
        self.check_burns()?;
        self.check_coins()
    }

    /// Coins held cover supply and payouts owed [PEG-1]. Constant time.
    pub(super) fn check_cover(&self) -> Result<(), Violation> {
        let needed = Wei(self.supply().0.saturating_add(self.owed().0));
        let held = self.coins_held();
        if held.to_wei() < needed { Err(Violation::Uncovered { held, needed }) } else { Ok(()) }
    }

    fn check_totals(&self) -> Result<(), Violation> {
        let mut sums = Totals::default();
        let mut refunds = 0_u64;
        for minted in self.minted.values() {
            let amount = minted.value.checked_sub(self.rules.peg_in_fee).unwrap_or_default();
            sums.minted.0 = sums.minted.0.saturating_add(amount.to_wei().0);
        }
        for (burn, state) in self.burns.values() {
            sums.burned.0 = sums.burned.0.saturating_add(burn.amount.0);
            match state {
                BurnState::Pending | BurnState::InPayout(_) => sums.owed.0 = sums.owed.0.saturating_add(burn.amount.0),
                BurnState::Paid(_) => {}
                BurnState::Refunded(_) => {
                    sums.refunded.0 = sums.refunded.0.saturating_add(burn.amount.0 / 1_000_000_000 * 1_000_000_000);
                    refunds = refunds.saturating_add(1);
                }
            }
        }
        for coin in self.payouts_in_flight().flat_map(|(_, payout)| &payout.inputs) {
            sums.in_flight.0 = sums.in_flight.0.saturating_add(coin.value.0);
        }
        sums.withdrawals = u64::try_from(self.minted.len()).unwrap_or(u64::MAX).saturating_add(refunds);
        if sums.burned.0 > sums.minted.0.saturating_add(sums.refunded.0) {
            return Err(Violation::Books("more is burned than was minted"));
        }
        if sums == self.totals { Ok(()) } else { Err(Violation::Books("sums")) }
    }

    /// Every burn is in exactly the queue or the payout that its state names [PEG-6][PEG-7].
    fn check_burns(&self) -> Result<(), Violation> {
        let mut paid_by = BTreeSet::new();
        for (txid, payout) in &self.payouts {
            for id in &payout.recorded.burns {
                if !paid_by.insert(*id) {
                    return Err(Violation::BurnNotPending(*id));
                }
                let expected = if payout.settled.is_some() { BurnState::Paid(*txid) } else { BurnState::InPayout(*txid) };
                if self.burn(id).is_none_or(|(_, state)| state != expected) {
                    return Err(Violation::Books("a payout and its burns disagree"));
                }
            }
        }
        for (id, (_, state)) in &self.burns {
            let in_payout = matches!(state, BurnState::InPayout(_) | BurnState::Paid(_));
            if in_payout != paid_by.contains(id) || (*state == BurnState::Pending) != self.pending.contains(id) {
                return Err(Violation::Books("a burn and its queue disagree"));
            }
        }
        Ok(())
    }

    /// Coins are exactly: minted deposits and settled changes that no payout spends [PEG-10][PEG-11].
    fn check_coins(&self) -> Result<(), Violation> {
        let mut spent = BTreeSet::new();
        let mut known: BTreeSet<_> = self.minted.keys().copied().collect();
        for payout in self.payouts.values() {
            for coin in &payout.inputs {
                if !spent.insert(coin.outpoint) {
                    return Err(Violation::Books("a coin is in two payouts"));
                }
            }
            if let (Some(change), Some(_)) = (&payout.change, payout.settled) {
                known.insert(change.outpoint);
            }
        }
        let expected: BTreeSet<_> = known.difference(&spent).copied().collect();
        let spendable: BTreeSet<_> = self.coins.iter().map(|coin| coin.outpoint).collect();
        let total = self.coins.iter().fold(0_u64, |sum, coin| sum.saturating_add(coin.value.0));
        if spendable != expected || self.spent.len() != spent.len() || Sats(total) != self.coins.total() {
            return Err(Violation::Books("coins"));
        }
        Ok(())
    }
}
