use alloy_primitives::{Address, B256};
use alys_blocks::BitcoinView;
use alys_proto::{Sats, common};
use bitcoin::hashes::Hash as _;
use bitcoin::merkle_tree::MerkleBlock;
use bitcoin::{OutPoint, Transaction, TxMerkleNode, Txid, consensus, merkle_tree};
use proptest::prelude::*;

use super::deposit::{op_return, to_us, transaction};
use super::support::*;
use crate::proof::{ProofRefusal, confirmations, verify, verify_inclusion};
use crate::{InclusionProof, InvalidReason, PegInProof, deposit};

pub(in crate::tests) const BLOCK_HEIGHT: u32 = 100;
pub(in crate::tests) const DEEP: u32 = 105;

/// Transaction ids of a block with `others` transactions before ours.
pub(in crate::tests) fn block_of(ours: &Transaction, others: u8) -> Vec<Txid> {
    let mut txids: Vec<Txid> = (0..others).map(|n| Txid::hash(&[n])).collect();
    txids.push(ours.compute_txid());
    txids.push(Txid::hash(b"last"));
    txids
}

pub(in crate::tests) fn root(txids: &[Txid]) -> TxMerkleNode {
    let root: Txid = merkle_tree::calculate_root(txids.iter().copied()).unwrap();
    TxMerkleNode::from_byte_array(root.to_byte_array())
}

fn proof_of(ours: &Transaction, others: u8) -> PegInProof {
    let txids = block_of(ours, others);
    let deposit = deposit::find(ours, &federation(), &rules()).remove(0).unwrap();
    PegInProof::new(&deposit, ours, &header(root(&txids)), &txids, BLOCK_HEIGHT).unwrap()
}

pub(in crate::tests) fn good() -> PegInProof {
    proof_of(&transaction(vec![to_us(BTC), op_return(&[7; 20])]), 5)
}

fn refused(proof: &PegInProof) -> ProofRefusal {
    verify(proof, &view(DEEP), &federation(), &rules()).unwrap_err()
}

#[test]
fn a_good_proof_says_what_and_where() {
    for others in [1, 2, 3, 8, 100] {
        let proof = proof_of(&transaction(vec![to_us(BTC), op_return(&[7; 20])]), others);
        let verified = verify(&proof, &view(DEEP), &federation(), &rules()).unwrap();
        assert_eq!(verified.deposit.recipient, Address::repeat_byte(7));
        assert_eq!(verified.deposit.value, Sats(BTC));
        assert_eq!(verified.included.transactions, u32::from(others) + 2);
        assert_eq!(verified.included.position, u32::from(others));
        let hash = proof.merkle.header.block_hash().to_byte_array();
        assert_eq!(verified.included.block, BitcoinView { hash: B256::from(hash), height: BLOCK_HEIGHT });
    }
}

#[test]
fn every_false_claim_is_refused() {
    type Break = fn(&mut PegInProof);
    let other = || transaction(vec![to_us(2 * BTC), op_return(&[8; 20])]);
    let table: [(Break, ProofRefusal); 8] = [
        (|p| p.value = Sats(BTC + 1), ProofRefusal::OtherValue),
        (|p| p.recipient = Address::repeat_byte(8), ProofRefusal::OtherRecipient),
        (|p| p.outpoint.vout = 1, ProofRefusal::NotOurs),
        (|p| p.outpoint.vout = 9, ProofRefusal::NotOurs),
        (|p| p.outpoint.txid = Txid::hash(b"x"), ProofRefusal::OtherTransaction),
        (|p| p.merkle.header.merkle_root = TxMerkleNode::all_zeros(), ProofRefusal::MerkleTree),
        (|p| p.bitcoin_height = DEEP - 4, ProofRefusal::NotDeep { confirmations: 5, needed: 6 }),
        (|p| p.bitcoin_height = DEEP + 1, ProofRefusal::NotDeep { confirmations: 0, needed: 6 }),
    ];
    for (breaks, refusal) in table {
        let mut proof = good();
        breaks(&mut proof);
        assert_eq!(refused(&proof), refusal);
    }
    let mut swapped = good();
    swapped.transaction = other();
    assert_eq!(refused(&swapped), ProofRefusal::OtherTransaction);
    swapped.outpoint.txid = swapped.transaction.compute_txid();
    assert_eq!(refused(&swapped), ProofRefusal::OtherMatch);
}

