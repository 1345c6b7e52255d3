//! Committed blocks from outside: gossip and sync. A certificate is proof enough that a block is final; whether it is
//! *right* is judged here as for any other block.

use alloy_primitives::B256;
use alys_blocks::{Block, Certificate};

use super::effect::{Answer, Effect, HaltReason, Note};
use super::input::{ImportedBlock, Ticket};
use super::judging::Candidate;
use super::slots::Millis;
use super::state::State;

/// Blocks of batches that wait: two answers of storage's size limit are far below.
const MAX_IMPORTS: usize = 2_048;

/// A validator with an empty disk sits out the two heights after the newest that it hears of. Below this the chain has just
/// begun, and so has everybody's disk.
const LOSS_MARGIN: u64 = 3;

/// A block that waits for its turn.
#[derive(Debug)]
pub(super) struct BlockImportRequest {
    block: ImportedBlock,
    /// On the last block of a batch.
    ticket: Option<Ticket>,
    /// It is a candidate now.
    started: bool,
}

impl State {
    pub(super) fn on_block_received(&mut self, now: Millis, received: ImportedBlock, effects: &mut Vec<Effect>) {
        let next = self.head.height.saturating_add(1);
        if received.height < next {
            return self.compare_with_ours(received.height, &received.certificate, effects);
        }
        if received.height == next {
            if let Err(reason) = self.admit_certified(now, received, effects) {
                effects.push(Effect::Note(Note::ImportRefused(reason)));
            }
            return;
        }
        if self.proves(received.height, &received.certificate) {
            self.learn_target(received.height);
            effects.push(Effect::SyncRequired { local: self.head.height, target: self.sync_target });
        } else {
            effects.push(Effect::Note(Note::ImportRefused("its certificate proves nothing".into())));
        }
    }

    pub(super) fn on_batch(&mut self, now: Millis, ticket: Ticket, blocks: Vec<ImportedBlock>, effects: &mut Vec<Effect>) {
        if self.imports.len().saturating_add(blocks.len()) > MAX_IMPORTS {
            let answer = Answer::Busy("too many blocks wait to be imported".into());
            return effects.push(Effect::Answer { ticket, answer });
        }
        let last = blocks.len().saturating_sub(1);
        if blocks.is_empty() {
            let answer = Answer::Imported(self.head.height);
            return effects.push(Effect::Answer { ticket, answer });
        }
        for (position, block) in blocks.into_iter().enumerate() {
            let ticket = (position == last).then_some(ticket);
            self.imports.push_back(BlockImportRequest { block, ticket, started: false });
        }
        self.advance_imports(now, effects);
    }

    /// Others have committed this height without us.
    fn learn_target(&mut self, height: u64) {
        self.sync_target = self.sync_target.max(height);
        if self.is_fresh && height >= LOSS_MARGIN {
            self.votes_from = self.sync_target.saturating_add(LOSS_MARGIN);
        }
    }

    /// A validator that is behind has nothing to say. One whose disk was lost may have voted at the height that is under
    /// way, or at the next when its peers were behind: it waits until these are past, and never votes twice. One that was
    /// restored from a backup waits for a block that was made since it began to be silent.
    pub(super) const fn may_vote(&self, height: u64) -> bool {
        height > self.sync_target && height >= self.votes_from && self.silent_until.is_none()
    }

    /// Whether the next height comes from outside.
    pub(super) fn is_importing(&self) -> bool {
        let next = self.head.height.saturating_add(1);
        self.imports.front().is_some_and(|import| import.block.height == next)
            || self.candidates.values().any(|candidate| candidate.certificate.is_some() && candidate.block.header.height == next)
    }

    /// Whether the batch that a block came with goes on after it.
    pub(super) fn is_followed(&self, height: u64) -> bool {
        let mut imports = self.imports.iter();
        let is_of_batch = imports.next().is_some_and(|import| import.block.height == height && import.ticket.is_none());
        is_of_batch && imports.next().is_some_and(|next| Some(next.block.height) == height.checked_add(1))
    }

