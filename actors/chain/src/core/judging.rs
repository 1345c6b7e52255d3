//! Blocks that are not committed yet, and what we think of them.
//!
//! | stage | waits for | goes on when |
//! |---|---|---|
//! | new | its time to come (proposals only) | rules hold → executing |
//! | executing | the engine | executed; engine away or behind → new again, later |
//! | confirming | bridge, if it claims something about Bitcoin | confirmed; lagging → asked again, later |
//! | valid | a certificate | committed |
//! | invalid | | a proposal: told to consensus; committed by others: halt |

use alloy_primitives::B256;
use alys_blocks::{Block, Certificate};
use alys_peg::{Burn, Fact};
use alys_proto::{Height, common};

use super::effect::{Effect, HaltReason, Note, PegCheck};
use super::input::{EngineFailure, Execution, PegSubject, PegVerdict};
use super::rules::{BlockRefusal, Checked, payload_hash};
use super::slots::Millis;
use super::state::State;

/// The engine was away: the next attempt, milliseconds.
const ENGINE_RETRY_MILLIS: u64 = 200;
/// Our bitcoind lags: the next question, milliseconds.
const BITCOIN_RETRY_MILLIS: u64 = 500;

/// A block that may be committed.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) block: Block,
    /// Its SSZ form.
    pub(super) bytes: Vec<u8>,
    pub(super) stage: Stage,
    /// Latest round in which it was proposed.
    pub(super) last_round: u32,
    /// Consensus knows our verdict.
    pub(super) told: bool,
    /// More than two thirds committed it.
    pub(super) certificate: Option<Certificate>,
    /// The certificate is our own consensus's.
    pub(super) decided_here: bool,
}

/// How far we are.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    New,
    Executing(Checked),
    Confirming(Outcome),
    Valid(Outcome),
    Invalid(BlockRefusal),
}

/// What a valid block does.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// For the ledger, burns included.
    pub(super) facts: Vec<Fact>,
    /// In log order.
    pub(super) burns: Vec<common::Burn>,
    /// Hash of its EL block.
    pub(super) el_hash: B256,
}

impl Candidate {
    pub(super) const fn new(block: Block, bytes: Vec<u8>) -> Self {
        Self { block, bytes, stage: Stage::New, last_round: 0, told: false, certificate: None, decided_here: false }
    }
}

impl State {
    /// Takes a block as far as it goes without waiting.
    pub(super) fn consider(&mut self, now: Millis, hash: B256, effects: &mut Vec<Effect>) {
        let next = self.head.height.saturating_add(1);
        let Some(candidate) = self.candidates.get(&hash) else { return };
        if candidate.block.header.height != next {
            return;
        }
        match &candidate.stage {
            Stage::New => self.begin(now, hash, effects),
            Stage::Executing(_) | Stage::Confirming(_) => {}
            Stage::Valid(_) => self.conclude(now, hash, None, effects),
            Stage::Invalid(reason) => {
                let reason = reason.clone();
                self.conclude(now, hash, Some(reason), effects);
            }
        }
    }

    fn begin(&mut self, now: Millis, hash: B256, effects: &mut Vec<Effect>) {
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        let time = candidate.block.header.time;
        // What two thirds have committed is not too early, whatever our clock says.
        if candidate.certificate.is_none() && self.rules.clock.is_early(time, now) {
            let wait = now.until(Millis(time.saturating_mul(1_000))).saturating_sub(self.rules.clock.slot_millis());
            effects.push(Effect::Note(Note::Waiting { hash, reason: "its time has not come".into() }));
            return self.recheck_in(now, wait, effects);
        }
        let last_round = candidate
            .certificate
            .as_ref()
            .map_or(candidate.last_round, |certificate| certificate.round.max(candidate.last_round));
        match self.rules.check(&candidate.block, &self.head, last_round, &mut self.ledger, &self.recent) {
            Ok(checked) => {
                candidate.stage = Stage::Executing(checked);
                effects.push(Effect::Execute {
                    hash,
                    payload: candidate.block.body.payload.to_vec(),
                    parent_beacon_block_root: self.head.hash,
                });
            }
            Err(reason) => self.refuse(now, hash, reason, effects),
        }
    }

    pub(super) fn on_execution(
        &mut self,
        now: Millis,
        hash: B256,
        result: Result<Execution, EngineFailure>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        let Stage::Executing(checked) = &candidate.stage else { return };
        let checked = checked.clone();
        match result {
            Err(EngineFailure(reason)) => {
                candidate.stage = Stage::New;
                effects.push(Effect::Note(Note::Waiting { hash, reason: format!("engine: {reason}") }));
                self.recheck_in(now, ENGINE_RETRY_MILLIS, effects);
            }
            Ok(Execution::Invalid(reason)) => self.refuse(now, hash, BlockRefusal::Execution(reason), effects),
            Ok(Execution::Valid { el_hash, burns }) => {
                let block = candidate.block.clone();
                let claims_bitcoin = checked.claims_bitcoin;
                match self.with_burns(&block, checked, burns) {
                    Ok(outcome) if outcome.el_hash != el_hash => self.refuse(now, hash, BlockRefusal::ExecutionHash, effects),
                    Ok(outcome) if claims_bitcoin => self.confirm(hash, outcome, effects),
                    Ok(outcome) => self.accept(now, hash, outcome, effects),
                    Err(reason) => self.refuse(now, hash, reason, effects),
                }
            }
        }
    }

