//! From burns to settled payouts. Each step is repeated until the sidechain or Bitcoin shows its effect.
//!
//! | the burn or payout | what is done |
//! |---|---|
//! | pending, Bitcoin cannot pay it, or the fee eats it | propose the refund to chain [PEG-7] |
//! | pending, else | propose the payout that follows from the ledger and the fee rate [PEG-13] |
//! | recorded, too few signatures | ask for signatures |
//! | recorded, signed, in no block of Bitcoin | finalise, test, broadcast [PEG-20] |
//! | in a block, not deep | wait |
//! | deep enough | tell chain, with the proof |
//! | settled | nothing |

use alys_peg::{FeeRate, payout, refund};
use bitcoin::Txid;

use crate::core::effect::{Effect, Signable};
use crate::core::state::State;
use crate::core::turns::Work;

/// Refunds proposed at once: as many as a block can hold.
const MOST_REFUNDS: usize = 64;

impl State {
    /// The fee rate of the next payout: bitcoind's estimate, or the fallback, within the specification's bounds [PEG-8].
    /// `None` until bitcoind was asked.
    pub fn fee_rate(&self) -> Option<FeeRate> {
        let asked = self.estimate?;
        let rate = FeeRate(asked.unwrap_or(self.rules.fallback_fee_rate));
        Some(rate.clamp(self.rules.peg.min_fee_rate, self.rules.peg.max_fee_rate))
    }

    /// Proposes what is to become of pending burns: the seed's `CreatePegOutTransaction`.
    pub(super) fn create_peg_out_transaction(&mut self, effects: &mut Vec<Effect>) {
        let Some(fee_rate) = self.fee_rate() else { return };
        if self.ledger.pending_burns().next().is_none() || !self.turns.take(Work::Propose, self.now, self.rules.intervals.propose)
        {
            return;
        }
        let refunds = refund::due(&self.ledger, Some(fee_rate));
        effects.extend(refunds.into_iter().take(MOST_REFUNDS).map(Effect::ProposeRefund));
        // Nothing to pay, or the coins are in flight: the next block is another chance.
        if let Ok(plan) = payout::plan(&self.ledger, fee_rate) {
            effects.push(Effect::ProposePayout(Box::new(plan.recorded())));
        }
    }

    /// A block moved the ledger: what follows from it is proposed at once.
    pub(super) fn ledger_moved(&mut self, effects: &mut Vec<Effect>) {
        self.turns.reset(&Work::Propose);
        self.forget_settled(effects);
    }

    /// Does what is due for recorded payouts.
    pub(super) fn drive_payouts(&mut self, effects: &mut Vec<Effect>) {
        let in_flight: Vec<Txid> = self.ledger.payouts_in_flight().map(|(txid, _)| *txid).collect();
        for txid in in_flight {
            if let Some(effect) = self.drive_payout(txid) {
                effects.push(effect);
            }
        }
    }

    fn drive_payout(&mut self, txid: Txid) -> Option<Effect> {
        if let Some(spend) = self.sightings.spend(&txid) {
            let deep = self.followed.depth(spend.block.height) >= self.rules.peg.confirmations;
            let (merkle_proof, block) = (spend.merkle_proof.clone(), spend.block);
            let due = deep && self.turns.take(Work::Confirm(txid), self.now, self.rules.intervals.propose);
            return due.then_some(Effect::PayoutConfirmed { txid, merkle_proof, block });
        }
        self.note_conflict(&txid);
        if !self.open_session(&txid) {
            return None;
        }
        if self.is_signed(&txid) {
            let due = self.turns.take(Work::Broadcast(txid), self.now, self.rules.intervals.broadcast);
            let signatures = self.signatures.session(&txid)?.signatures();
            let payout = Box::new(self.signable(&txid)?);
            return due.then_some(Effect::BroadcastBitcoinTransaction { payout, signatures });
        }
        let due = self.turns.take(Work::Sign(txid), self.now, self.rules.intervals.sign);
        let payout = Box::new(self.signable(&txid)?);
        due.then_some(Effect::RequestFederationSignatures(payout))
    }

    fn signable(&self, txid: &Txid) -> Option<Signable> {
        let payout = self.ledger.payout(txid)?;
        Some(Signable { recorded: payout.recorded.clone(), height: payout.height.0, prevouts: self.ledger.prevouts(txid)? })
    }

    /// Another transaction of the best chain spends an input of this payout: it can never confirm.
    fn note_conflict(&mut self, txid: &Txid) {
        let Some(payout) = self.ledger.payout(txid) else { return };
        let conflict = payout.inputs.iter().find_map(|input| {
            let spender = self.sightings.coins().get(&input.outpoint)?.spent_by?;
            (spender != *txid).then(|| format!("its input {} is spent by {spender}", input.outpoint))
        });
        if let Some(reason) = conflict {
            self.refusals.insert(*txid, reason);
        }
    }
}
