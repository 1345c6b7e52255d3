//! Folding facts in: each fact is checked before it changes anything, and a block's facts go in all or none.

use std::collections::BTreeSet;

use alys_blocks::BurnRef;
use alys_pow::Settled;
use alys_proto::units::MAX_SATS;
use alys_proto::{Height, Sats, Wei};
use bitcoin::{OutPoint, Txid};

use super::{BurnState, Coin, Ledger, MintedAt, Payout, Violation};
use crate::{Burn, Decision, Fact, Minted, PayoutRecorded, PayoutSettled, Refunded, burn, payout};

/// Wei in one gwei, the unit of withdrawals.
const WEI_PER_GWEI: u128 = 1_000_000_000;

impl Ledger {
    /// Applies the facts of the next block: all of them, or none and the rule that is broken.
    ///
    /// Within a height, the order is minted, refunded, payout recorded, payout settled, burned, and within a kind as
    /// given; work settled and decided come last. So a burn is pending only from the next block on, and a pause holds from there.
    pub fn apply(&mut self, height: Height, facts: &[Fact]) -> Result<(), Violation> {
        let expected = self.height.next();
        if height != expected {
            return Err(Violation::Height { expected, found: height });
        }
        self.apply_at(height, facts)
    }

    /// Whether [`Self::apply`] would take these facts. Leaves the ledger as it was.
    pub fn would_apply(&mut self, height: Height, facts: &[Fact]) -> Result<(), Violation> {
        let before = (self.height, self.standing);
        self.apply(height, facts)?;
        (self.height, self.standing) = before;
        for fact in in_order(facts).into_iter().rev() {
            self.undo(fact);
        }
        Ok(())
    }

    /// [`Self::apply`] for replays: heights without facts may be left out.
    pub(super) fn apply_at(&mut self, height: Height, facts: &[Fact]) -> Result<(), Violation> {
        if height <= self.height {
            return Err(Violation::Height { expected: self.height.next(), found: height });
        }
        let (ordered, standing) = (in_order(facts), self.standing);
        for (done, fact) in ordered.iter().enumerate() {
            let applied = self.step(height, fact);
            if applied.is_err() {
                for earlier in ordered.iter().take(done).rev() {
                    self.undo(earlier);
                }
                self.standing = standing;
                return applied;
            }
        }
        if let Err(uncovered) = self.check_cover() {
            for fact in ordered.iter().rev() {
                self.undo(fact);
            }
            self.standing = standing;
            return Err(uncovered);
        }
        self.height = height;
        Ok(())
    }

    fn step(&mut self, height: Height, fact: &Fact) -> Result<(), Violation> {
        match fact {
            Fact::Minted(minted) => self.mint(height, minted),
            Fact::Refunded(refunded) => self.refund(refunded),
            Fact::PayoutRecorded(recorded) => self.record(height, recorded),
            Fact::PayoutSettled(settled) => self.settle(settled),
            Fact::Burned(burn) => self.burned(height, burn),
            Fact::WorkSettled(settled) => self.settle_work(height, settled),
            Fact::Decided(decision) => self.decide(height, decision),
        }
    }

    fn check_open(&self) -> Result<(), Violation> {
        self.standing.paused.map_or(Ok(()), |since| Err(Violation::Paused { since }))
    }

    fn mint(&mut self, height: Height, minted: &Minted) -> Result<(), Violation> {
        let outpoint = minted.outpoint;
        self.check_open()?;
        if self.minted.contains_key(&outpoint) {
            return Err(Violation::MintedTwice(outpoint));
        }
        if self.payouts.contains_key(&outpoint.txid) {
            return Err(Violation::MintedChange(outpoint));
        }
        if minted.recipient.is_zero() {
            return Err(Violation::MintedToNobody(outpoint));
        }
        let amount = self.minted_amount(minted).ok_or(Violation::MintedAmount(outpoint))?;
        let held = self.coins_held().checked_add(minted.value);
        if held.is_none_or(|held| held > MAX_SATS) {
            return Err(Violation::MintedAmount(outpoint));
        }
        self.minted.insert(outpoint, MintedAt { value: minted.value, recipient: minted.recipient, height });
        self.coins.add(outpoint, minted.value);
        add(&mut self.totals.minted, amount);
        self.totals.withdrawals = self.totals.withdrawals.saturating_add(1);
        Ok(())
    }

    /// Positive, or `None`.
    fn minted_amount(&self, minted: &Minted) -> Option<Wei> {
        let amount = minted.value.checked_sub(self.rules.peg_in_fee)?;
        (amount > Sats(0)).then(|| amount.to_wei())
    }

