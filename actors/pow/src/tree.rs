//! The tree of chains that one coinbase commits to: what a miner builds before it mines.
//!
//! A chain's leaf follows from its id. The nonce moves all leaves by the same distance, so it cannot part two chains that
//! fall on one leaf; only a larger tree can. It stays 0 here.

use alloy_primitives::B256;

use crate::commitment::{Commitment, slot};
use crate::merkle;
use crate::proof::Branch;

/// Height of the largest tree made here: 65,536 leaves of 32 bytes. Two ids below 2^16 never share one of its leaves.
pub const MAX_HEIGHT: u32 = 16;

/// A tree with a leaf for each chain, the other leaves zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedTree {
    leaves: Vec<B256>,
    height: u32,
}

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// There is nothing to commit to.
    #[error("no chain to mine")]
    Empty,
    /// Two chains fall on one leaf in every tree.
    #[error("two chains share a leaf in all trees of up to 2^{MAX_HEIGHT} leaves")]
    Collision,
}

impl MergedTree {
    /// The smallest tree for chains by their id in merged mining and their mined hash, internal byte order.
    pub fn new(chains: &[(u32, B256)]) -> Result<Self, TreeError> {
        if chains.is_empty() {
            return Err(TreeError::Empty);
        }
        (0..=MAX_HEIGHT).find_map(|height| Self::of_height(chains, height)).ok_or(TreeError::Collision)
    }

    /// What goes into the coinbase.
    pub fn commitment(&self) -> Commitment {
        let branch = merkle::branch(self.leaves.clone(), 0);
        let first = self.leaves.first().copied().unwrap_or_default();
        Commitment { root: merkle::root(first, &branch), size: 1 << self.height, nonce: 0 }
    }

    /// The branch for the proof of a chain that is in the tree.
    pub fn branch(&self, chain_id: u32) -> Branch {
        merkle::branch(self.leaves.clone(), slot(0, chain_id, self.height))
    }

    /// `None` if two chains share a leaf.
    fn of_height(chains: &[(u32, B256)], height: u32) -> Option<Self> {
        let mut leaves = vec![None; 1 << height];
        for (chain_id, hash) in chains {
            let position = usize::try_from(slot(0, *chain_id, height)).ok()?;
            let leaf = leaves.get_mut(position)?;
            if leaf.replace(*hash).is_some() {
                return None;
            }
        }
        Some(Self { leaves: leaves.into_iter().map(Option::unwrap_or_default).collect(), height })
    }
}
