//! Merged mining from the side of this node: what it hands out to miners, and the bundle that waits for a block of ours.
//!
//! | asked | state | answer |
//! |---|---|---|
//! | something to mine | the chain is not merge-mined, or we have no validator key | refused |
//! | | a bundle waits for our turn, or there is no block yet | busy: its work would be for nothing |
//! | | else | a claim for all unsettled blocks; the same question at the same head gets the same answer |
//! | a proof | of a hash that we did not hand out, or of a range that is settled by now | refused |
//! | | it does not hold | refused, with the rule |
//! | | it holds | accepted: it goes into our next block |
//!
//! What was handed out stays good while the head moves, until its range is settled by somebody. A bundle is kept in memory by
//! the one validator that it was sent to: if that one dies before its turn, the work is done again.

use std::collections::VecDeque;

use alloy_primitives::{Address, U256};
use alys_blocks::limits::MaxBundleBytes;
use alys_pow::{AuxPow, BlockRef, Bundle, Claim, Halted, MinedHash};
use ssz_types::VariableList;

use super::effect::{Answer, Effect, Note};
use super::input::Ticket;
use super::rules::Work;
use super::slots::Millis;
use super::state::State;

/// Claims that were handed out and not settled since; at about 200 bytes 200 KiB. The oldest fall out: at a new one for
/// each block and miner that is an hour of work for many miners.
const MAX_HANDED_OUT: usize = 1_024;

/// What `createauxblock` answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuxBlock {
    /// To be committed to.
    pub hash: MinedHash,
    /// Number in merged mining.
    pub chain_id: u32,
    /// Last block of the range: the head.
    pub end: BlockRef,
    /// Compact target.
    pub bits: u32,
    /// Target.
    pub target: U256,
}

/// For people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkStatus {
    /// Last settled block.
    pub settled_height: u64,
    /// Number of the last bundle.
    pub bundles: u64,
    /// Committed blocks that wait for work.
    pub unsettled: u64,
    /// Compact target of the next bundle.
    pub bits: u32,
    /// The next block must hold a bundle.
    pub wanted: bool,
    /// A bundle waits for our turn.
    pub pending: bool,
    /// Proofs of miners that were refused, since the start.
    pub refused_proofs: u64,
}

/// What only this node knows.
#[derive(Debug, Default)]
pub(super) struct Mining {
    handed_out: VecDeque<(MinedHash, Claim)>,
    /// With its number.
    pending: Option<(u64, VariableList<u8, MaxBundleBytes>)>,
    refused_proofs: u64,
    /// Height for which it was said that it waits: said once, not in every slot.
    said_for: u64,
}

impl State {
    pub(super) fn on_aux_block_wanted(&mut self, ticket: Ticket, fee_recipient: Address, effects: &mut Vec<Effect>) {
        let answer = self.aux_block(fee_recipient).map_or_else(|answer| answer, Answer::AuxBlock);
        effects.push(Effect::Answer { ticket, answer });
    }

    fn aux_block(&mut self, fee_recipient: Address) -> Result<AuxBlock, Answer> {
        let work = self.mined()?;
        if self.mining.pending.is_some() {
            return Err(Answer::Busy("a bundle waits for this validator's turn".into()));
        }
        let settled = work.settled(&self.ledger);
        let start = self.recent.get(&settled.end.height.saturating_add(1)).copied();
        let start = start.ok_or_else(|| Answer::Busy("there is no block to settle yet".into()))?;
        let end = BlockRef { height: self.head.height, hash: self.head.hash };
        let claim = settled.next_claim(start, end, fee_recipient);
        let hash = claim.mined_hash(&work.rules.domain, work.rules.chain_id);
        let chain_id = work.rules.aux_chain_id.to_u32();
        let target = settled.bits.target().0;
        let handed_out = &mut self.mining.handed_out;
        if !handed_out.iter().any(|(known, _)| *known == hash) {
            if handed_out.len() >= MAX_HANDED_OUT {
                handed_out.pop_front();
            }
            handed_out.push_back((hash, claim));
        }
        Ok(AuxBlock { hash, chain_id, end, bits: claim.bits, target })
    }

