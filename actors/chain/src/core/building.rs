//! Our own blocks: it is our turn, so gather claims, let bridge confirm them, let the engine build, propose.
//!
//! Nothing slow may stop an empty block: without a view of Bitcoin, or without bridge's word in time, the block takes
//! no claim that needs either and keeps its parent's view.

use alys_blocks::limits::{MAX_BLOCK_BYTES, MaxBundleBytes};
use alys_blocks::{BLOCK_VERSION, BitcoinView, Block, Body, Header};
use ssz_types::VariableList;

use super::claims::Selection;
use super::consensus::{BlockId, Machine};
use super::effect::{Effect, Note, PegCheck, TemplateRequest};
use super::input::{EngineFailure, PegSubject, PegVerdict, Template};
use super::judging::{Candidate, Stage};
use super::rules::{self, BlockRefusal};
use super::slots::Millis;
use super::state::State;

/// The engine could not build: the next attempt, milliseconds.
const RETRY_MILLIS: u64 = 100;

/// A block of ours that is not proposed yet.
#[derive(Clone, Debug)]
pub(super) struct Building {
    height: u64,
    round: u32,
    time: u64,
    view: BitcoinView,
    selection: Selection,
    bundle: Option<VariableList<u8, MaxBundleBytes>>,
    stage: BuildStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuildStage {
    /// Bridge compares the claims with Bitcoin.
    Confirming,
    /// The engine builds.
    Building,
    /// The engine could not; to be asked again.
    Failed,
}

impl State {
    pub(super) fn start_building(&mut self, now: Millis, round: u32, effects: &mut Vec<Effect>) {
        let time = self.rules.clock.block_time(now, self.head.time);
        if self.rules.clock.is_early(time, now) {
            // Nobody with a right clock would vote for it. The round ends without a block.
            let found = BlockRefusal::Time { time, parent: self.head.time };
            return self.refuse_own(found, effects);
        }
        let height = self.head.height.saturating_add(1);
        let bundle = self.pending_bundle();
        if bundle.is_none() && self.lets_turn_pass(height, effects) {
            return;
        }
        let view = self.bitcoin.filter(|tip| tip.height >= self.head.view.height);
        let selection = self.pending.select(view.as_ref(), &self.rules, &mut self.ledger);
        let view = view.filter(|_| selection.claims_bitcoin()).unwrap_or(self.head.view);
        let building = Building { height, round, time, view, selection, bundle, stage: BuildStage::Confirming };
        if building.selection.claims_bitcoin() {
            effects.push(Effect::ValidatePegs(PegCheck {
                subject: PegSubject::Building { height, round },
                view,
                peg_ins: building.selection.peg_ins.clone(),
                settlements: building.selection.settlements.clone(),
                deadline_millis: self.rules.clock.slot_millis() / 4,
            }));
            self.building = Some(building);
        } else {
            self.building = Some(building);
            self.request_template(effects);
        }
    }

    /// Bridge's word on the claims of our block.
    pub(super) fn on_building_verdict(&mut self, height: u64, round: u32, verdict: &PegVerdict, effects: &mut Vec<Effect>) {
        let confirming = |building: &&mut Building| {
            (building.height, building.round, building.stage) == (height, round, BuildStage::Confirming)
        };
        let Some(building) = self.building.as_mut().filter(confirming) else { return };
        if *verdict != PegVerdict::Valid {
            self.pending.suspect(&building.selection);
            building.selection.peg_ins.clear();
            building.selection.settlements.clear();
            building.view = self.head.view;
            self.ask_about_suspects(effects);
        }
        self.request_template(effects);
    }

    /// Claims that were not confirmed together are asked about one by one.
    pub(super) fn ask_about_suspects(&self, effects: &mut Vec<Effect>) {
        let Some(view) = self.bitcoin else { return };
        for (id, alone) in self.pending.suspects() {
            effects.push(Effect::ValidatePegs(PegCheck {
                subject: PegSubject::Claim(id),
                view,
                peg_ins: alone.peg_ins,
                settlements: alone.settlements,
                deadline_millis: self.rules.clock.slot_millis(),
            }));
        }
    }

