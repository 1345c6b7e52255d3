//! Proofs that a transaction is in a Bitcoin block [PEG-4].
//!
//! What is proven here: the transaction's bytes, that its id is under the merkle root of the given header, that the header
//! meets the target it declares, and that the claimed height is deep enough under the block's Bitcoin view.
//! **What the caller must still ask its own bitcoind:** that the header's block is in the best chain at that height, below
//! the view, and that it has exactly [`Included::transactions`] transactions. The last one closes CVE-2017-12842 from
//! the side that a merkle path cannot: a real 64-byte transaction posing as an inner node makes the tree look deeper.
//! From the other side (an inner node posing as a transaction) it is closed here: 64-byte transactions are refused.

use alloy_primitives::{Address, B256};
use alys_blocks::BitcoinView;
use alys_proto::Sats;
use bitcoin::merkle_tree::MerkleBlock;
use bitcoin::{OutPoint, Transaction, Txid, consensus};

use crate::bytes::{block_hash_to_bytes, txid_to_bytes};
use crate::deposit::{self, Deposit, InvalidReason};
use crate::{Federation, PegRules};

/// Length of an inner merkle node; no transaction of this length is believed.
const INNER_NODE_BYTES: usize = 64;

/// A claim that a transaction is in a Bitcoin block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// The transaction.
    pub txid: Txid,
    /// Header and partial merkle tree that matches exactly this transaction.
    pub merkle: MerkleBlock,
    /// Height of the block, as claimed.
    pub bitcoin_height: u32,
}

/// A claim that a deposit is in a Bitcoin block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PegInProof {
    /// The deposit.
    pub outpoint: OutPoint,
    /// Value of the output, as claimed.
    pub value: Sats,
    /// Who is to be credited, as claimed.
    pub recipient: Address,
    /// The transaction, without witness.
    pub transaction: Transaction,
    /// Header and partial merkle tree.
    pub merkle: MerkleBlock,
    /// Height of the block, as claimed.
    pub bitcoin_height: u32,
}

/// What a valid inclusion proof says. The caller compares it with its own bitcoind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Included {
    /// The block; its height as claimed.
    pub block: BitcoinView,
    /// How many transactions the block has, as claimed by the merkle tree; bitcoind's `nTx` must be the same.
    pub transactions: u32,
    /// Position of the transaction in the block. 0 is the coinbase.
    pub position: u32,
}

/// A deposit whose proof holds, up to what only a bitcoind can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDeposit {
    /// The deposit, as its transaction says.
    pub deposit: Deposit,
    /// Where it is.
    pub included: Included,
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// Bytes that are not what they should be.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The transaction carries witnesses: two encodings of one deposit must not exist.
    #[error("the transaction carries witnesses")]
    Witness,
    /// 64 bytes: it could be an inner node of the merkle tree.
    #[error("a transaction of 64 bytes proves nothing")]
    InnerNode,
    /// The transaction is not the one of the outpoint.
    #[error("the transaction is not the claimed one")]
    OtherTransaction,
    /// The tree does not hash to the header's merkle root, or is damaged.
    #[error("the merkle tree does not lead to the header")]
    MerkleTree,
    /// The tree matches something else, or more than the transaction.
    #[error("the merkle tree does not match exactly the transaction")]
    OtherMatch,
    /// The header does not meet the target it declares.
    #[error("the header has no proof of work")]
    ProofOfWork,
    /// The header is not the one claimed.
    #[error("the header is not that of the claimed block")]
    OtherBlock,
    /// Not deep enough under the view.
    #[error("{confirmations} confirmations, {needed} needed")]
    NotDeep {
        /// How deep it is; 0 when it is above the view.
        confirmations: u32,
        /// How deep it must be.
        needed: u32,
    },
    /// The outpoint is not an output that pays the federation.
    #[error("the output does not pay the federation")]
    NotOurs,
    /// The output pays us but is no valid deposit.
    #[error("invalid deposit: {0}")]
    Invalid(InvalidReason),
    /// The claimed value is not the output's [PEG-3].
    #[error("the claimed value is not the output's")]
    OtherValue,
    /// The claimed recipient is not the one the transaction names [PEG-3].
    #[error("the claimed recipient is not the one that the transaction names")]
    OtherRecipient,
}

/// How deep a block at `bitcoin_height` is under the view; its own block counts as 1, above the view is 0.
pub fn confirmations(view: &BitcoinView, bitcoin_height: u32) -> u32 {
    match view.height.checked_sub(bitcoin_height) {
        Some(above) => above.saturating_add(1),
        None => 0,
    }
}

/// Checks a deposit's proof against the view that the sidechain block commits to. See the module for what is left.
pub fn verify(
    proof: &PegInProof,
    view: &BitcoinView,
    federation: &Federation,
    rules: &PegRules,
) -> Result<VerifiedDeposit, ProofRefusal> {
    if proof.transaction.base_size() == INNER_NODE_BYTES {
        return Err(ProofRefusal::InnerNode);
    }
    if proof.transaction.compute_txid() != proof.outpoint.txid {
        return Err(ProofRefusal::OtherTransaction);
    }
    let included = included(proof.outpoint.txid, &proof.merkle, proof.bitcoin_height)?;
    let deposit = claimed_deposit(proof, federation, rules)?;
    // A coinbase is exactly the first transaction of a block.
    if deposit.coinbase != (included.position == 0) {
        return Err(ProofRefusal::MerkleTree);
    }
    check_depth(view, proof.bitcoin_height, deposit.confirmations_needed(rules))?;
    Ok(VerifiedDeposit { deposit, included })
}

