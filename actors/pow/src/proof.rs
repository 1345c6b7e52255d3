//! The proof in the serialisation of merge-mined chains: coinbase transaction ‖ parent hash ‖ coinbase branch ‖ chain
//! branch ‖ parent header. A branch is its hashes, counted by a compact size, and a 32-bit little-endian index.
//!
//! One proof has one encoding: sizes are in their shortest form, the coinbase has no witness (its id does not cover it, and
//! pools do not have it), nothing follows the header.

use alloy_primitives::B256;
use bitcoin::block::Header;
use bitcoin::consensus::{Decodable, encode};
use bitcoin::hashes::Hash as _;
use bitcoin::{Block, Transaction, VarInt};

use crate::merkle;

/// Bytes of a proof. Headers and full branches are below 2.5 KiB; the rest is for the coinbase of a pool that pays about
/// 1,700 miners in it, at 34 bytes each.
pub const MAX_PROOF_BYTES: usize = 60 * 1024;
/// Hashes in a branch. A Bitcoin block has fewer than 2^15 transactions; a chain branch of more than 30 is refused later.
pub const MAX_BRANCH: usize = 32;

/// A way from a leaf to the root of a merkle tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// The siblings, from the leaf's up.
    pub hashes: Vec<B256>,
    /// Position of the leaf; bit n says on which side the nth sibling is.
    pub index: u32,
}

/// Proof that a parent block commits to something of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuxPow {
    /// First transaction of the parent block, without witness.
    pub coinbase: Transaction,
    /// Hash of the parent block, as the miner states it. Nobody looks at it, and pools write what they like.
    pub stated_parent_hash: B256,
    /// From the coinbase to the parent's merkle root.
    pub coinbase_branch: Branch,
    /// From the mined hash to the root in the coinbase.
    pub chain_branch: Branch,
    /// The parent block's header. It has the work.
    pub parent: Header,
}

/// Why bytes are no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// More than [`MAX_PROOF_BYTES`].
    #[error("{0} bytes are more than a proof can have")]
    TooLong(usize),
    /// The named part does not decode.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The coinbase carries witnesses.
    #[error("the coinbase carries witnesses")]
    Witness,
    /// More than [`MAX_BRANCH`].
    #[error("{name} of {hashes} hashes")]
    BranchTooLong {
        /// Which branch.
        name: &'static str,
        /// Its length as stated.
        hashes: u64,
    },
    /// Bytes after the header.
    #[error("{0} bytes after the proof")]
    Trailing(usize),
}

impl AuxPow {
    /// From bytes that may come from anybody.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(ProofError::TooLong(bytes.len()));
        }
        let mut rest = bytes;
        let coinbase: Transaction = part(&mut rest, "coinbase")?;
        if coinbase.input.iter().any(|input| !input.witness.is_empty()) {
            return Err(ProofError::Witness);
        }
        let stated_parent_hash: [u8; 32] = part(&mut rest, "parent hash")?;
        let coinbase_branch = decode_branch(&mut rest, "coinbase branch")?;
        let chain_branch = decode_branch(&mut rest, "chain branch")?;
        let parent = part(&mut rest, "parent header")?;
        if !rest.is_empty() {
            return Err(ProofError::Trailing(rest.len()));
        }
        Ok(Self { coinbase, stated_parent_hash: stated_parent_hash.into(), coinbase_branch, chain_branch, parent })
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = encode::serialize(&self.coinbase);
        bytes.extend_from_slice(self.stated_parent_hash.as_slice());
        encode_branch(&mut bytes, &self.coinbase_branch);
        encode_branch(&mut bytes, &self.chain_branch);
        bytes.extend(encode::serialize(&self.parent));
        bytes
    }

    /// The proof of a solved parent block whose coinbase commits to a tree with `chain_branch`. `None` for a block without
    /// transactions. Nothing is checked: see [`Self::check`].
    pub fn from_block(block: &Block, chain_branch: Branch) -> Option<Self> {
        let mut coinbase = block.txdata.first()?.clone();
        for input in &mut coinbase.input {
            input.witness.clear();
        }
        let ids = block.txdata.iter().map(|transaction| B256::from(transaction.compute_txid().to_byte_array())).collect();
        Some(Self {
            coinbase,
            stated_parent_hash: B256::from(block.block_hash().to_byte_array()),
            coinbase_branch: merkle::branch(ids, 0),
            chain_branch,
            parent: block.header,
        })
    }
}

fn part<T: Decodable>(rest: &mut &[u8], name: &'static str) -> Result<T, ProofError> {
    T::consensus_decode_from_finite_reader(rest).map_err(|_| ProofError::Malformed(name))
}

fn decode_branch(rest: &mut &[u8], name: &'static str) -> Result<Branch, ProofError> {
    let count: VarInt = part(rest, name)?;
    let hashes = usize::try_from(count.0).ok().filter(|hashes| *hashes <= MAX_BRANCH);
    let hashes = hashes.ok_or(ProofError::BranchTooLong { name, hashes: count.0 })?;
    let hashes = (0..hashes).map(|_| part::<[u8; 32]>(rest, name).map(B256::from)).collect::<Result<_, _>>()?;
    Ok(Branch { hashes, index: part(rest, name)? })
}

fn encode_branch(bytes: &mut Vec<u8>, branch: &Branch) {
    bytes.extend(encode::serialize(&VarInt::from(branch.hashes.len())));
    for hash in &branch.hashes {
        bytes.extend_from_slice(hash.as_slice());
    }
    bytes.extend_from_slice(&branch.index.to_le_bytes());
}