    fn refund(&mut self, refunded: &Refunded) -> Result<(), Violation> {
        self.check_open()?;
        let amount = self.pending_amount(&refunded.burn)?;
        let withdrawn = withdrawn(amount);
        if withdrawn == Wei(0) {
            return Err(Violation::RefundAmount(refunded.burn));
        }
        self.move_burn(&refunded.burn, BurnState::Refunded(refunded.reason));
        add(&mut self.totals.refunded, withdrawn);
        subtract(&mut self.totals.owed, amount);
        self.totals.withdrawals = self.totals.withdrawals.saturating_add(1);
        Ok(())
    }

    fn record(&mut self, height: Height, recorded: &PayoutRecorded) -> Result<(), Violation> {
        self.check_open()?;
        let (inputs, change) = self.check_payout(recorded)?;
        let txid = recorded.txid();
        for coin in &inputs {
            self.coins.take(&coin.outpoint);
            self.spent.insert(coin.outpoint, txid);
            self.totals.in_flight = Sats(self.totals.in_flight.0.saturating_add(coin.value.0));
        }
        for id in &recorded.burns {
            self.move_burn(id, BurnState::InPayout(txid));
        }
        self.in_flight.insert(txid);
        let recorded = recorded.clone();
        self.payouts.insert(txid, Payout { recorded, height, inputs, change, settled: None });
        Ok(())
    }

    /// Everything about a payout that does not depend on how it was chosen; [`payout::check`] does that against the parent.
    fn check_payout(&self, recorded: &PayoutRecorded) -> Result<(Vec<Coin>, Option<Coin>), Violation> {
        let txid = recorded.txid();
        if self.payouts.contains_key(&txid) {
            return Err(Violation::PayoutTwice(txid));
        }
        if !self.rules.allows(recorded.fee_rate) {
            return Err(Violation::PayoutFeeRate(txid));
        }
        if !payout::has_form(&recorded.transaction) || recorded.burns.len() > self.rules.max_burns_per_payout {
            return Err(Violation::PayoutForm(txid));
        }
        let inputs = self.check_inputs(txid, recorded)?;
        let owed = self.check_outputs(txid, recorded)?;
        let change = self.check_change(txid, recorded)?;
        let spent = sum(inputs.iter().map(|coin| coin.value.0));
        let paid = sum(recorded.transaction.output.iter().map(|output| output.value.to_sat()));
        let fee = spent.checked_sub(paid).map(Sats).ok_or(Violation::PayoutTakesMore(txid))?;
        let vsize = payout::signed_vsize(&recorded.transaction, &self.federation);
        let asked = recorded.fee_rate.fee(vsize).ok_or(Violation::PayoutFeeRate(txid))?;
        if fee != asked {
            return Err(Violation::PayoutFee { txid, fee, asked });
        }
        let kept = change.map_or(0, |coin| coin.value.0);
        if spent.saturating_sub(kept) > owed.0 {
            return Err(Violation::PayoutTakesMore(txid));
        }
        Ok((inputs, change))
    }

    fn check_inputs(&self, txid: Txid, recorded: &PayoutRecorded) -> Result<Vec<Coin>, Violation> {
        let mut seen = BTreeSet::new();
        let mut coins = Vec::with_capacity(recorded.transaction.input.len());
        for input in &recorded.transaction.input {
            let outpoint = input.previous_output;
            if !seen.insert(outpoint) {
                return Err(Violation::InputInFlight { txid, outpoint, spender: txid });
            }
            match self.coins.get(&outpoint) {
                Some(coin) => coins.push(*coin),
                None => return Err(self.not_spendable(txid, outpoint)),
            }
        }
        Ok(coins)
    }

    fn not_spendable(&self, txid: Txid, outpoint: OutPoint) -> Violation {
        match self.spent.get(&outpoint).copied() {
            Some(spender) if self.in_flight.contains(&spender) => Violation::InputInFlight { txid, outpoint, spender },
            Some(spender) => Violation::InputSpent { txid, outpoint, spender },
            None => Violation::UnknownInput { txid, outpoint },
        }
    }

