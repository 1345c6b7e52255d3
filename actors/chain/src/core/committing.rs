//! The one path by which the head moves: a valid block with a certificate goes to storage, then to the engine, and only
//! when both have it the head and the ledger here move on.

use std::time::Duration;

use alloy_primitives::B256;
use alys_peg::Fact;
use alys_proto::Height;
use alys_proto::common::CommittedBlock;
use alys_proto::storage::LedgerFact;

use super::effect::{Commit, Effect, HaltReason};
use super::judging::Stage;
use super::rules::{BlockRefusal, Head};
use super::slots::Millis;
use super::state::State;

/// A block on its way to the disk.
#[derive(Clone, Debug)]
pub(super) struct Committing {
    hash: B256,
    is_ours: bool,
    head: Head,
    facts: Vec<Fact>,
}

impl State {
    pub(super) fn commit(&mut self, hash: B256, effects: &mut Vec<Effect>) {
        if self.committing.is_some() {
            // The same block again: `certify` has stopped everything if it were another.
            return;
        }
        let Some(candidate) = self.candidates.get(&hash) else { return };
        let (Stage::Valid(outcome), Some(certificate)) = (&candidate.stage, &candidate.certificate) else { return };
        let header = &candidate.block.header;
        let height = Height(header.height);
        let facts: Vec<LedgerFact> = outcome.facts.iter().map(|fact| fact.at(height)).collect();
        let head = Head {
            height: header.height,
            hash,
            slot: header.slot,
            time: header.time,
            el_hash: outcome.el_hash,
            view: header.bitcoin_view,
            certificate: certificate.clone(),
        };
        effects.push(Effect::CommitBlock(Box::new(Commit {
            block: CommittedBlock {
                height: header.height,
                hash: hash.to_vec(),
                block: candidate.bytes.clone(),
                certificate: certificate.encode(),
                burns: outcome.burns.clone(),
            },
            hash,
            parent_hash: self.head.hash,
            facts,
            el_hash: outcome.el_hash,
            decided_here: candidate.decided_here,
            more: !candidate.decided_here && self.is_followed(header.height),
        })));
        let is_ours = self.machine.as_ref().is_some_and(|machine| machine.address() == header.proposer);
        self.committing = Some(Committing { hash, is_ours, head, facts: outcome.facts.clone() });
    }

    pub(super) fn on_committed(&mut self, now: Millis, hash: B256, effects: &mut Vec<Effect>) {
        let Some(done) = self.committing.take_if(|committing| committing.hash == hash) else { return };
        let height = done.head.height;
        if let Err(violation) = self.ledger.apply(Height(height), &done.facts) {
            // It was checked against this very ledger before; memory and disk disagree now.
            let reason = Box::new(BlockRefusal::Ledger(violation));
            return self.halt(HaltReason::InvalidCommitted { height, hash, reason }, effects);
        }
        let turns = done.head.slot.saturating_sub(self.head.slot);
        self.missed_slots = self.missed_slots.saturating_add(turns.saturating_sub(1));
        self.latency_millis = Millis(done.head.time.saturating_mul(1_000)).until(now);
        self.latencies.observe(Duration::from_millis(self.latency_millis).as_secs_f64());
        self.proposed = self.proposed.saturating_add(u64::from(done.is_ours));
        self.committed_at = now;
        self.remember(height, hash);
        let made = Millis(done.head.time.saturating_mul(1_000));
        self.silent_until = self.silent_until.filter(|until| made <= *until);
        self.head = done.head;
        self.candidates.retain(|_, candidate| candidate.block.header.height > height);
        self.lagging.clear();
        self.logged_blocks.clear();
        self.building = None;
        self.pending.prune(&self.ledger);
        self.prune_work();
        self.ask_about_suspects(effects);
        self.ask_for_view(effects);
        self.advance_imports(now, effects);
        self.schedule_height(now, effects);
    }
}
