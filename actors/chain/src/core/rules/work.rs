//! Merged mining: what a block's bundle settles, and whether the chain may go on without one.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use alys_blocks::Block;
use alys_peg::Ledger;
use alys_pow::{Bundle, Committed, Settled, WorkRules};

use super::BlockRefusal;

/// The rules of work of a chain that is merge-mined.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How bundles are judged.
    pub rules: WorkRules,
    first: Settled,
}

impl Work {
    /// `first`: what is settled before any bundle.
    pub(super) const fn new((rules, first): (WorkRules, Settled)) -> Self {
        Self { rules, first }
    }

    /// What is settled at the block whose ledger this is.
    pub fn settled<'a>(&'a self, ledger: &'a Ledger) -> &'a Settled {
        ledger.work().unwrap_or(&self.first)
    }

    /// What would be settled if this bundle were in the next block, made at `time`. `hashes` are those of the unsettled
    /// blocks, the last of which is the head.
    pub fn judge(
        &self,
        bundle: &Bundle,
        ledger: &Ledger,
        hashes: &BTreeMap<u64, B256>,
        time: u64,
    ) -> Result<Settled, BlockRefusal> {
        let hash_at = |height| hashes.get(&height).copied();
        let chain = Committed { head: ledger.height().0, hash_at: &hash_at };
        self.rules.judge(self.settled(ledger), bundle, &chain, time).map_err(BlockRefusal::Bundle)
    }
}

/// What the block settles. Without a bundle nothing, and then too many blocks must not be waiting for work.
pub(super) fn check(
    work: Option<&Work>,
    block: &Block,
    ledger: &Ledger,
    hashes: &BTreeMap<u64, B256>,
) -> Result<Option<Settled>, BlockRefusal> {
    let bundle = block.body.bundle.first();
    let Some(work) = work else {
        return if bundle.is_some() { Err(BlockRefusal::BundleNotActive) } else { Ok(None) };
    };
    let settles = match bundle {
        Some(bytes) => {
            let bundle = Bundle::decode(bytes).map_err(BlockRefusal::BundleForm)?;
            Some(work.judge(&bundle, ledger, hashes, block.header.time)?)
        }
        None => None,
    };
    let after = settles.as_ref().unwrap_or_else(|| work.settled(ledger));
    work.rules.check_unsettled(after, block.header.height).map_err(BlockRefusal::WantsWork)?;
    Ok(settles)
}
