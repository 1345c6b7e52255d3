//! The block rules: pure, versioned by activation height, each with a reason of its own.
//!
//! | part of the block | rule | judged with |
//! |---|---|---|
//! | version, chain id, height | exactly those of the next block | parent, specification |
//! | slot, proposer | parent's slot + 1 + a round that has been reached; `validators[slot mod n]` | parent, round |
//! | time | on the grid, after the parent's; equals the payload's timestamp | parent, clock of the chain |
//! | parent, parent certificate | the head; more than 2/3 of the validators committed it | parent, validators |
//! | Bitcoin view | the parent's, or a later one where claims need it | parent |
//! | peg-ins | proof holds under the view [PEG-3][PEG-4]; never minted before, once in the block [PEG-2] | view, ledger |
//! | payouts | exactly the recomputed plan [PEG-13] | ledger |
//! | settlements | of recorded, unsettled payouts, deep enough under the view [PEG-14] | view, ledger |
//! | refunds | justified, with the one right reason [PEG-7] | ledger |
//! | bundle | none on a chain without merged mining; else the next range, committed blocks, enough work [PEG-15] | ledger, hashes of unsettled blocks |
//! | no bundle | at most `max_blocks_without_pow` blocks are unsettled then | ledger |
//! | governance records | at most one, the next one, signed by as many members as the federation asks for | ledger |
//! | payload | number, parent, time, randao, fee recipient, gas limit, no blobs; withdrawals exactly the justified ones [PEG-5] | all of the above |
//!
//! The clock of this node takes no part: whether a block comes too early is judged where it is received.

mod claims;
mod payload;
mod reason;
mod work;

use std::collections::BTreeMap;

use alloy_primitives::B256;
use alys_blocks::{BLOCK_VERSION, BitcoinView, Block, Certificate, ChainDomain, ChainSpec};
use alys_peg::{Fact, Federation, FederationError, Ledger, PegRules};
use alys_pow::{WorkRules, WorkSpecError};
use alys_proto::Height;

pub(super) use payload::justified;
pub use payload::payload_hash;
pub use reason::BlockRefusal;
pub use work::Work;

use super::consensus::context::{ValidatorSet, ValidatorSetError};
use super::slots::SlotClock;

/// Everything that the specification says, in the shape that rules need.
#[derive(Clone, Debug)]
pub struct ChainRules {
    /// The specification.
    pub spec: ChainSpec,
    /// Hashing context.
    pub domain: ChainDomain,
    /// Slot grid.
    pub clock: SlotClock,
    /// Who votes.
    pub validators: ValidatorSet,
    /// Who holds the coins.
    pub federation: Federation,
    /// Numbers of the peg.
    pub peg: PegRules,
    /// Merged mining, if the chain has it.
    pub work: Option<Work>,
}

/// A specification that names no possible chain.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Its validators.
    #[error("validators of the chain specification")]
    Validators(#[from] ValidatorSetError),
    /// Its federation.
    #[error("federation of the chain specification: {0}")]
    Federation(#[from] FederationError),
    /// Its merged mining.
    #[error("chain specification: {0}")]
    Work(#[from] WorkSpecError),
}

/// The committed block that the next one builds on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its height; 0 before block 1.
    pub height: u64,
    /// Its hash; the genesis hash before block 1.
    pub hash: B256,
    /// Its slot.
    pub slot: u64,
    /// Its time, seconds.
    pub time: u64,
    /// Hash of its payload: the EL block.
    pub el_hash: B256,
    /// Its Bitcoin view.
    pub view: BitcoinView,
    /// What committed it; empty before block 1.
    pub certificate: Certificate,
}

/// A block that breaks no rule, up to what only the engine and a bitcoind can say.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it states about the peg, without the burns of its payload.
    pub facts: Vec<Fact>,
    /// Whether it makes claims about Bitcoin.
    pub claims_bitcoin: bool,
}

/// Rules by version. A new one gets a new variant and a height; an old one is never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleSet {
    /// From block 1 on.
    V1,
}

impl ChainRules {
    /// Reads a specification.
    pub fn new(spec: ChainSpec) -> Result<Self, RulesError> {
        Ok(Self {
            domain: spec.domain(),
            clock: SlotClock::new(&spec),
            validators: ValidatorSet::new(&spec.validators, 1)?,
            federation: Federation::try_from(&spec)?,
            peg: PegRules::from(&spec),
            work: WorkRules::of(&spec)?.map(Work::new),
            spec,
        })
    }

