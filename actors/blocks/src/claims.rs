//! The peg records of a block. Bitcoin ids are in internal byte order, amounts in satoshis.

use alloy_primitives::{Address, B256};
use ssz_derive::{Decode, Encode};
use ssz_types::VariableList;
use tree_hash_derive::TreeHash;

use crate::limits::{MaxBurnsPerPayout, MaxMerkleBytes, MaxPayoutBytes, MaxReasonBytes, MaxTransactionBytes};

/// A deposit to be minted, with its proof. Judged against the block's Bitcoin view [PEG-4].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct PegIn {
    /// Bitcoin transaction id, internal byte order.
    pub txid: B256,
    /// Output index.
    pub vout: u32,
    /// Value of the output, satoshis.
    pub value: u64,
    /// Who is credited.
    pub recipient: Address,
    /// Consensus encoding without witness.
    pub transaction: VariableList<u8, MaxTransactionBytes>,
    /// Bitcoin `MerkleBlock`: header and partial merkle tree.
    pub merkle_proof: VariableList<u8, MaxMerkleBytes>,
    /// Height of the Bitcoin block that holds the deposit.
    pub bitcoin_height: u32,
}

/// A burn by its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, TreeHash)]
pub struct BurnRef {
    /// Sidechain height.
    pub height: u64,
    /// Index of the log within the block.
    pub log_index: u32,
}

/// One Bitcoin transaction that pays a batch of burns. Its bytes follow from the ledger and the fee rate [PEG-13].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Payout {
    /// Unsigned transaction, consensus encoding.
    pub transaction: VariableList<u8, MaxPayoutBytes>,
    /// Satoshis per 1,000 virtual bytes.
    pub fee_rate: u64,
    /// The burns it pays, in the order of its outputs.
    pub burns: VariableList<BurnRef, MaxBurnsPerPayout>,
}

/// A recorded payout is deep enough on Bitcoin.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Settlement {
    /// Id of the payout transaction, internal byte order.
    pub txid: B256,
    /// Bitcoin `MerkleBlock`.
    pub merkle_proof: VariableList<u8, MaxMerkleBytes>,
    /// The Bitcoin block that holds it.
    pub bitcoin_hash: B256,
    /// Its height.
    pub bitcoin_height: u32,
}

/// A burn that cannot be paid on Bitcoin goes back to the burner.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TreeHash)]
pub struct Refund {
    /// The burn.
    pub burn: BurnRef,
    /// Name of the reason, ASCII.
    pub reason: VariableList<u8, MaxReasonBytes>,
}
