//! Whether a proof holds for what we expect. Cheap checks first: without work a stranger costs one header hash.
//!
//! The parent need not be a block of Bitcoin's best chain, nor valid there: what counts is the work in its header, and that
//! it cannot have been done for anything but one mined hash of ours. The position of the coinbase is 0, a tree of chains has
//! one slot for us, and a script has one commitment, so one header commits to one mined hash. An inner node of the parent's
//! tree cannot pose as its coinbase: it has 64 bytes, of which a transaction leaves 4 for the script, and the commitment
//! needs 44.

use alloy_primitives::B256;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;

use crate::bits::Target;
use crate::chain_id::AuxChainId;
use crate::claim::MinedHash;
use crate::commitment::{Commitment, slot};
use crate::merkle;
use crate::proof::AuxPow;

/// Hashes in a chain branch: slots are computed in 32 bits, and nobody mines 2^30 chains.
pub const MAX_CHAIN_BRANCH: usize = 30;

/// What a proof must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Our number in merged mining.
    pub chain_id: AuxChainId,
    /// What must be committed to.
    pub mined_hash: MinedHash,
    /// Our target. The parent's own bits are not looked at.
    pub target: Target,
}

/// Why a proof does not hold, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// The parent's hash is above our target.
    #[error("the parent block {0} does not meet our target")]
    TooLittleWork(BlockHash),
    /// Position 0 is the coinbase, whose script its miner is free to write.
    #[error("transaction {0} of the parent block is not its coinbase")]
    NotCoinbase(u32),
    /// A block of our own chain as its own parent.
    #[error("the parent block carries our chain id")]
    OwnChain,
    /// More than [`MAX_CHAIN_BRANCH`].
    #[error("a chain branch of {0} hashes, at most {MAX_CHAIN_BRANCH} are allowed")]
    ChainBranchTooLong(usize),
    /// The coinbase is not in the parent block.
    #[error("the coinbase does not lead to the parent's merkle root")]
    OtherMerkleRoot,
    /// There is no script to look at.
    #[error("the coinbase has no inputs")]
    NoInputs,
    /// The script has no commitment.
    #[error("no fabe6d6d in the coinbase script")]
    NoMagic,
    /// One work for two commitments.
    #[error("more than one fabe6d6d in the coinbase script")]
    TwoMagics,
    /// The commitment is to something else.
    #[error("the mined hash does not lead to the root right after fabe6d6d")]
    OtherRoot,
    /// Size and nonce are missing.
    #[error("the coinbase script ends within the commitment")]
    CutShort,
    /// The tree is not of the size that the branch says.
    #[error("a tree of {found} chains, by its branch {expected}")]
    OtherSize {
        /// In the commitment.
        found: u32,
        /// 2^length of the chain branch.
        expected: u32,
    },
    /// We are not where our chain id puts us.
    #[error("slot {found} in the tree of chains, by our chain id {expected}")]
    OtherSlot {
        /// Index of the chain branch.
        found: u32,
        /// By nonce, chain id and size.
        expected: u32,
    },
}

impl AuxPow {
    /// Whether the proof holds; at most 50 µs for a proof as miners make them.
    pub fn check(&self, expected: &Expected) -> Result<(), ProofRefusal> {
        self.check_header(expected)?;
        let height = self.chain_branch_length()?;
        self.check_coinbase()?;
        let commitment = self.commitment(expected.mined_hash)?;
        let size = 1_u32 << height;
        if commitment.size != size {
            return Err(ProofRefusal::OtherSize { found: commitment.size, expected: size });
        }
        let ours = slot(commitment.nonce, expected.chain_id.to_u32(), height);
        if self.chain_branch.index != ours {
            return Err(ProofRefusal::OtherSlot { found: self.chain_branch.index, expected: ours });
        }
        Ok(())
    }

    fn check_header(&self, expected: &Expected) -> Result<(), ProofRefusal> {
        let hash = self.parent.block_hash();
        if !expected.target.is_met_by(hash) {
            return Err(ProofRefusal::TooLittleWork(hash));
        }
        if self.coinbase_branch.index != 0 {
            return Err(ProofRefusal::NotCoinbase(self.coinbase_branch.index));
        }
        if expected.chain_id.is_of(self.parent.version) {
            return Err(ProofRefusal::OwnChain);
        }
        Ok(())
    }

    /// Height of the tree of chains, at most [`MAX_CHAIN_BRANCH`].
    fn chain_branch_length(&self) -> Result<u32, ProofRefusal> {
        let length = self.chain_branch.hashes.len();
        if length > MAX_CHAIN_BRANCH {
            return Err(ProofRefusal::ChainBranchTooLong(length));
        }
        u32::try_from(length).map_err(|_| ProofRefusal::ChainBranchTooLong(length))
    }

    fn check_coinbase(&self) -> Result<(), ProofRefusal> {
        let id = B256::from(self.coinbase.compute_txid().to_byte_array());
        let merkle_root = B256::from(self.parent.merkle_root.to_byte_array());
        if merkle::root(id, &self.coinbase_branch) == merkle_root { Ok(()) } else { Err(ProofRefusal::OtherMerkleRoot) }
    }

    fn commitment(&self, mined_hash: MinedHash) -> Result<Commitment, ProofRefusal> {
        let input = self.coinbase.input.first().ok_or(ProofRefusal::NoInputs)?;
        Commitment::find(&input.script_sig, merkle::root(mined_hash.0, &self.chain_branch))
    }
}
