//! Rounds of the height that is under way: what consensus wants done, and what other validators say.

use malachite_types::{Round, SignedProposal, SignedVote, Timeout, TimeoutKind, ValidatorSet as _};

use alys_blocks::Block;

use super::consensus::codec::{BlockProposal, ProposalMessage, to_polka};
use super::consensus::context::{Address, Aura, BlockId, StepTimeouts};
use super::consensus::{Gossip, Machine, MachineError, Output, Run, WalEntry};
use super::effect::{Effect, HaltReason, Note};
use super::input::Timer;
use super::judging::Candidate;
use super::slots::Millis;
use super::state::State;

/// Votes of heights further ahead are of no use: sync is faster than voting.
const FAR_HEIGHTS: u64 = 3;
/// Proposals of the next heights that wait: a peer whose clock is ahead by less than a slot sends one. At most
/// 4 × 12 MiB.
const MAX_EARLY: usize = 4;

impl State {
    /// Goes on with a height that the log knows, or waits for the next line.
    pub(super) fn resume(&mut self, now: Millis, log: &[WalEntry], effects: &mut Vec<Effect>) -> Result<(), MachineError> {
        let (height, validators) = (self.head.height.saturating_add(1), self.next_validators());
        for entry in log {
            let WalEntry::Block(bytes) = entry else { continue };
            let block = Block::decode(bytes).map_err(|cause| MachineError::Consensus(format!("a logged block: {cause}")))?;
            let hash = self.hash_of(&block);
            self.logged_blocks.push(hash);
            self.candidates.insert(hash, Candidate::new(block, bytes.clone()));
        }
        let Some(machine) = self.machine.as_mut() else { return Ok(()) };
        if log.is_empty() {
            self.schedule_height(now, effects);
            return Ok(());
        }
        let run = machine.resume_height(height, validators, log)?;
        self.round_started = now;
        for entry in log {
            if let WalEntry::Proposal(proposal) = entry {
                self.note_round(proposal);
            }
        }
        self.drive(now, Ok(run), effects);
        for hash in log.iter().filter_map(WalEntry::proposed) {
            self.consider(now, hash, effects);
        }
        Ok(())
    }

    pub(super) fn schedule_height(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.machine.is_some() {
            let at = self.rules.clock.height_start(now, self.head.time);
            self.height_start = at;
            let timer = Timer::HeightStart { height: self.head.height.saturating_add(1) };
            effects.push(Effect::StartTimer { timer, at });
        }
    }

    pub(super) fn on_height_start(&mut self, now: Millis, height: u64, effects: &mut Vec<Effect>) {
        let validators = self.next_validators();
        if height != self.head.height.saturating_add(1) || self.committing.is_some() {
            return;
        }
        if now < self.height_start {
            effects.push(Effect::StartTimer { timer: Timer::HeightStart { height }, at: self.height_start });
            return;
        }
        if self.is_importing() || !self.may_vote(height) {
            // The line after this one: by then it is here or refused.
            return self.schedule_height(now.after(1), effects);
        }
        let Some(machine) = self.machine.as_mut().filter(|machine| machine.height() < height) else { return };
        // Nobody votes with it at the first height of a chain that is older.
        self.is_fresh &= height == 1;
        let run = machine.start_height(height, validators);
        self.round_started = now;
        self.drive(now, run, effects);
        for proposal in std::mem::take(&mut self.early) {
            self.on_proposal(now, proposal, effects);
        }
    }

    pub(super) fn on_step_timer(
        &mut self,
        now: Millis,
        height: u64,
        timeout: Timeout,
        generation: u64,
        effects: &mut Vec<Effect>,
    ) {
        let may_vote = self.may_vote(height);
        let open = |machine: &&mut Machine| machine.height() == height && height > self.head.height && may_vote;
        let Some(machine) = self.machine.as_mut().filter(open) else { return };
        let Some(position) = self.timers.iter().position(|timer| *timer == (timeout, generation)) else { return };
        self.timers.swap_remove(position);
        let run = machine.timeout(timeout);
        self.drive(now, run, effects);
    }