#[test]
fn a_header_without_work_is_refused() {
    let mut proof = good();
    while proof.merkle.header.validate_pow(proof.merkle.header.target()).is_ok() {
        proof.merkle.header.nonce += 1;
    }
    assert_eq!(refused(&proof), ProofRefusal::ProofOfWork);
}

#[test]
fn a_tree_that_matches_more_or_nothing_is_refused() {
    let ours = transaction(vec![to_us(BTC), op_return(&[7; 20])]);
    let txids = block_of(&ours, 5);
    let header = header(root(&txids));
    let mut proof = good();
    proof.merkle = MerkleBlock::from_header_txids_with_predicate(&header, &txids, |_| true);
    assert_eq!(refused(&proof), ProofRefusal::OtherMatch);
    proof.merkle = MerkleBlock::from_header_txids_with_predicate(&header, &txids, |_| false);
    assert_eq!(refused(&proof), ProofRefusal::OtherMatch);
    assert!(InclusionProof::new(Txid::hash(b"absent"), &header, &txids, 1).is_none());
}

#[test]
fn an_invalid_deposit_stays_invalid_with_a_proof() {
    let ours = transaction(vec![to_us(9_999), op_return(&[7; 20])]);
    let txids = block_of(&ours, 2);
    let inclusion = InclusionProof::new(ours.compute_txid(), &header(root(&txids)), &txids, BLOCK_HEIGHT).unwrap();
    let proof = PegInProof {
        outpoint: OutPoint { txid: ours.compute_txid(), vout: 0 },
        value: Sats(9_999),
        recipient: Address::repeat_byte(7),
        transaction: ours,
        merkle: inclusion.merkle,
        bitcoin_height: BLOCK_HEIGHT,
    };
    assert_eq!(refused(&proof), ProofRefusal::Invalid(InvalidReason::BelowMinimum));
}

#[test]
fn coinbase_deposits_count_only_when_mature() {
    let mut coinbase = transaction(vec![to_us(BTC), op_return(&[7; 20])]);
    coinbase.input[0].previous_output = OutPoint::null();
    let proof = proof_of(&coinbase, 0);
    assert_eq!(refused(&proof), ProofRefusal::NotDeep { confirmations: 6, needed: 100 });
    let mature = verify(&proof, &view(BLOCK_HEIGHT + 99), &federation(), &rules()).unwrap();
    assert!(mature.deposit.coinbase);
    assert_eq!(refused(&proof_of(&coinbase, 3)), ProofRefusal::MerkleTree, "a coinbase is the first transaction");
}

/// CVE-2017-12842: a 64-byte transaction and an inner node of the tree look alike.
#[test]
fn an_inner_node_posing_as_a_transaction_is_refused() {
    let mut small = transaction(vec![bitcoin::TxOut {
        value: bitcoin::Amount::ZERO,
        script_pubkey: bitcoin::ScriptBuf::from_bytes(vec![1; 4]),
    }]);
    small.input[0].script_sig = bitcoin::ScriptBuf::new();
    assert_eq!(small.base_size(), 64);
    let txids = block_of(&small, 2);
    let inclusion = InclusionProof::new(small.compute_txid(), &header(root(&txids)), &txids, BLOCK_HEIGHT).unwrap();
    let mut proof = good();
    proof.outpoint.txid = small.compute_txid();
    proof.transaction = small;
    proof.merkle = inclusion.merkle;
    assert_eq!(refused(&proof), ProofRefusal::InnerNode);
}