    /// Answers for what is committed and starts the next one.
    pub(super) fn advance_imports(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while self.halted.is_none() {
            let next = self.head.height.saturating_add(1);
            let Some(front) = self.imports.front_mut() else { return };
            if front.block.height < next {
                let Some(done) = self.imports.pop_front() else { return };
                self.compare_with_ours(done.block.height, &done.block.certificate, effects);
                if let Some(ticket) = done.ticket {
                    effects.push(Effect::Answer { ticket, answer: Answer::Imported(self.head.height) });
                }
                continue;
            }
            if front.started {
                return;
            }
            if front.block.height > next {
                let reason = format!("block {} does not follow the head {}", front.block.height, self.head.height);
                self.drop_batch(reason, effects);
                continue;
            }
            front.started = true;
            let block = front.block.clone();
            if let Err(reason) = self.admit_certified(now, block, effects) {
                self.drop_batch(reason, effects);
                continue;
            }
            return;
        }
    }

    /// The rest of a batch is worth nothing without this block.
    fn drop_batch(&mut self, reason: String, effects: &mut Vec<Effect>) {
        while let Some(import) = self.imports.pop_front() {
            if let Some(ticket) = import.ticket {
                effects.push(Effect::Answer { ticket, answer: Answer::ImportRefused(reason) });
                return;
            }
        }
    }

    fn proves(&self, height: u64, certificate: &Certificate) -> bool {
        certificate.height == height && certificate.verify(&self.rules.domain, &self.rules.spec.validators).is_ok()
    }

    /// A block of the next height with its certificate becomes a candidate.
    fn admit_certified(&mut self, now: Millis, received: ImportedBlock, effects: &mut Vec<Effect>) -> Result<(), String> {
        let certificate = received.certificate;
        if certificate.height != received.height {
            return Err("the certificate is of another height".into());
        }
        certificate.verify(&self.rules.domain, &self.rules.spec.validators).map_err(|cause| cause.to_string())?;
        let hash = certificate.block;
        if !self.candidates.contains_key(&hash) {
            let block = Block::decode(&received.block).map_err(|cause| cause.to_string())?;
            if self.hash_of(&block) != hash || block.header.height != received.height {
                return Err("the certificate is of another block".into());
            }
            self.candidates.insert(hash, Candidate::new(block, received.block));
        }
        self.certify(now, hash, certificate, effects);
        Ok(())
    }

    /// Consensus decided.
    pub(super) fn on_decided(&mut self, now: Millis, certificate: Certificate, effects: &mut Vec<Effect>) {
        let hash = certificate.block;
        if let Some(candidate) = self.candidates.get_mut(&hash).filter(|candidate| candidate.certificate.is_none()) {
            candidate.decided_here = true;
        }
        self.certify(now, hash, certificate, effects);
    }

    fn certify(&mut self, now: Millis, hash: B256, certificate: Certificate, effects: &mut Vec<Effect>) {
        let height = certificate.height;
        let rival = self.candidates.iter().find(|(other, candidate)| {
            **other != hash && candidate.certificate.is_some() && candidate.block.header.height == height
        });
        if let Some((ours, _)) = rival {
            let ours = *ours;
            return self.halt(HaltReason::Fork { height, ours, theirs: hash }, effects);
        }
        let Some(candidate) = self.candidates.get_mut(&hash) else { return };
        candidate.certificate.get_or_insert(certificate);
        self.consider(now, hash, effects);
    }

    /// Two valid certificates for one height: halt, never choose.
    fn compare_with_ours(&mut self, height: u64, certificate: &Certificate, effects: &mut Vec<Effect>) {
        let Some(ours) = self.recent.get(&height).copied().filter(|ours| *ours != certificate.block) else { return };
        if self.proves(height, certificate) {
            self.halt(HaltReason::Fork { height, ours, theirs: certificate.block }, effects);
        } else {
            effects.push(Effect::Note(Note::ImportRefused("its certificate proves nothing".into())));
        }
    }
}
