use alloy_primitives::{Address, B256};
use alys_blocks::ChainDomain;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness,
    absolute, transaction,
};

use crate::{AuxChainId, AuxPow, BlockRef, Claim, Expected, MergedTree, MinedHash, Target, merkle};

pub(super) const OURS: u32 = 1_337;
pub(super) const EVM_CHAIN: u64 = 212_121;

pub(super) fn chain_id() -> AuxChainId {
    AuxChainId::new(1_337).unwrap()
}

pub(super) fn domain() -> ChainDomain {
    ChainDomain::new(B256::repeat_byte(0x6e))
}

pub(super) fn block_ref(height: u64) -> BlockRef {
    BlockRef { height, hash: hash_at(height).unwrap() }
}

/// The committed chain of the tests: a hash for each height.
pub(super) fn hash_at(height: u64) -> Option<B256> {
    Some(B256::left_padding_from(&height.wrapping_add(0xa000).to_be_bytes()))
}

pub(super) fn claim() -> Claim {
    Claim { start: block_ref(11), end: block_ref(20), bits: 0x207f_ffff, fee_recipient: Address::repeat_byte(7), sequence: 1 }
}

pub(super) fn mined_hash() -> MinedHash {
    claim().mined_hash(&domain(), EVM_CHAIN)
}

pub(super) fn expected() -> Expected {
    Expected { chain_id: chain_id(), mined_hash: mined_hash(), target: Target::MAX }
}

fn paid(script_sig: ScriptBuf, value: u64) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig,
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[0; 32]]),
        }],
        output: vec![TxOut { value: Amount::from_sat(value), script_pubkey: ScriptBuf::from(vec![0x51; 34]) }],
    }
}

/// A parent block of `others` transactions after a coinbase with this script.
pub(super) fn parent_block(script: &[u8], others: u64) -> Block {
    let mut txdata = vec![paid(ScriptBuf::from(script.to_vec()), 0)];
    txdata.extend((1..=others).map(|value| paid(ScriptBuf::new(), value)));
    let header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: 1_700_000_000,
        bits: CompactTarget::from_consensus(0x1700_ffff),
        nonce: 0,
    };
    let mut block = Block { header, txdata };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    block
}

/// What a miner mines along, with a pool's usual text before and after the commitment.
pub(super) fn script_with(commitment: &[u8]) -> Vec<u8> {
    [b"\x03\x01\x02\x03/pool/".as_slice(), commitment, b"\x01\x02\x03\x04"].concat()
}

/// A tree of our mined hash and three other chains.
pub(super) fn tree() -> MergedTree {
    let other = |id: u32| (id, B256::repeat_byte(id as u8));
    MergedTree::new(&[other(1), (OURS, mined_hash().0), other(0x14), other(0x62)]).unwrap()
}

/// A proof that holds for [`expected`].
pub(super) fn good() -> AuxPow {
    let block = parent_block(&script_with(&tree().commitment().to_bytes()), 10);
    AuxPow::from_block(&block, tree().branch(OURS)).unwrap()
}

/// Replaces the coinbase script and leads the parent's merkle root to it again.
pub(super) fn rescript(proof: &mut AuxPow, script: Vec<u8>) {
    proof.coinbase.input[0].script_sig = ScriptBuf::from(script);
    lead_to_coinbase(proof);
}

pub(super) fn lead_to_coinbase(proof: &mut AuxPow) {
    let id = B256::from(proof.coinbase.compute_txid().to_byte_array());
    let root = merkle::root(id, &proof.coinbase_branch);
    proof.parent.merkle_root = TxMerkleNode::from_byte_array(root.0);
}

/// Tries nonces until the parent's hash meets the target: about two for regtest's limit.
pub(super) fn solve(proof: &mut AuxPow, target: Target) {
    while !target.is_met_by(proof.parent.block_hash()) {
        proof.parent.nonce += 1;
    }
}