    pub(super) fn on_aux_block_solved(
        &mut self,
        now: Millis,
        ticket: Ticket,
        hash: MinedHash,
        proof: &[u8],
        effects: &mut Vec<Effect>,
    ) {
        let answer = match self.take_solved(now, hash, proof) {
            Ok(()) => Answer::Accepted,
            Err(answer) => {
                self.mining.refused_proofs = self.mining.refused_proofs.saturating_add(1);
                answer
            }
        };
        effects.push(Effect::Answer { ticket, answer });
    }

    fn take_solved(&mut self, now: Millis, hash: MinedHash, proof: &[u8]) -> Result<(), Answer> {
        let work = self.mined()?;
        let refused = |cause: &dyn std::fmt::Display| Answer::Refused(cause.to_string());
        let claim = self.mining.handed_out.iter().find(|(known, _)| *known == hash).map(|(_, claim)| *claim);
        let claim = claim.ok_or_else(|| refused(&"unknown hash: never handed out here, or its blocks are settled by now"))?;
        let proof = AuxPow::decode(proof).map_err(|cause| refused(&cause))?;
        let bundle = Bundle { claim, proof };
        work.judge(&bundle, &self.ledger, &self.recent, now.0 / 1_000).map_err(|cause| refused(&cause))?;
        let bytes = bundle.encode().map_err(|cause| refused(&cause))?;
        // The first one wins: whoever solves the same range again has no better claim.
        self.mining.pending.get_or_insert((claim.sequence, bytes));
        Ok(())
    }

    /// For miners: only who makes blocks can put a bundle into one.
    fn mined(&self) -> Result<Work, Answer> {
        let work = self.rules.work.ok_or_else(|| Answer::Refused("this chain has no merged mining".into()))?;
        if self.machine.is_none() {
            return Err(Answer::Refused("this node has no validator key and proposes nothing".into()));
        }
        Ok(work)
    }

    /// The bundle for our next block. Committed blocks stay, so what held when it came holds until its range is settled.
    pub(super) fn pending_bundle(&self) -> Option<VariableList<u8, MaxBundleBytes>> {
        self.mining.pending.as_ref().map(|(_, bytes)| bytes.clone())
    }

    /// Whether our turn at this height passes without a block, as each turn does until a bundle comes.
    pub(super) fn lets_turn_pass(&mut self, height: u64, effects: &mut Vec<Effect>) -> bool {
        let Some(halted) = self.wants_work() else { return false };
        if self.mining.said_for != height {
            self.mining.said_for = height;
            effects.push(Effect::Note(Note::WantsWork(halted)));
        }
        true
    }

    /// Whether the next block needs a bundle.
    fn wants_work(&self) -> Option<Halted> {
        let work = self.rules.work.as_ref()?;
        work.rules.check_unsettled(work.settled(&self.ledger), self.head.height.saturating_add(1)).err()
    }

    /// The head moved: what waited or was handed out for blocks that are settled now is worth nothing.
    pub(super) fn prune_work(&mut self) {
        let Some(work) = &self.rules.work else { return };
        let next = work.settled(&self.ledger).sequence.saturating_add(1);
        self.mining.handed_out.retain(|(_, claim)| claim.sequence == next);
        self.mining.pending.take_if(|(sequence, _)| *sequence != next);
    }

    pub(super) fn work_status(&self) -> Option<WorkStatus> {
        let work = self.rules.work.as_ref()?;
        let settled = work.settled(&self.ledger);
        Some(WorkStatus {
            settled_height: settled.end.height,
            bundles: settled.sequence,
            unsettled: self.head.height.saturating_sub(settled.end.height),
            bits: settled.bits.to_u32(),
            wanted: self.wants_work().is_some(),
            pending: self.mining.pending.is_some(),
            refused_proofs: self.mining.refused_proofs,
        })
    }
}
