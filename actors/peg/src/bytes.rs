//! Conversions between Bitcoin's id types and raw bytes in internal byte order.

use alloy_primitives::B256;
use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, Txid};

/// The transaction id that these 32 bytes are, internal byte order.
pub fn txid_from_bytes(bytes: B256) -> Txid {
    Txid::from_byte_array(bytes.0)
}

/// The 32 bytes of a transaction id, internal byte order.
pub fn txid_to_bytes(txid: Txid) -> B256 {
    B256::from(txid.to_byte_array())
}

pub(crate) fn block_hash_to_bytes(hash: BlockHash) -> B256 {
    B256::from(hash.to_byte_array())
}
