//! What miners commit to: which blocks are settled, how hard that is, and who earns the fees.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address, B256};
use alys_blocks::ChainDomain;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::hex::HexToArrayError;
use ssz_derive::{Decode, Encode};
use tree_hash_derive::TreeHash;

/// A block of our chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct BlockRef {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: B256,
}

/// A range of committed blocks that somebody wants to settle by work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Claim {
    /// First block of the range: the one after the last settled.
    pub start: BlockRef,
    /// Last block of the range.
    pub end: BlockRef,
    /// Compact target that the parent's hash must meet; see [`crate::Bits`].
    pub bits: u32,
    /// Who is paid for the work.
    pub fee_recipient: Address,
    /// Number of the bundle, from 1.
    pub sequence: u64,
}

/// What is hashed: the claim, and the chain by its EVM chain id (its genesis is in the domain).
#[derive(TreeHash)]
struct Mined {
    chain_id: u64,
    claim: Claim,
}

/// Hash of a claim, which `createauxblock` hands out. Internal byte order; shown and parsed reversed, as Bitcoin's hashes are,
/// which is also the order in the coinbase of a miner that mines no other chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinedHash(pub B256);

impl Claim {
    /// The hash to mine. No field of the claim can be altered without doing the work again.
    pub fn mined_hash(&self, domain: &ChainDomain, chain_id: u64) -> MinedHash {
        MinedHash(domain.root("alys/auxpow/1", &Mined { chain_id, claim: *self }))
    }
}

impl fmt::Display for MinedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sha256d::Hash::from_byte_array(self.0.0).fmt(f)
    }
}

impl FromStr for MinedHash {
    type Err = HexToArrayError;

    fn from_str(text: &str) -> Result<Self, HexToArrayError> {
        sha256d::Hash::from_str(text).map(|hash| Self(B256::from(hash.to_byte_array())))
    }
}