    /// What block 1 builds on.
    pub fn genesis(&self, el_genesis: B256) -> Head {
        Head {
            height: 0,
            hash: self.domain.genesis(),
            slot: 0,
            time: self.spec.genesis_time,
            el_hash: el_genesis,
            view: BitcoinView::default(),
            certificate: Certificate::default(),
        }
    }

    const fn rule_set(_height: u64) -> RuleSet {
        RuleSet::V1
    }

    /// Judges the block that follows `parent`, in a round up to `last_round`. `ledger` is the parent's; it is left as it was.
    /// `hashes` are those of the parent and of the unsettled blocks before it.
    pub fn check(
        &self,
        block: &Block,
        parent: &Head,
        last_round: u32,
        ledger: &mut Ledger,
        hashes: &BTreeMap<u64, B256>,
    ) -> Result<Checked, BlockRefusal> {
        match Self::rule_set(parent.height.saturating_add(1)) {
            RuleSet::V1 => {
                self.check_header(block, parent)?;
                self.check_turn(block, parent, last_round)?;
                self.check_parent(block, parent)?;
                let mut facts = claims::check(self, block, parent, ledger)?;
                facts.extend(work::check(self.work.as_ref(), block, ledger, hashes)?.map(Fact::WorkSettled));
                payload::check(self, block, parent, ledger, &facts)?;
                let height = Height(block.header.height);
                ledger.would_apply(height, &facts).map_err(BlockRefusal::Ledger)?;
                let claims_bitcoin = makes_bitcoin_claims(block);
                Ok(Checked { facts, claims_bitcoin })
            }
        }
    }

    fn check_header(&self, block: &Block, parent: &Head) -> Result<(), BlockRefusal> {
        let header = &block.header;
        if header.version != BLOCK_VERSION {
            return Err(BlockRefusal::Version(header.version));
        }
        if header.chain_id != self.spec.chain_id {
            return Err(BlockRefusal::ChainId(header.chain_id));
        }
        if header.height != parent.height.saturating_add(1) {
            return Err(BlockRefusal::Height { expected: parent.height.saturating_add(1), found: header.height });
        }
        if !self.clock.is_line(header.time) || header.time <= parent.time {
            return Err(BlockRefusal::Time { time: header.time, parent: parent.time });
        }
        Ok(())
    }

    /// A block that was proposed before keeps its slot when it is proposed again, so a slot may lag behind the round.
    fn check_turn(&self, block: &Block, parent: &Head, last_round: u32) -> Result<(), BlockRefusal> {
        let slot = block.header.slot;
        let first = parent.slot.saturating_add(1);
        let last = first.saturating_add(u64::from(last_round));
        if slot < first || slot > last {
            return Err(BlockRefusal::Slot { slot, first, last });
        }
        if self.spec.proposer(slot) != Some(block.header.proposer) {
            return Err(BlockRefusal::Proposer { slot, proposer: block.header.proposer });
        }
        Ok(())
    }

    fn check_parent(&self, block: &Block, parent: &Head) -> Result<(), BlockRefusal> {
        if block.header.parent != parent.hash {
            return Err(BlockRefusal::Parent(block.header.parent));
        }
        let certificate = &block.body.parent_certificate;
        if parent.height == 0 {
            let empty = *certificate == Certificate::default();
            return if empty { Ok(()) } else { Err(BlockRefusal::GenesisCertificate) };
        }
        if certificate.height != parent.height || certificate.block != parent.hash {
            return Err(BlockRefusal::OtherCertificate);
        }
        certificate.verify(&self.domain, &self.spec.validators).map_err(BlockRefusal::ParentCertificate)
    }
}

/// The round in which a block was first proposed; `None` when its slot is not after the parent's.
pub fn round_of(block: &Block, parent: &Head) -> Option<u32> {
    let round = block.header.slot.checked_sub(parent.slot)?.checked_sub(1)?;
    u32::try_from(round).ok()
}

/// Whether a block says something that only a bitcoind can confirm.
pub fn makes_bitcoin_claims(block: &Block) -> bool {
    !block.body.peg_ins.is_empty() || !block.body.settlements.is_empty()
}