    /// A message of another validator. Whatever is wrong with it costs only its sender. A height that is committed is
    /// closed: whatever consensus still wanted to say about it would not be logged any more.
    pub(super) fn on_message(&mut self, now: Millis, bytes: &[u8], effects: &mut Vec<Effect>) {
        let far = self.head.height.saturating_add(FAR_HEIGHTS);
        if !self.may_vote(self.head.height.saturating_add(1)) {
            return;
        }
        let Some(machine) = self.machine.as_mut() else { return };
        let refused = |effects: &mut Vec<Effect>, why| effects.push(Effect::Note(Note::MessageRefused(why)));
        let run = match Gossip::decode(bytes) {
            Err(_) => return refused(effects, "malformed"),
            Ok(Gossip::Proposal(proposal)) => return self.on_proposal(now, proposal, effects),
            Ok(Gossip::Vote(message)) => match SignedVote::<Aura>::try_from(&message) {
                Ok(vote) if vote.height.0 <= self.head.height || vote.height.0 > far => return,
                Ok(vote) => machine.vote(vote),
                Err(_) => return refused(effects, "malformed vote"),
            },
            Ok(Gossip::Polka(certificate)) if certificate.height > self.head.height => machine.polka(to_polka(&certificate)),
            Ok(Gossip::Polka(_)) => return,
            Ok(Gossip::RoundChange(change)) => match change.to_certificate() {
                Ok(certificate) if certificate.height.0 <= self.head.height => return,
                Ok(certificate) => machine.round_change(certificate),
                Err(_) => return refused(effects, "malformed round change"),
            },
        };
        self.drive(now, run, effects);
    }

    fn on_proposal(&mut self, now: Millis, message: BlockProposal, effects: &mut Vec<Effect>) {
        let Some(current) = self.machine.as_ref().map(Machine::height) else { return };
        let signed = SignedProposal::<Aura>::from(&message.proposal);
        let (height, next) = (signed.height.0, self.head.height.saturating_add(1));
        if height < next || height > next.saturating_add(1) {
            return;
        }
        if !self.is_by_a_validator(&signed) {
            return effects.push(Effect::Note(Note::MessageRefused("proposal without a validator's signature")));
        }
        if height > current {
            if self.early.len() < MAX_EARLY && !self.early.contains(&message) {
                self.early.push(message);
            }
            return;
        }
        let hash = signed.value.0;
        let known = self.candidates.contains_key(&hash);
        match self.admit(&signed, &message.block) {
            Ok(()) => {}
            Err(why) => return effects.push(Effect::Note(Note::MessageRefused(why))),
        }
        self.note_round(&message.proposal);
        let Some(machine) = self.machine.as_mut() else { return };
        let run = machine.proposal(signed);
        let taken = run.as_ref().is_ok_and(|run| run.log.iter().any(|entry| entry.proposed() == Some(hash)));
        if !taken && !known {
            self.candidates.remove(&hash);
        }
        self.drive(now, run, effects);
    }

    fn is_by_a_validator(&self, signed: &SignedProposal<Aura>) -> bool {
        let Some(validator) = self.rules.validators.get_by_address(&signed.proposer) else { return false };
        let message = signed.clone().map(malachite::ConsensusMsg::Proposal);
        super::consensus::verify::is_signed(&self.rules.domain, &message, malachite_types::Validator::public_key(validator))
    }

