//! Peg claims that wait for a block of ours.
//!
//! | claim | accepted when | leaves when |
//! |---|---|---|
//! | deposit | enough members approved it and its proof holds, whatever the depth | minted, or bitcoind contradicts it |
//! | payout | it is the plan that follows from the ledger [PEG-13] | recorded, or the ledger moved on |
//! | settlement | of a recorded payout, its proof holds | settled, or bitcoind contradicts it |
//! | refund | it is justified | refunded, or no longer justified |
//! | decision | a member signed it, and it is the next; it goes into a block when enough have | one is recorded |
//!
//! What is recorded already is accepted again without waiting, so every sender may repeat itself for ever [PEG-19].
//! Claims about Bitcoin go into a block together; when bridge does not confirm the set, each is asked about alone.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use alys_blocks::limits::MaxRecordBytes;
use alys_blocks::{BitcoinView, BurnRef, Payout, PegIn, Refund, Settlement};
use alys_peg::{
    Ballot, BurnState, Fact, InclusionProof, Ledger, Minted, PayoutRecorded, PayoutSettled, PegInProof, Record, Refunded, payout,
    proof, refund, txid_from_bytes,
};
use alys_proto::{Cause, Height};
use ssz_types::VariableList;

use super::input::{Claim, ClaimId, PegVerdict};
use super::rules::ChainRules;

/// Deposits that wait: at about 40 KiB at most 40 MiB.
const MAX_PEG_INS: usize = 1_024;
/// Settlements that wait; payouts in flight are few.
const MAX_SETTLEMENTS: usize = 256;
/// Refunds that wait.
const MAX_REFUNDS: usize = 4_096;
/// What one block takes, as its lists allow.
const PEG_INS_PER_BLOCK: usize = 64;
const SETTLEMENTS_PER_BLOCK: usize = 16;
const REFUNDS_PER_BLOCK: usize = 64;

/// Deep enough for everything: depth is judged when a block is built, not when a claim arrives.
const DEEPEST: BitcoinView = BitcoinView { hash: B256::ZERO, height: u32::MAX };

/// What to answer the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Refused(String),
    Full,
}

/// Claims that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    peg_ins: BTreeMap<(B256, u32), Waiting<PegInProof, PegIn>>,
    settlements: BTreeMap<B256, Waiting<InclusionProof, Settlement>>,
    refunds: BTreeMap<BurnRef, Refunded>,
    payout: Option<PayoutRecorded>,
    ballot: Ballot,
}

#[derive(Debug)]
struct Waiting<P, R> {
    proof: P,
    record: R,
    /// Was in a set that bridge did not confirm, and has not been confirmed alone since.
    suspect: bool,
}

/// What goes into one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) peg_ins: Vec<PegIn>,
    pub(super) refunds: Vec<Refunded>,
    pub(super) payout: Option<PayoutRecorded>,
    pub(super) settlements: Vec<Settlement>,
    pub(super) record: Option<Record>,
}

impl Selection {
    /// Whether a bitcoind must confirm it.
    pub(super) fn claims_bitcoin(&self) -> bool {
        !self.peg_ins.is_empty() || !self.settlements.is_empty()
    }

    /// What the block will state.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let minted = self.peg_ins.iter().map(|claim| Fact::Minted(Minted::from(claim)));
        let refunded = self.refunds.iter().copied().map(Fact::Refunded);
        let recorded = self.payout.iter().cloned().map(Fact::PayoutRecorded);
        let settled = self.settlements.iter().map(|claim| Fact::PayoutSettled(PayoutSettled::from(claim)));
        let decided = self.record.iter().filter_map(|record| record.decision().ok()).map(Fact::Decided);
        minted.chain(refunded).chain(recorded).chain(settled).chain(decided).collect()
    }

    /// What the withdrawals are for, in their order: peg-ins, then refunds.
    pub(super) fn causes(&self) -> Vec<Cause> {
        let peg_ins = self.peg_ins.iter().map(|claim| Cause::deposit(claim.txid.as_slice(), claim.vout));
        peg_ins.chain(self.refunds.iter().map(|refunded| Cause::burn(refunded.burn.height, refunded.burn.log_index))).collect()
    }

    /// The refund records.
    pub(super) fn refund_records(&self) -> Vec<Refund> {
        self.refunds.iter().map(Refund::from).collect()
    }

    /// The governance record, as a block holds it.
    pub(super) fn governance_records(&self) -> Vec<VariableList<u8, MaxRecordBytes>> {
        self.record.iter().filter_map(|record| VariableList::new(record.encode()).ok()).collect()
    }

    /// The payout records; a payout that is too large for a block is left out.
    pub(super) fn payout_records(&self) -> Vec<Payout> {
        self.payout.iter().filter_map(|recorded| Payout::try_from(recorded).ok()).collect()
    }

    fn bitcoin_ids(&self) -> impl Iterator<Item = ClaimId> {
        let peg_ins = self.peg_ins.iter().map(|claim| ClaimId::PegIn { txid: claim.txid, vout: claim.vout });
        peg_ins.chain(self.settlements.iter().map(|claim| ClaimId::Settlement { txid: claim.txid }))
    }
}