    /// Adds the burns of the payload and checks that the ledger takes everything together.
    pub(super) fn with_burns(
        &mut self,
        block: &Block,
        checked: Checked,
        burns: Vec<common::Burn>,
    ) -> Result<Outcome, BlockRefusal> {
        let el_hash = payload_hash(block).map_err(BlockRefusal::PayloadForm)?;
        let mut facts = checked.facts;
        if !burns.is_empty() {
            for burn in &burns {
                facts.push(Fact::Burned(Burn::try_from(burn).map_err(BlockRefusal::BurnForm)?));
            }
            self.ledger.would_apply(Height(block.header.height), &facts).map_err(BlockRefusal::Burns)?;
        }
        Ok(Outcome { facts, burns, el_hash })
    }

    fn confirm(&mut self, hash: B256, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        candidate.stage = Stage::Confirming(outcome);
        effects.push(Effect::ValidatePegs(PegCheck {
            subject: PegSubject::Block(hash),
            view: candidate.block.header.bitcoin_view,
            peg_ins: candidate.block.body.peg_ins.to_vec(),
            settlements: candidate.block.body.settlements.to_vec(),
            deadline_millis: self.rules.clock.slot_millis(),
        }));
    }

    pub(super) fn on_peg_verdict(&mut self, now: Millis, subject: PegSubject, verdict: PegVerdict, effects: &mut Vec<Effect>) {
        match subject {
            PegSubject::Building { height, round } => self.on_building_verdict(height, round, &verdict, effects),
            PegSubject::Claim(id) => {
                if let Some(reason) = self.pending.judged(id, &verdict) {
                    effects.push(Effect::Note(Note::ClaimDropped(reason)));
                }
            }
            PegSubject::Block(hash) => {
                let Some(candidate) = self.candidates.get_mut(&hash) else { return };
                let Stage::Confirming(outcome) = &candidate.stage else { return };
                let outcome = outcome.clone();
                match verdict {
                    PegVerdict::Valid => self.accept(now, hash, outcome, effects),
                    PegVerdict::Invalid(reason) => self.refuse(now, hash, BlockRefusal::Bitcoin(reason), effects),
                    PegVerdict::Lagging(reason) => {
                        effects.push(Effect::Note(Note::Waiting { hash, reason: format!("bitcoin: {reason}") }));
                        self.lagging.push(hash);
                        self.recheck_in(now, BITCOIN_RETRY_MILLIS, effects);
                    }
                }
            }
        }
    }

    /// Tries everything again that waits.
    pub(super) fn recheck(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        self.retry_template(effects);
        for hash in std::mem::take(&mut self.lagging) {
            let stage = self.candidates.get(&hash).map(|candidate| candidate.stage.clone());
            if let Some(Stage::Confirming(outcome)) = stage {
                self.confirm(hash, outcome, effects);
            }
        }
        let waiting = |candidate: &Candidate| matches!(candidate.stage, Stage::New);
        let hashes: Vec<B256> =
            self.candidates.iter().filter(|(_, candidate)| waiting(candidate)).map(|(hash, _)| *hash).collect();
        for hash in hashes {
            self.consider(now, hash, effects);
        }
    }

    fn accept(&mut self, now: Millis, hash: B256, outcome: Outcome, effects: &mut Vec<Effect>) {
        if let Some(candidate) = self.candidates.get_mut(&hash) {
            candidate.stage = Stage::Valid(outcome);
            self.conclude(now, hash, None, effects);
        }
    }

    fn refuse(&mut self, now: Millis, hash: B256, reason: BlockRefusal, effects: &mut Vec<Effect>) {
        if let Some(candidate) = self.candidates.get_mut(&hash) {
            candidate.stage = Stage::Invalid(reason.clone());
            effects.push(Effect::Note(Note::ProposalRefused { hash, reason: reason.clone() }));
            self.conclude(now, hash, Some(reason), effects);
        }
    }

    /// A verdict is there: a committed block is committed here too, or everything stops; a proposal gets our vote.
    fn conclude(&mut self, now: Millis, hash: B256, refused: Option<BlockRefusal>, effects: &mut Vec<Effect>) {
        let Some(candidate) = self.candidates.get(&hash) else { return };
        match (candidate.certificate.is_some(), refused) {
            (true, None) => self.commit(hash, effects),
            (true, Some(reason)) => {
                let height = candidate.block.header.height;
                self.halt(HaltReason::InvalidCommitted { height, hash, reason: Box::new(reason) }, effects);
            }
            (false, refused) => self.tell_verdict(now, hash, refused.is_none(), effects),
        }
    }
}