    /// Output `i` pays burn `i`, at most what was burned and no dust. Returns what the burns are owed together.
    fn check_outputs(&self, txid: Txid, recorded: &PayoutRecorded) -> Result<Sats, Violation> {
        let mut seen = BTreeSet::new();
        let mut owed = 0_u64;
        if recorded.burns.is_empty() {
            return Err(Violation::PayoutForm(txid));
        }
        for (output, id) in recorded.burns.iter().enumerate() {
            let wrong = Violation::PayoutOutput { txid, output };
            self.pending_amount(id)?;
            if !self.is_settled(id) {
                return Err(Violation::BurnNotSettled(*id));
            }
            if !seen.insert(*id) {
                return Err(Violation::BurnNotPending(*id));
            }
            let (burned, _) = self.burns.get(id).ok_or(Violation::UnknownBurn(*id))?;
            let payable = burn::classify(burned, &self.federation).map_err(|_| wrong.clone())?;
            let paid = recorded.transaction.output.get(output).ok_or_else(|| wrong.clone())?;
            let value = Sats(paid.value.to_sat());
            if paid.script_pubkey != payable.script_pubkey || value > payable.amount || value < payable.dust {
                return Err(wrong);
            }
            owed = owed.saturating_add(payable.amount.0);
        }
        Ok(Sats(owed))
    }

    /// After the payouts: nothing, or one output to the federation that is no dust [PEG-9].
    fn check_change(&self, txid: Txid, recorded: &PayoutRecorded) -> Result<Option<Coin>, Violation> {
        let mut rest = recorded.transaction.output.iter().enumerate().skip(recorded.burns.len());
        let Some((position, change)) = rest.next() else { return Ok(None) };
        let vout = u32::try_from(position).map_err(|_| Violation::PayoutForm(txid))?;
        if rest.next().is_some() {
            return Err(Violation::PayoutForm(txid));
        }
        if change.script_pubkey.as_script() != self.federation.script_pubkey()
            || change.value < change.script_pubkey.minimal_non_dust()
        {
            return Err(Violation::ChangeElsewhere(txid));
        }
        // Its age comes when it is settled.
        Ok(Some(Coin { outpoint: OutPoint { txid, vout }, value: Sats(change.value.to_sat()), age: u64::MAX }))
    }

    fn settle(&mut self, settled: &PayoutSettled) -> Result<(), Violation> {
        let txid = settled.txid;
        let payout = self.payouts.get_mut(&txid).ok_or(Violation::SettledUnknown(txid))?;
        if payout.settled.is_some() {
            return Err(Violation::SettledTwice(txid));
        }
        payout.settled = Some(settled.bitcoin_block);
        if let Some(change) = payout.change {
            self.coins.add(change.outpoint, change.value);
        }
        let spent = sum(payout.inputs.iter().map(|coin| coin.value.0));
        self.totals.in_flight = Sats(self.totals.in_flight.0.saturating_sub(spent));
        self.in_flight.remove(&txid);
        self.move_burns_of(&txid, BurnState::Paid(txid));
        Ok(())
    }

    fn burned(&mut self, height: Height, burn: &Burn) -> Result<(), Violation> {
        if burn.id.height != height.0 {
            return Err(Violation::BurnElsewhere(burn.id));
        }
        if self.burns.contains_key(&burn.id) {
            return Err(Violation::BurnedTwice(burn.id));
        }
        if burn.amount > self.supply() {
            return Err(Violation::BurnedMoreThanSupply { burn: burn.id, amount: burn.amount, supply: self.supply() });
        }
        self.burns.insert(burn.id, (burn.clone(), BurnState::Pending));
        self.pending.insert(burn.id);
        add(&mut self.totals.burned, burn.amount);
        add(&mut self.totals.owed, burn.amount);
        Ok(())
    }

    /// The proof was checked with the block. Settled blocks are below the one with the bundle.
    fn settle_work(&mut self, height: Height, settled: &Settled) -> Result<(), Violation> {
        let (last, last_end) = self.standing.work.map_or((0, 0), |work| (work.sequence, work.end.height));
        let follows = last.checked_add(1) == Some(settled.sequence) && last_end < settled.end.height;
        if !follows || settled.end.height >= height.0 {
            return Err(Violation::WorkOutOfOrder { last, found: settled.sequence, end: settled.end.height });
        }
        self.standing.work = Some(*settled);
        Ok(())
    }

    /// Who stands behind it was checked with the block.
    fn decide(&mut self, height: Height, decision: &Decision) -> Result<(), Violation> {
        let (expected, pauses) = (self.standing.decisions.saturating_add(1), decision.action.pauses());
        if decision.number != expected || pauses == self.standing.paused.is_some() {
            return Err(Violation::Decision { expected, found: decision.number });
        }
        self.standing.decisions = decision.number;
        self.standing.paused = pauses.then_some(height);
        Ok(())
    }

