//! Merged mining (AuxPoW), as pure functions: no IO, no clock, no randomness.
//!
//! Miners of Bitcoin commit to a range of our committed blocks in the coinbase of a block they mine anyway. The solved
//! block, cut down to an [`AuxPow`], and the [`Claim`] it commits to are a [`Bundle`]; a bundle in one of our blocks
//! settles its range. Proof and commitment are in the form that Namecoin introduced, so existing pools can mine it.
//!
//! | question | answered by |
//! |---|---|
//! | What do miners commit to? | [`Claim::mined_hash`] |
//! | Which bytes go into their coinbase? | [`MergedTree`], [`Commitment::to_bytes`] |
//! | How does a solved block become a proof? | [`AuxPow::from_block`] |
//! | Does this proof hold? | [`AuxPow::check`] |
//! | May this bundle be in this block, and what follows? | [`WorkRules::judge`] |
//! | How hard is the next bundle? | [`Retarget::next`], kept in [`Settled::bits`] |
//! | May this block follow, or do we wait for work? | [`WorkRules::check_unsettled`] |

pub mod bits;
pub mod bundle;
pub mod chain_id;
pub mod check;
pub mod claim;
pub mod commitment;
pub mod proof;
pub mod retarget;
pub mod settlement;
pub mod spec;
pub mod tree;

mod merkle;

pub use bits::{Bits, BitsError, Target};
pub use bundle::{Bundle, BundleError};
pub use chain_id::{AuxChainId, ChainIdError};
pub use check::{Expected, ProofRefusal};
pub use claim::{BlockRef, Claim, MinedHash};
pub use commitment::{Commitment, slot};
pub use proof::{AuxPow, Branch, ProofError};
pub use retarget::{Retarget, RetargetError};
pub use settlement::{BundleRefusal, Committed, Halted, Settled, SettlementRefusal, WorkRules};
pub use spec::WorkSpecError;
pub use tree::{MergedTree, TreeError};

#[cfg(test)]
mod tests;