/// Checks that a payout is in a Bitcoin block deep enough under the view. `block_hash` is the block the claim names.
pub fn verify_inclusion(
    proof: &InclusionProof,
    block_hash: B256,
    view: &BitcoinView,
    rules: &PegRules,
) -> Result<Included, ProofRefusal> {
    let included = included(proof.txid, &proof.merkle, proof.bitcoin_height)?;
    if included.block.hash != block_hash {
        return Err(ProofRefusal::OtherBlock);
    }
    check_depth(view, proof.bitcoin_height, rules.confirmations)?;
    Ok(included)
}

fn check_depth(view: &BitcoinView, bitcoin_height: u32, needed: u32) -> Result<(), ProofRefusal> {
    let confirmations = confirmations(view, bitcoin_height);
    if confirmations < needed { Err(ProofRefusal::NotDeep { confirmations, needed }) } else { Ok(()) }
}

fn included(txid: Txid, merkle: &MerkleBlock, bitcoin_height: u32) -> Result<Included, ProofRefusal> {
    let (mut matches, mut positions) = (Vec::new(), Vec::new());
    merkle.extract_matches(&mut matches, &mut positions).map_err(|_| ProofRefusal::MerkleTree)?;
    let ([matched], [position]) = (matches.as_slice(), positions.as_slice()) else {
        return Err(ProofRefusal::OtherMatch);
    };
    if *matched != txid {
        return Err(ProofRefusal::OtherMatch);
    }
    let hash = merkle.header.validate_pow(merkle.header.target()).map_err(|_| ProofRefusal::ProofOfWork)?;
    let block = BitcoinView { hash: block_hash_to_bytes(hash), height: bitcoin_height };
    Ok(Included { block, transactions: merkle.txn.num_transactions(), position: *position })
}

fn claimed_deposit(proof: &PegInProof, federation: &Federation, rules: &PegRules) -> Result<Deposit, ProofRefusal> {
    let found = deposit::find(&proof.transaction, federation, rules).into_iter().find(|found| match found {
        Ok(deposit) => deposit.outpoint == proof.outpoint,
        Err(invalid) => invalid.outpoint == proof.outpoint,
    });
    let deposit = found.ok_or(ProofRefusal::NotOurs)?.map_err(|invalid| ProofRefusal::Invalid(invalid.reason))?;
    if deposit.value != proof.value {
        return Err(ProofRefusal::OtherValue);
    }
    if deposit.recipient != proof.recipient {
        return Err(ProofRefusal::OtherRecipient);
    }
    Ok(deposit)
}

/// A transaction from its consensus encoding without witness; trailing bytes and other encodings are refused.
pub(crate) fn decode_transaction(bytes: &[u8]) -> Result<Transaction, ProofRefusal> {
    let transaction: Transaction = consensus::deserialize(bytes).map_err(|_| ProofRefusal::Malformed("transaction"))?;
    if transaction.input.iter().any(|input| !input.witness.is_empty()) {
        return Err(ProofRefusal::Witness);
    }
    if consensus::serialize(&transaction) != bytes {
        return Err(ProofRefusal::Malformed("transaction"));
    }
    Ok(transaction)
}

pub(crate) fn decode_merkle(bytes: &[u8]) -> Result<MerkleBlock, ProofRefusal> {
    let merkle: MerkleBlock = consensus::deserialize(bytes).map_err(|_| ProofRefusal::Malformed("merkle proof"))?;
    if consensus::serialize(&merkle) != bytes {
        return Err(ProofRefusal::Malformed("merkle proof"));
    }
    Ok(merkle)
}

impl PegInProof {
    /// The proof that bridge makes of a block it has: the deposit's transaction, the block's header and all its
    /// transaction ids. Witnesses are removed. `None` when the transaction is not among them.
    pub fn new(
        deposit: &Deposit,
        transaction: &Transaction,
        header: &bitcoin::block::Header,
        block_txids: &[Txid],
        bitcoin_height: u32,
    ) -> Option<Self> {
        let mut stripped = transaction.clone();
        for input in &mut stripped.input {
            input.witness.clear();
        }
        let inclusion = InclusionProof::new(deposit.outpoint.txid, header, block_txids, bitcoin_height)?;
        Some(Self {
            outpoint: deposit.outpoint,
            value: deposit.value,
            recipient: deposit.recipient,
            transaction: stripped,
            merkle: inclusion.merkle,
            bitcoin_height,
        })
    }
}

impl InclusionProof {
    /// The proof that `txid` is among a block's transactions; `None` when it is not.
    pub fn new(txid: Txid, header: &bitcoin::block::Header, block_txids: &[Txid], bitcoin_height: u32) -> Option<Self> {
        if !block_txids.contains(&txid) {
            return None;
        }
        let merkle = MerkleBlock::from_header_txids_with_predicate(header, block_txids, |candidate| *candidate == txid);
        // A fresh tree lacks the padding bits of its encoding; with them it equals what everybody else decodes.
        let merkle = consensus::deserialize(&consensus::serialize(&merkle)).ok()?;
        Some(Self { txid, merkle, bitcoin_height })
    }

    /// Hash of the header it carries, internal byte order.
    pub fn block_hash(&self) -> B256 {
        block_hash_to_bytes(self.merkle.header.block_hash())
    }

    /// The transaction's id, internal byte order.
    pub fn txid_bytes(&self) -> B256 {
        txid_to_bytes(self.txid)
    }
}