    /// Takes one fact back; it is the last one that was applied. The standing is put back by the caller.
    fn undo(&mut self, fact: &Fact) {
        match fact {
            Fact::Minted(minted) => {
                let amount = self.minted_amount(minted).unwrap_or_default();
                self.minted.remove(&minted.outpoint);
                self.coins.undo_add(&minted.outpoint);
                subtract(&mut self.totals.minted, amount);
                self.totals.withdrawals = self.totals.withdrawals.saturating_sub(1);
            }
            Fact::Refunded(refunded) => {
                self.move_burn(&refunded.burn, BurnState::Pending);
                let amount = self.pending_amount(&refunded.burn).unwrap_or_default();
                subtract(&mut self.totals.refunded, withdrawn(amount));
                add(&mut self.totals.owed, amount);
                self.totals.withdrawals = self.totals.withdrawals.saturating_sub(1);
            }
            Fact::PayoutRecorded(recorded) => self.undo_record(recorded),
            Fact::PayoutSettled(settled) => self.undo_settle(settled.txid),
            Fact::Burned(burn) => {
                self.burns.remove(&burn.id);
                self.pending.remove(&burn.id);
                subtract(&mut self.totals.burned, burn.amount);
                subtract(&mut self.totals.owed, burn.amount);
            }
            Fact::WorkSettled(_) | Fact::Decided(_) => {}
        }
    }

    fn undo_record(&mut self, recorded: &PayoutRecorded) {
        let txid = recorded.txid();
        let Some(payout) = self.payouts.remove(&txid) else { return };
        self.in_flight.remove(&txid);
        for coin in payout.inputs {
            self.spent.remove(&coin.outpoint);
            self.totals.in_flight = Sats(self.totals.in_flight.0.saturating_sub(coin.value.0));
            self.coins.put_back(coin);
        }
        for id in &recorded.burns {
            self.move_burn(id, BurnState::Pending);
        }
    }

    fn undo_settle(&mut self, txid: Txid) {
        self.move_burns_of(&txid, BurnState::InPayout(txid));
        let Some(payout) = self.payouts.get_mut(&txid) else { return };
        payout.settled = None;
        self.in_flight.insert(txid);
        if let Some(change) = payout.change {
            self.coins.undo_add(&change.outpoint);
        }
        let spent = sum(payout.inputs.iter().map(|coin| coin.value.0));
        self.totals.in_flight = Sats(self.totals.in_flight.0.saturating_add(spent));
    }

    /// Moves the burns of a payout between "in payout" (owed) and "paid" (not owed).
    fn move_burns_of(&mut self, txid: &Txid, state: BurnState) {
        let ids = self.payouts.get(txid).map(|payout| payout.recorded.burns.clone()).unwrap_or_default();
        for id in ids {
            self.move_burn(&id, state);
            let amount = self.burns.get(&id).map(|(burn, _)| burn.amount).unwrap_or_default();
            match state {
                BurnState::Paid(_) => subtract(&mut self.totals.owed, amount),
                _ => add(&mut self.totals.owed, amount),
            }
        }
    }

    fn move_burn(&mut self, id: &BurnRef, state: BurnState) {
        if let Some((_, current)) = self.burns.get_mut(id) {
            *current = state;
        }
        if state == BurnState::Pending {
            self.pending.insert(*id);
        } else {
            self.pending.remove(id);
        }
    }

    fn pending_amount(&self, id: &BurnRef) -> Result<Wei, Violation> {
        match self.burns.get(id) {
            Some((burn, BurnState::Pending)) => Ok(burn.amount),
            Some(_) => Err(Violation::BurnNotPending(*id)),
            None => Err(Violation::UnknownBurn(*id)),
        }
    }
}

fn in_order(facts: &[Fact]) -> Vec<&Fact> {
    let mut ordered: Vec<&Fact> = facts.iter().collect();
    ordered.sort_by_key(|fact| fact.rank());
    ordered
}

/// What a withdrawal can give back of an amount: whole gwei.
fn withdrawn(amount: Wei) -> Wei {
    Wei(amount.0 / WEI_PER_GWEI * WEI_PER_GWEI)
}

fn add(total: &mut Wei, amount: Wei) {
    total.0 = total.0.saturating_add(amount.0);
}

fn subtract(total: &mut Wei, amount: Wei) {
    total.0 = total.0.saturating_sub(amount.0);
}

fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::saturating_add)
}
