//! Which blocks are settled: a fold over the bundles in the chain, so all nodes with the same blocks agree.
//!
//! | at a block | rule |
//! |---|---|
//! | it holds a bundle | number = last + 1, range begins right after the last settled block and ends at or before the block's parent, both ends are blocks of this chain, bits are the expected ones, the proof holds |
//! | it holds none | nothing is settled |
//! | either way | after that, at most `max_blocks_without_pow` blocks up to and with this one are unsettled |
//!
//! The last rule is what halts and resumes: a chain that has used up its allowance can only go on with a block that holds a
//! bundle, and any bundle will do, for it settles at least one block.

use std::num::NonZeroU64;

use alloy_primitives::B256;
use alys_blocks::ChainDomain;

use crate::bits::Bits;
use crate::bundle::Bundle;
use crate::chain_id::AuxChainId;
use crate::check::{Expected, ProofRefusal};
use crate::claim::{BlockRef, Claim};
use crate::retarget::Retarget;

/// The rules of work of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkRules {
    /// Hashing context.
    pub domain: ChainDomain,
    /// EVM chain id.
    pub chain_id: u64,
    /// Number in merged mining.
    pub aux_chain_id: AuxChainId,
    /// How the target moves.
    pub retarget: Retarget,
    /// How many blocks may wait for work.
    pub max_blocks_without_pow: NonZeroU64,
}

/// What the bundles up to some block have settled, and what the next one must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Number of the last bundle; 0 before any.
    pub sequence: u64,
    /// The last settled block; before any bundle the one before merged mining begins.
    pub end: BlockRef,
    /// What the next bundle must meet.
    pub bits: Bits,
    /// When the window of the retarget began, Unix seconds.
    pub window_start: u64,
}

/// The chain that a bundle joins.
#[derive(Clone, Copy)]
pub struct Committed<'a> {
    /// Height of the parent of the block that holds the bundle.
    pub head: u64,
    /// Hash of the block at a height. Must know all blocks after the last settled one up to the head.
    pub hash_at: &'a dyn Fn(u64) -> Option<B256>,
}

/// Why a range cannot be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettlementRefusal {
    /// Not the next number.
    #[error("bundle {found}, {expected} is next")]
    Sequence {
        /// The claim's.
        found: u64,
        /// Last + 1.
        expected: u64,
    },
    /// A gap, or blocks that are settled already.
    #[error("the range begins at block {found}, {expected} is the first unsettled")]
    Start {
        /// The claim's.
        found: u64,
        /// Last settled + 1.
        expected: u64,
    },
    /// No block is in the range.
    #[error("the range ends at block {end}, before it begins at {start}")]
    Empty {
        /// First height.
        start: u64,
        /// Last height.
        end: u64,
    },
    /// Blocks that are not committed yet.
    #[error("the range ends at block {end}, above the committed head {head}")]
    AboveHead {
        /// Last height of the range.
        end: u64,
        /// The head.
        head: u64,
    },
    /// A block of another chain.
    #[error("block {0} of the range is not the committed one")]
    OtherBlock(u64),
    /// Not the target that the chain so far asks for.
    #[error("bits {found:#010x}, {expected:#010x} are expected")]
    Bits {
        /// The claim's.
        found: u32,
        /// By the chain.
        expected: u32,
    },
}

/// Why a bundle may not be in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleRefusal {
    /// Its range.
    #[error(transparent)]
    Settlement(#[from] SettlementRefusal),
    /// Its proof.
    #[error(transparent)]
    Proof(#[from] ProofRefusal),
}

/// Too many blocks wait for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{unsettled} blocks without work, at most {max} are allowed")]
pub struct Halted {
    /// Blocks after the last settled one, with the one that is asked about.
    pub unsettled: u64,
    /// `max_blocks_without_pow`.
    pub max: NonZeroU64,
}

impl WorkRules {
    /// Whether `bundle` may be in the block at `time` (Unix seconds) that follows `chain.head`, and what is settled then.
    pub fn judge(&self, before: &Settled, bundle: &Bundle, chain: &Committed<'_>, time: u64) -> Result<Settled, BundleRefusal> {
        before.check_claim(&bundle.claim, chain)?;
        bundle.proof.check(&self.expected(before, &bundle.claim))?;
        Ok(before.after(&bundle.claim, time, &self.retarget))
    }

    /// What the proof of a claim must prove.
    pub fn expected(&self, before: &Settled, claim: &Claim) -> Expected {
        let mined_hash = claim.mined_hash(&self.domain, self.chain_id);
        Expected { chain_id: self.aux_chain_id, mined_hash, target: before.bits.target() }
    }

    /// Whether a block at `height` may be made or accepted, when after its own bundle, if it has one, `settled` is settled.
    pub fn check_unsettled(&self, settled: &Settled, height: u64) -> Result<(), Halted> {
        let unsettled = height.saturating_sub(settled.end.height);
        let max = self.max_blocks_without_pow;
        if unsettled > max.get() { Err(Halted { unsettled, max }) } else { Ok(()) }
    }
}

impl Settled {
    /// Before the first bundle. `last` is the last block that needs no work, made at `time` (Unix seconds); `bits` is the
    /// first target, made as easy as the limit if it is easier.
    pub fn start(last: BlockRef, time: u64, bits: Bits, retarget: &Retarget) -> Self {
        let bits = if bits.target() > retarget.limit().target() { retarget.limit() } else { bits };
        Self { sequence: 0, end: last, bits, window_start: time }
    }

    /// The claim to mine: all blocks up to `end`, which must be above the last settled one.
    pub fn next_claim(&self, start: B256, end: BlockRef, fee_recipient: alloy_primitives::Address) -> Claim {
        Claim {
            start: BlockRef { height: self.end.height.saturating_add(1), hash: start },
            end,
            bits: self.bits.to_u32(),
            fee_recipient,
            sequence: self.sequence.saturating_add(1),
        }
    }

    /// Whether the range of a claim is the next to settle. Numbers first, then the chain is asked.
    pub fn check_claim(&self, claim: &Claim, chain: &Committed<'_>) -> Result<(), SettlementRefusal> {
        let next = self.next_claim(claim.start.hash, claim.end, claim.fee_recipient);
        let (start, end) = (claim.start, claim.end);
        if claim.sequence != next.sequence {
            return Err(SettlementRefusal::Sequence { found: claim.sequence, expected: next.sequence });
        }
        if start.height != next.start.height {
            return Err(SettlementRefusal::Start { found: start.height, expected: next.start.height });
        }
        if end.height < start.height {
            return Err(SettlementRefusal::Empty { start: start.height, end: end.height });
        }
        if end.height > chain.head {
            return Err(SettlementRefusal::AboveHead { end: end.height, head: chain.head });
        }
        if claim.bits != next.bits {
            return Err(SettlementRefusal::Bits { found: claim.bits, expected: next.bits });
        }
        for block in [start, end] {
            if (chain.hash_at)(block.height) != Some(block.hash) {
                return Err(SettlementRefusal::OtherBlock(block.height));
            }
        }
        Ok(())
    }

    /// After a bundle in a block at `time`, Unix seconds.
    fn after(&self, claim: &Claim, time: u64, retarget: &Retarget) -> Self {
        let moved = Self { sequence: claim.sequence, end: claim.end, ..*self };
        if !retarget.ends_window(claim.sequence) {
            return moved;
        }
        let taken = time.saturating_sub(self.window_start);
        Self { bits: retarget.next(self.bits, taken), window_start: time, ..moved }
    }
}
