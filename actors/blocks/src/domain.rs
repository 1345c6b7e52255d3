//! Domain separation: what is signed or hashed for one purpose on one chain means nothing anywhere else.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};
use tree_hash::TreeHash;

use crate::block::Header;
use crate::certificate::{Proposal, Vote};

/// Hashing context of one chain, identified by its genesis hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainDomain {
    genesis: B256,
}

impl ChainDomain {
    /// The chain with this genesis hash.
    pub const fn new(genesis: B256) -> Self {
        Self { genesis }
    }

    /// The genesis hash: parent of block 1.
    pub const fn genesis(&self) -> B256 {
        self.genesis
    }

    /// The hash that identifies a block.
    pub fn block_hash(&self, header: &Header) -> B256 {
        self.root("alys/block/1", header)
    }

    /// What a validator signs for a vote.
    pub fn vote_root(&self, vote: &Vote) -> B256 {
        self.root("alys/vote/1", vote)
    }

    /// What a proposer signs.
    pub fn proposal_root(&self, proposal: &Proposal) -> B256 {
        self.root("alys/proposal/1", proposal)
    }

    /// The hash of an object of one kind; each kind has a tag of its own.
    pub fn root<T: TreeHash>(&self, tag: &str, object: &T) -> B256 {
        // The tag is hashed first, so tags of different length cannot run into what follows.
        let digest = Sha256::new()
            .chain_update(Sha256::digest(tag))
            .chain_update(self.genesis)
            .chain_update(object.tree_hash_root())
            .finalize();
        B256::from_slice(&digest)
    }
}