    fn request_template(&mut self, effects: &mut Vec<Effect>) {
        let Some(facts) = self.building.as_ref().map(|building| building.selection.facts()) else { return };
        let justified = rules::justified(&self.ledger, &facts).map_err(|reason| self.refuse_own(reason, effects));
        let Some(building) = self.building.as_mut() else { return };
        let withdrawals = justified.unwrap_or_else(|()| {
            building.selection = Selection::default();
            Vec::new()
        });
        building.stage = BuildStage::Building;
        effects.push(Effect::GetTemplate(TemplateRequest {
            height: building.height,
            round: building.round,
            parent_el_hash: self.head.el_hash,
            parent_hash: self.head.hash,
            timestamp: building.time,
            withdrawals,
            causes: building.selection.causes(),
            time_budget_millis: self.rules.clock.slot_millis() / 4,
        }));
    }

    /// Asks the engine again if it could not build.
    pub(super) fn retry_template(&mut self, effects: &mut Vec<Effect>) {
        if self.building.as_ref().is_some_and(|building| building.stage == BuildStage::Failed) {
            self.request_template(effects);
        }
    }

    pub(super) fn on_template(
        &mut self,
        now: Millis,
        height: u64,
        round: u32,
        result: Result<Template, EngineFailure>,
        effects: &mut Vec<Effect>,
    ) {
        let wanted =
            |building: &&mut Building| (building.height, building.round, building.stage) == (height, round, BuildStage::Building);
        let Some(building) = self.building.as_mut().filter(wanted) else { return };
        let template = match result {
            Ok(template) => template,
            Err(EngineFailure(reason)) => {
                building.stage = BuildStage::Failed;
                effects.push(Effect::Note(Note::EngineAway(reason)));
                return self.recheck_in(now, RETRY_MILLIS, effects);
            }
        };
        let had_claims = building.selection != Selection::default();
        match self.assemble(template) {
            Ok(candidate) => self.propose(now, round, candidate, effects),
            Err(reason) => {
                self.refuse_own(reason, effects);
                // Once more without claims: an empty block is better than none.
                if let Some(building) = self.building.as_mut().filter(|_| had_claims) {
                    building.selection = Selection::default();
                    building.view = self.head.view;
                    self.request_template(effects);
                } else {
                    self.building = None;
                }
            }
        }
    }

    /// Our block passes the same rules as anybody's before it is proposed.
    fn assemble(&mut self, template: Template) -> Result<Candidate, BlockRefusal> {
        let Some(building) = self.building.clone() else { return Err(BlockRefusal::Parent(self.head.hash)) };
        let too_long = |bytes: usize| BlockRefusal::PayloadForm(alys_blocks::payload::PayloadError::TooLong(bytes));
        let length = template.payload.len();
        let payload = VariableList::new(template.payload).map_err(|_| too_long(length))?;
        let mut body = Body::empty(self.head.certificate.clone(), payload);
        let too_many = |_| too_long(MAX_BLOCK_BYTES);
        body.peg_ins = VariableList::new(building.selection.peg_ins.clone()).map_err(too_many)?;
        body.payouts = VariableList::new(building.selection.payout_records()).map_err(too_many)?;
        body.settlements = VariableList::new(building.selection.settlements.clone()).map_err(too_many)?;
        body.refunds = VariableList::new(building.selection.refund_records()).map_err(too_many)?;
        body.governance = VariableList::new(building.selection.governance_records()).map_err(too_many)?;
        body.bundle = VariableList::new(building.bundle.into_iter().collect()).map_err(too_many)?;
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: self.rules.spec.chain_id,
            height: building.height,
            slot: self.head.slot.saturating_add(1).saturating_add(u64::from(building.round)),
            time: building.time,
            proposer: self.machine.as_ref().map(Machine::address).unwrap_or_default(),
            parent: self.head.hash,
            bitcoin_view: building.view,
            ..Header::default()
        };
        let block = Block::new(header, body);
        let bytes = block.encode();
        if bytes.len() > MAX_BLOCK_BYTES {
            return Err(too_long(bytes.len()));
        }
        let checked = self.rules.check(&block, &self.head, building.round, &mut self.ledger, &self.recent)?;
        let outcome = self.with_burns(&block, checked, template.burns)?;
        let mut candidate = Candidate::new(block, bytes);
        candidate.last_round = building.round;
        // Malachite takes our own value as valid when it is proposed.
        candidate.told = true;
        candidate.stage = Stage::Valid(outcome);
        Ok(candidate)
    }

    fn propose(&mut self, now: Millis, round: u32, candidate: Candidate, effects: &mut Vec<Effect>) {
        let hash = self.hash_of(&candidate.block);
        let height = candidate.block.header.height;
        self.building = None;
        self.candidates.insert(hash, candidate);
        let Some(machine) = self.machine.as_mut() else { return };
        let run = machine.propose(height, round, BlockId(hash));
        self.drive(now, run, effects);
    }
}