impl Pending {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.peg_ins
            .len()
            .saturating_add(self.settlements.len())
            .saturating_add(self.refunds.len())
            .saturating_add(usize::from(self.payout.is_some()))
            .saturating_add(self.ballot.len())
    }

    /// Whether a deposit or settlement waits that is not deep enough under this view.
    pub(super) fn wants_later_view(&self, rules: &ChainRules, view: &BitcoinView) -> bool {
        let shallow = |height: u32| proof::confirmations(view, height) < rules.peg.confirmations;
        self.peg_ins.values().any(|waiting| shallow(waiting.record.bitcoin_height))
            || self.settlements.values().any(|waiting| shallow(waiting.record.bitcoin_height))
    }

    /// Takes a claim in, or says why not.
    pub(super) fn add(&mut self, claim: Claim, rules: &ChainRules, ledger: &Ledger) -> Verdict {
        match claim {
            Claim::PegIn { proof, approved_by } => match check_approvals(&approved_by, rules) {
                Ok(()) => self.add_peg_in(*proof, rules, ledger),
                Err(reason) => Verdict::Refused(reason),
            },
            Claim::Payout(recorded) => self.add_payout(*recorded, ledger),
            Claim::Settlement { proof, bitcoin_hash } => self.add_settlement(*proof, bitcoin_hash, rules, ledger),
            Claim::Refund { burn, reason } => self.add_refund(burn, &reason, ledger),
            Claim::Record(bytes) => match self.ballot.add(&bytes, &rules.domain, ledger) {
                Ok(()) => Verdict::Accepted,
                Err(refusal) => Verdict::Refused(refusal.to_string()),
            },
        }
    }

    /// Whether the chain shows this claim already.
    pub(super) fn is_recorded(claim: &Claim, ledger: &Ledger) -> bool {
        match claim {
            Claim::PegIn { proof, .. } => ledger.is_minted(&proof.outpoint),
            Claim::Payout(recorded) => ledger.payout(&recorded.txid()).is_some(),
            Claim::Settlement { proof, .. } => ledger.payout(&proof.txid).is_some_and(|payout| payout.settled.is_some()),
            Claim::Refund { burn, .. } => matches!(ledger.burn(burn), Some((_, BurnState::Refunded(_)))),
            Claim::Record(bytes) => Record::decode(bytes).is_ok_and(|record| record.number <= ledger.decisions()),
        }
    }

    fn add_peg_in(&mut self, claimed: PegInProof, rules: &ChainRules, ledger: &Ledger) -> Verdict {
        if ledger.is_minted(&claimed.outpoint) {
            return Verdict::Accepted;
        }
        let record = match PegIn::try_from(&claimed) {
            Ok(record) => record,
            Err(cause) => return Verdict::Refused(cause.to_string()),
        };
        let key = (record.txid, record.vout);
        if self.peg_ins.contains_key(&key) {
            return Verdict::Accepted;
        }
        if let Err(cause) = proof::verify(&claimed, &DEEPEST, &rules.federation, &rules.peg) {
            return Verdict::Refused(cause.to_string());
        }
        if self.peg_ins.len() >= MAX_PEG_INS {
            return Verdict::Full;
        }
        self.peg_ins.insert(key, Waiting { proof: claimed, record, suspect: false });
        Verdict::Accepted
    }

    fn add_payout(&mut self, recorded: PayoutRecorded, ledger: &Ledger) -> Verdict {
        if ledger.payout(&recorded.txid()).is_some() {
            return Verdict::Accepted;
        }
        if let Err(cause) = payout::check(&recorded, ledger) {
            return Verdict::Refused(cause.to_string());
        }
        if let Err(cause) = Payout::try_from(&recorded) {
            return Verdict::Refused(cause.to_string());
        }
        self.payout = Some(recorded);
        Verdict::Accepted
    }

    fn add_settlement(&mut self, claimed: InclusionProof, bitcoin_hash: B256, rules: &ChainRules, ledger: &Ledger) -> Verdict {
        match ledger.payout(&claimed.txid) {
            None => return Verdict::Refused("no such payout is recorded".into()),
            Some(payout) if payout.settled.is_some() => return Verdict::Accepted,
            Some(_) => {}
        }
        let record = match Settlement::try_from(&claimed) {
            Ok(record) => record,
            Err(cause) => return Verdict::Refused(cause.to_string()),
        };
        if let Err(cause) = proof::verify_inclusion(&claimed, bitcoin_hash, &DEEPEST, &rules.peg) {
            return Verdict::Refused(cause.to_string());
        }
        if self.settlements.len() >= MAX_SETTLEMENTS && !self.settlements.contains_key(&record.txid) {
            return Verdict::Full;
        }
        // A later proof replaces an earlier one: Bitcoin may have moved the payout to another block.
        self.settlements.insert(record.txid, Waiting { proof: claimed, record, suspect: false });
        Verdict::Accepted
    }

    fn add_refund(&mut self, burn: BurnRef, reason: &str, ledger: &Ledger) -> Verdict {
        if matches!(ledger.burn(&burn), Some((_, BurnState::Refunded(_)))) {
            return Verdict::Accepted;
        }
        let refunded = match reason.parse() {
            Ok(reason) => Refunded { burn, reason },
            Err(cause) => return Verdict::Refused(format!("{cause}")),
        };
        if let Err(cause) = refund::check(&refunded, ledger) {
            return Verdict::Refused(cause.to_string());
        }
        if self.refunds.len() >= MAX_REFUNDS && !self.refunds.contains_key(&burn) {
            return Verdict::Full;
        }
        self.refunds.insert(burn, refunded);
        Verdict::Accepted
    }

    /// What the next block takes. With no view (`None`) nothing that Bitcoin must confirm.
    pub(super) fn select(&self, view: Option<&BitcoinView>, rules: &ChainRules, ledger: &mut Ledger) -> Selection {
        let mut chosen = Selection::default();
        if let Some(view) = view {
            // They wait for the end of a pause; what Bitcoin has is recorded meanwhile.
            if ledger.paused().is_none() {
                chosen.peg_ins = self.deep_peg_ins(view, rules);
            }
            chosen.settlements = self.deep_settlements(view, rules);
        }
        chosen.refunds = self
            .refunds
            .values()
            .filter(|refunded| refund::check(refunded, ledger).is_ok())
            .take(REFUNDS_PER_BLOCK)
            .copied()
            .collect();
        chosen.record = self.ballot.record(ledger);
        chosen.payout = self.payout.clone().filter(|recorded| payout::check(recorded, ledger).is_ok());
        fit(chosen, ledger)
    }

    fn deep_peg_ins(&self, view: &BitcoinView, rules: &ChainRules) -> Vec<PegIn> {
        self.peg_ins
            .values()
            .filter(|waiting| !waiting.suspect && proof::verify(&waiting.proof, view, &rules.federation, &rules.peg).is_ok())
            .map(|waiting| waiting.record.clone())
            .take(PEG_INS_PER_BLOCK)
            .collect()
    }

    fn deep_settlements(&self, view: &BitcoinView, rules: &ChainRules) -> Vec<Settlement> {
        let deep = |waiting: &&Waiting<InclusionProof, Settlement>| {
            proof::verify_inclusion(&waiting.proof, waiting.record.bitcoin_hash, view, &rules.peg).is_ok()
        };
        self.settlements
            .values()
            .filter(|waiting| !waiting.suspect)
            .filter(deep)
            .map(|waiting| waiting.record.clone())
            .take(SETTLEMENTS_PER_BLOCK)
            .collect()
    }

    /// Bridge did not confirm these together.
    pub(super) fn suspect(&mut self, chosen: &Selection) {
        for id in chosen.bitcoin_ids() {
            match id {
                ClaimId::PegIn { txid, vout } => {
                    if let Some(waiting) = self.peg_ins.get_mut(&(txid, vout)) {
                        waiting.suspect = true;
                    }
                }
                ClaimId::Settlement { txid } => {
                    if let Some(waiting) = self.settlements.get_mut(&txid) {
                        waiting.suspect = true;
                    }
                }
            }
        }
    }

    /// Claims to be asked about alone, at most as many as a block takes.
    pub(super) fn suspects(&self) -> Vec<(ClaimId, Selection)> {
        let peg_ins =
            self.peg_ins.iter().filter(|(_, waiting)| waiting.suspect).take(PEG_INS_PER_BLOCK).map(|((txid, vout), waiting)| {
                let alone = Selection { peg_ins: vec![waiting.record.clone()], ..Selection::default() };
                (ClaimId::PegIn { txid: *txid, vout: *vout }, alone)
            });
        let settlements =
            self.settlements.iter().filter(|(_, waiting)| waiting.suspect).take(SETTLEMENTS_PER_BLOCK).map(|(txid, waiting)| {
                let alone = Selection { settlements: vec![waiting.record.clone()], ..Selection::default() };
                (ClaimId::Settlement { txid: *txid }, alone)
            });
        peg_ins.chain(settlements).collect()
    }

    /// Bridge's verdict on one claim. Returns why it was dropped, if it was.
    pub(super) fn judged(&mut self, id: ClaimId, verdict: &PegVerdict) -> Option<String> {
        match verdict {
            PegVerdict::Lagging(_) => None,
            PegVerdict::Valid => {
                match id {
                    ClaimId::PegIn { txid, vout } => self.peg_ins.get_mut(&(txid, vout)).map(|waiting| waiting.suspect = false),
                    ClaimId::Settlement { txid } => self.settlements.get_mut(&txid).map(|waiting| waiting.suspect = false),
                };
                None
            }
            PegVerdict::Invalid(reason) => {
                let dropped = match id {
                    ClaimId::PegIn { txid, vout } => self.peg_ins.remove(&(txid, vout)).is_some(),
                    ClaimId::Settlement { txid } => self.settlements.remove(&txid).is_some(),
                };
                dropped.then(|| format!("{id:?}: {reason}"))
            }
        }
    }

    /// The head moved: what it records, or what no longer follows from its ledger, waits no longer.
    pub(super) fn prune(&mut self, ledger: &Ledger) {
        self.peg_ins.retain(|_, waiting| !ledger.is_minted(&waiting.proof.outpoint));
        let open = |txid: &B256| ledger.payout(&txid_from_bytes(*txid)).is_some_and(|payout| payout.settled.is_none());
        self.settlements.retain(|txid, _| open(txid));
        self.refunds.retain(|_, refunded| refund::check(refunded, ledger).is_ok());
        self.payout = self.payout.take().filter(|recorded| payout::check(recorded, ledger).is_ok());
        self.ballot.prune(ledger);
    }
}

/// Members of the federation, each counted once, must reach its threshold.
fn check_approvals(approved_by: &[String], rules: &ChainRules) -> Result<(), String> {
    let federation = &rules.spec.federation;
    let approvals = federation.members.iter().filter(|member| approved_by.contains(&member.name)).count();
    let needed = usize::try_from(federation.threshold).unwrap_or(usize::MAX);
    if approvals < needed { Err(format!("approved by {approvals} members, {needed} needed")) } else { Ok(()) }
}

/// Leaves out what does not fit together, payouts first: they can be computed again, deposits were approved by people.
fn fit(mut chosen: Selection, ledger: &mut Ledger) -> Selection {
    let next = Height(ledger.height().0.saturating_add(1));
    let mut fits = |chosen: &Selection| ledger.would_apply(next, &chosen.facts()).is_ok();
    if !fits(&chosen) {
        chosen.payout = None;
    }
    if !fits(&chosen) {
        chosen.refunds.clear();
    }
    if !fits(&chosen) {
        chosen.settlements.clear();
    }
    while !fits(&chosen) && chosen.peg_ins.pop().is_some() {}
    chosen
}
