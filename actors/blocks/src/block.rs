//! The block: a small header that is hashed and signed, and the body it commits to.

use alloy_primitives::B256;
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use ssz_types::VariableList;
use tree_hash::TreeHash as _;
use tree_hash_derive::TreeHash;

use crate::certificate::{Certificate, ValidatorId};
use crate::claims::{Payout, PegIn, Refund, Settlement};
use crate::limits::{
    MAX_BLOCK_BYTES, MaxBundleBytes, MaxBundles, MaxGovernanceRecords, MaxPayloadBytes, MaxPayouts, MaxPegIns, MaxRecordBytes,
    MaxRefunds, MaxSettlements,
};

/// The Bitcoin block that a sidechain block's peg claims are judged against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct BitcoinView {
    /// Bitcoin block hash, internal byte order. Zero before any view.
    pub hash: B256,
    /// Its height.
    pub height: u32,
}

/// What is hashed, signed and chained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Header {
    /// [`crate::BLOCK_VERSION`].
    pub version: u64,
    /// EVM chain id.
    pub chain_id: u64,
    /// Parent's height + 1; equals the EL block number. Genesis is 0 and has no block.
    pub height: u64,
    /// Parent's slot + 1 + round.
    pub slot: u64,
    /// Unix seconds, on the slot grid, after the parent's; equals the EL timestamp.
    pub time: u64,
    /// Author: `validators[slot mod n]`.
    pub proposer: ValidatorId,
    /// Hash of the parent, or the genesis hash.
    pub parent: B256,
    /// What peg claims are judged against; never goes back in height.
    pub bitcoin_view: BitcoinView,
    /// Tree hash of the body.
    pub body_root: B256,
}

/// Everything else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Body {
    /// Proof that the parent is committed. Empty signatures at height 1.
    pub parent_certificate: Certificate,
    /// Deposits to mint.
    pub peg_ins: VariableList<PegIn, MaxPegIns>,
    /// Payout batches to sign.
    pub payouts: VariableList<Payout, MaxPayouts>,
    /// Payouts that Bitcoin has confirmed.
    pub settlements: VariableList<Settlement, MaxSettlements>,
    /// Burns that go back.
    pub refunds: VariableList<Refund, MaxRefunds>,
    /// AuxPoW bundle, at most one.
    pub bundle: VariableList<VariableList<u8, MaxBundleBytes>, MaxBundles>,
    /// Governance records.
    pub governance: VariableList<VariableList<u8, MaxRecordBytes>, MaxGovernanceRecords>,
    /// SSZ `ExecutionPayloadV3`; see [`crate::payload`].
    pub payload: VariableList<u8, MaxPayloadBytes>,
}

/// A sidechain block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// Header.
    pub header: Header,
    /// Body; `header.body_root` is its tree hash.
    pub body: Body,
}

/// The bytes are not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockDecodeError {
    /// More bytes than the largest legal block has.
    #[error("{0} bytes are more than a block can have")]
    TooLong(usize),
    /// Not the SSZ form of a block.
    #[error("not a block: {0}")]
    Malformed(String),
    /// The body is not the one the header commits to.
    #[error("the body does not match the header's body root")]
    BodyMismatch,
}

impl Block {
    /// Builds a block, filling in the header's body root.
    pub fn new(mut header: Header, body: Body) -> Self {
        header.body_root = body.root();
        Self { header, body }
    }

    /// SSZ bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// From SSZ bytes that may come from anybody. The body is checked against the header.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockDecodeError> {
        if bytes.len() > MAX_BLOCK_BYTES {
            return Err(BlockDecodeError::TooLong(bytes.len()));
        }
        let block = Self::from_ssz_bytes(bytes).map_err(|cause| BlockDecodeError::Malformed(format!("{cause:?}")))?;
        if block.body.root() != block.header.body_root {
            return Err(BlockDecodeError::BodyMismatch);
        }
        Ok(block)
    }
}

impl Body {
    /// A body that holds a payload and nothing else.
    pub fn empty(parent_certificate: Certificate, payload: VariableList<u8, MaxPayloadBytes>) -> Self {
        Self {
            parent_certificate,
            peg_ins: VariableList::default(),
            payouts: VariableList::default(),
            settlements: VariableList::default(),
            refunds: VariableList::default(),
            bundle: VariableList::default(),
            governance: VariableList::default(),
            payload,
        }
    }

    /// Tree hash.
    pub fn root(&self) -> B256 {
        self.tree_hash_root()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn block() -> Block {
        let payload = VariableList::new(vec![1, 2, 3]).unwrap();
        Block::new(Header { height: 1, ..Header::default() }, Body::empty(Certificate::default(), payload))
    }

    #[test]
    fn bytes_round_trip() {
        assert_eq!(Block::decode(&block().encode()), Ok(block()));
    }

    #[test]
    fn a_body_that_the_header_does_not_commit_to_is_refused() {
        let mut other = block();
        other.body.payload = VariableList::new(vec![9]).unwrap();
        assert_eq!(Block::decode(&other.encode()), Err(BlockDecodeError::BodyMismatch));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let _refused = Block::decode(&bytes);
        }

        #[test]
        fn a_damaged_block_never_panics(position in 0usize..400, value: u8) {
            let mut bytes = block().encode();
            let length = bytes.len();
            bytes[position % length] = value;
            let _maybe_refused = Block::decode(&bytes);
        }
    }
}