    /// Decodes the block and compares it with what was signed. A fresh block has the slot of its round; one with a proof
    /// of lock an earlier one. Honest proposers do nothing else, so such a proposal is dropped, not voted on.
    fn admit(&mut self, signed: &SignedProposal<Aura>, bytes: &[u8]) -> Result<(), &'static str> {
        let hash = signed.value.0;
        if !self.candidates.contains_key(&hash) {
            let block = Block::decode(bytes).map_err(|_| "proposal without its block")?;
            if self.hash_of(&block) != hash || block.header.height != signed.height.0 {
                return Err("proposal for another block");
            }
            if !self.slot_fits(signed, block.header.slot) {
                return Err("proposal in a wrong slot");
            }
            self.candidates.insert(hash, Candidate::new(block, bytes.to_vec()));
            return Ok(());
        }
        let slot = self.candidates.get(&hash).map_or(0, |candidate| candidate.block.header.slot);
        if self.slot_fits(signed, slot) { Ok(()) } else { Err("proposal in a wrong slot") }
    }

    fn slot_fits(&self, signed: &SignedProposal<Aura>, slot: u64) -> bool {
        let slot_of = |round: u32| self.head.slot.saturating_add(1).saturating_add(u64::from(round));
        match (signed.pol_round, signed.round) {
            (Round::Nil, Round::Some(round)) => slot == slot_of(round),
            (Round::Some(locked), _) => slot <= slot_of(locked),
            (Round::Nil, Round::Nil) => false,
        }
    }

    /// The rules let a block have the slot of any round that has been reached.
    fn note_round(&mut self, message: &ProposalMessage) {
        let signed = SignedProposal::<Aura>::from(message);
        if let (Some(candidate), Some(round)) = (self.candidates.get_mut(&signed.value.0), signed.round.as_u32()) {
            candidate.last_round = candidate.last_round.max(round);
        }
    }

    /// Carries out what consensus wants: first the log, then everything else in order.
    pub(super) fn drive(&mut self, now: Millis, run: Result<Run, MachineError>, effects: &mut Vec<Effect>) {
        let run = match run {
            Ok(run) => run,
            Err(cause) => return self.halt(HaltReason::Consensus(cause.to_string()), effects),
        };
        let proposed: Vec<_> = run.log.iter().filter_map(WalEntry::proposed).collect();
        self.write_log(&run.log, effects);
        for output in run.outputs {
            self.on_output(now, output, effects);
        }
        for hash in proposed {
            self.consider(now, hash, effects);
        }
    }

    /// A proposal or verdict in the log is worth nothing without its block, so that goes before it, once.
    fn write_log(&mut self, log: &[WalEntry], effects: &mut Vec<Effect>) {
        let Some(height) = self.machine.as_ref().map(Machine::height) else { return };
        if log.is_empty() || height <= self.head.height {
            return;
        }
        let mut entries = Vec::with_capacity(log.len().saturating_add(1));
        for entry in log {
            let block = entry.proposed().or_else(|| entry.judged());
            let unlogged = block.filter(|hash| !self.logged_blocks.contains(hash));
            if let Some((hash, candidate)) = unlogged.and_then(|hash| Some((hash, self.candidates.get(&hash)?))) {
                entries.push(WalEntry::Block(candidate.bytes.clone()).encode());
                self.logged_blocks.push(hash);
            }
            entries.push(entry.encode());
        }
        effects.push(Effect::AppendWal { height, entries });
    }

    fn on_output(&mut self, now: Millis, output: Output, effects: &mut Vec<Effect>) {
        match output {
            Output::RoundStarted { round, .. } => {
                self.round_started = now;
                self.building = None;
                if round > 0 {
                    effects.push(Effect::Note(Note::RoundMissed { height: self.head.height.saturating_add(1), round }));
                }
            }
            Output::GetValue { round } => self.start_building(now, round, effects),
            Output::PublishVote(_) | Output::PublishProposal(_) | Output::PublishPolka(_) | Output::PublishRoundChange(_)
                if self.rules.validators.count() == 1 => {}
            Output::PublishVote(vote) => self.publish(&Gossip::Vote((&vote).into()), effects),
            Output::PublishProposal(proposal) => {
                let block = self.candidates.get(&proposal.value.0).map(|candidate| candidate.bytes.clone()).unwrap_or_default();
                let message = BlockProposal { proposal: (&proposal).into(), block };
                self.publish(&Gossip::Proposal(message), effects);
            }
            Output::PublishPolka(certificate) => self.publish(&Gossip::Polka(certificate), effects),
            Output::PublishRoundChange(change) => self.publish(&Gossip::RoundChange(change), effects),
            Output::StartTimer(timeout) => self.start_step_timer(now, timeout, effects),
            Output::CancelTimer(timeout) => self.timers.retain(|(running, _)| *running != timeout),
            Output::CancelTimers => self.timers.clear(),
            Output::Decided(certificate) => self.on_decided(now, certificate, effects),
            Output::Equivocation(evidence) => {
                self.equivocations = self.equivocations.saturating_add(1);
                effects.push(Effect::Note(Note::Equivocation(evidence.validator())));
                effects.push(Effect::KeepEvidence(Box::new(evidence.record(&self.rules.domain, now.0))));
            }
        }
    }

    fn publish(&self, message: &Gossip, effects: &mut Vec<Effect>) {
        effects.extend(self.machine.as_ref().map(|machine| Effect::Publish(machine.speak(message))));
    }

    /// The last step of a round ends with its slot, so that rounds follow the grid.
    fn start_step_timer(&mut self, now: Millis, timeout: Timeout, effects: &mut Vec<Effect>) {
        let Some(height) = self.machine.as_ref().map(Machine::height) else { return };
        let slot = self.rules.clock.slot_millis();
        let lasts = u64::try_from(StepTimeouts::new(slot).duration(timeout).as_millis()).unwrap_or(u64::MAX);
        let mut at = now.after(lasts);
        if timeout.kind == TimeoutKind::Precommit {
            at = at.max(self.round_started.after(slot));
        }
        self.generation = self.generation.saturating_add(1);
        self.timers.retain(|(running, _)| *running != timeout);
        self.timers.push((timeout, self.generation));
        effects.push(Effect::StartTimer { timer: Timer::Step { height, timeout, generation: self.generation }, at });
    }

    fn next_validators(&self) -> super::consensus::ValidatorSet {
        self.rules.validators.at(self.head.slot.saturating_add(1))
    }

    /// Tells consensus the verdict on a block.
    pub(super) fn tell_verdict(&mut self, now: Millis, hash: alloy_primitives::B256, valid: bool, effects: &mut Vec<Effect>) {
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        let Some(machine) = self.machine.as_mut() else { return };
        let height = candidate.block.header.height;
        if candidate.told || machine.height() != height {
            return;
        }
        candidate.told = true;
        let round = super::rules::round_of(&candidate.block, &self.head).unwrap_or(candidate.last_round);
        let Address(proposer) = Address(candidate.block.header.proposer);
        let run = machine.judged(height, round, proposer, BlockId(hash), valid);
        self.drive(now, run, effects);
    }
}