/// The other side of it: a deeper tree than the block has shows in the number of transactions, which bitcoind knows.
#[test]
fn a_tree_that_is_deeper_than_the_block_shows_in_its_number_of_transactions() {
    let ours = transaction(vec![to_us(BTC), op_return(&[7; 20])]);
    let (left, right) = (Txid::hash(b"left"), ours.compute_txid());
    let node = Txid::hash(&[left.to_byte_array(), right.to_byte_array()].concat());
    let real = [Txid::hash(b"coinbase"), node];
    let forged = [Txid::hash(b"a"), Txid::hash(b"b"), left, right];
    let upper = Txid::hash(&[forged[0].to_byte_array(), forged[1].to_byte_array()].concat());
    let header = header(root(&[upper, node]));
    assert_eq!(header.merkle_root, root(&forged));
    let inclusion = InclusionProof::new(right, &header, &forged, BLOCK_HEIGHT).unwrap();
    let included = verify_inclusion(&inclusion, inclusion.block_hash(), &view(DEEP), &rules()).unwrap();
    assert_eq!(included.transactions, 4, "the block has {}", real.len());
}

#[test]
fn a_payout_is_settled_only_in_the_claimed_block_and_deep_enough() {
    let ours = transaction(vec![to_us(BTC)]);
    let txids = block_of(&ours, 2);
    let proof = InclusionProof::new(ours.compute_txid(), &header(root(&txids)), &txids, BLOCK_HEIGHT).unwrap();
    let check = |hash, height| verify_inclusion(&proof, hash, &view(height), &rules());
    assert!(check(proof.block_hash(), DEEP).is_ok());
    assert_eq!(check(proof.block_hash(), DEEP - 1), Err(ProofRefusal::NotDeep { confirmations: 5, needed: 6 }));
    assert_eq!(check(B256::ZERO, DEEP), Err(ProofRefusal::OtherBlock));
}

#[test]
fn depth_counts_the_own_block() {
    assert_eq!(confirmations(&view(10), 10), 1);
    assert_eq!(confirmations(&view(10), 5), 6);
    assert_eq!(confirmations(&view(10), 11), 0);
    assert_eq!(confirmations(&view(u32::MAX), 0), u32::MAX);
}

#[test]
fn proofs_go_through_messages_and_blocks_unchanged() {
    let proof = good();
    let message = common::PegInProof::from(&proof);
    assert_eq!(PegInProof::try_from(&message).as_ref(), Ok(&proof));
    let claim = alys_blocks::PegIn::try_from(&proof).unwrap();
    assert_eq!(PegInProof::try_from(&claim).as_ref(), Ok(&proof));
}

#[test]
fn a_proof_with_witnesses_or_trailing_bytes_is_refused() {
    let proof = good();
    let mut with_witness = proof.transaction.clone();
    with_witness.input[0].witness.push([1]);
    let mut message = common::PegInProof::from(&proof);
    message.transaction = consensus::serialize(&with_witness);
    assert_eq!(PegInProof::try_from(&message).unwrap_err(), ProofRefusal::Witness.into());
    let mut message = common::PegInProof::from(&proof);
    message.transaction.push(0);
    assert_eq!(PegInProof::try_from(&message).unwrap_err(), ProofRefusal::Malformed("transaction").into());
    let mut message = common::PegInProof::from(&proof);
    message.merkle_proof.push(0);
    assert_eq!(PegInProof::try_from(&message).unwrap_err(), ProofRefusal::Malformed("merkle proof").into());
}

proptest! {
    #[test]
    fn foreign_proofs_never_panic(transaction in proptest::collection::vec(any::<u8>(), 0..300), merkle in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut message = common::PegInProof::from(&good());
        message.transaction = transaction;
        prop_assert!(PegInProof::try_from(&message).is_err());
        let mut message = common::PegInProof::from(&good());
        message.merkle_proof = merkle;
        if let Ok(proof) = PegInProof::try_from(&message) {
            prop_assert!(verify(&proof, &view(DEEP), &federation(), &rules()).is_err());
        }
    }

    #[test]
    fn a_damaged_tree_never_proves_anything(position in 80usize..300, bit in 0u8..8) {
        let mut message = common::PegInProof::from(&good());
        let length = message.merkle_proof.len();
        message.merkle_proof[80 + (position % (length - 80))] ^= 1 << bit;
        if let Ok(proof) = PegInProof::try_from(&message) {
            // Padding bits are the only ones that say nothing.
            if let Ok(verified) = verify(&proof, &view(DEEP), &federation(), &rules()) {
                prop_assert_eq!(verified, verify(&good(), &view(DEEP), &federation(), &rules()).unwrap());
            }
        }
    }
}
