//! The rules of work as a chain specification states them.

use std::num::NonZeroU64;

use alys_blocks::ChainSpec;

use crate::bits::{Bits, BitsError};
use crate::chain_id::{AuxChainId, ChainIdError};
use crate::claim::BlockRef;
use crate::retarget::{Retarget, RetargetError};
use crate::settlement::{Settled, WorkRules};

/// Why the `work` section names no possible rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkSpecError {
    /// The number in merged mining.
    #[error("work.aux_chain_id: {0}")]
    ChainId(#[from] ChainIdError),
    /// A target.
    #[error("work.first_bits or work.limit_bits: {0}")]
    Bits(#[from] BitsError),
    /// The retarget.
    #[error("work: {0}")]
    Retarget(#[from] RetargetError),
    /// No block could ever be made.
    #[error("work.max_blocks_without_pow must be at least 1")]
    NoBlocks,
}

impl WorkRules {
    /// The rules of a chain and what is settled before its first block; `None` for a chain without merged mining.
    pub fn of(spec: &ChainSpec) -> Result<Option<(Self, Settled)>, WorkSpecError> {
        let Some(work) = &spec.work else { return Ok(None) };
        let limit = Bits::new(work.limit_bits)?;
        let rules = Self {
            domain: spec.domain(),
            chain_id: spec.chain_id,
            aux_chain_id: AuxChainId::new(work.aux_chain_id)?,
            retarget: Retarget::new(limit, work.spacing_seconds, work.window, work.factor)?,
            max_blocks_without_pow: NonZeroU64::new(work.max_blocks_without_pow).ok_or(WorkSpecError::NoBlocks)?,
        };
        let genesis = BlockRef { height: 0, hash: rules.domain.genesis() };
        let settled = Settled::start(genesis, spec.genesis_time, Bits::new(work.first_bits)?, &rules.retarget);
        Ok(Some((rules, settled)))
    }
}
