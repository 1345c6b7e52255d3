use alloy_primitives::B256;
use bitcoin::consensus::encode::serialize;
use bitcoin::{ScriptBuf, Witness};
use proptest::prelude::*;

use super::support::*;
use crate::proof::{MAX_BRANCH, MAX_PROOF_BYTES};
use crate::{AuxPow, Branch, ProofError};

#[test]
fn the_encoding_is_the_parts_in_order() {
    let mut proof = good();
    proof.coinbase_branch = Branch { hashes: vec![B256::repeat_byte(1); 2], index: 0 };
    proof.chain_branch = Branch { hashes: vec![B256::repeat_byte(2)], index: 0x0102_0304 };
    let expected = [
        serialize(&proof.coinbase),
        proof.stated_parent_hash.to_vec(),
        [[2].as_slice(), &[1; 64], &[0; 4]].concat(),
        [[1].as_slice(), &[2; 32], &[4, 3, 2, 1]].concat(),
        serialize(&proof.parent),
    ];
    assert_eq!(proof.encode(), expected.concat());
    assert_eq!(AuxPow::decode(&proof.encode()), Ok(proof));
}

#[test]
fn every_cut_and_everything_after_the_end_is_refused() {
    let bytes = good().encode();
    for length in 0..bytes.len() {
        assert!(AuxPow::decode(&bytes[..length]).is_err(), "{length}");
    }
    assert_eq!(AuxPow::decode(&[bytes.as_slice(), &[0]].concat()), Err(ProofError::Trailing(1)));
}

#[test]
fn a_witness_is_refused() {
    let mut proof = good();
    proof.coinbase.input[0].witness = Witness::from_slice(&[[0; 32]]);
    assert_eq!(AuxPow::decode(&proof.encode()), Err(ProofError::Witness));
}

#[test]
fn a_coinbase_without_inputs_is_refused() {
    let mut proof = good();
    proof.coinbase.input.clear();
    let coinbase = [proof.coinbase.version.0.to_le_bytes().as_slice(), &[0, 0], &[0; 4]].concat();
    let rest = proof.encode().split_off(serialize(&proof.coinbase).len());
    assert_eq!(AuxPow::decode(&[coinbase, rest].concat()), Err(ProofError::Malformed("coinbase")));
}

#[test]
fn sizes_are_bounded() {
    assert_eq!(AuxPow::decode(&vec![0; MAX_PROOF_BYTES + 1]), Err(ProofError::TooLong(MAX_PROOF_BYTES + 1)));
    let mut proof = good();
    proof.chain_branch.hashes = vec![B256::ZERO; MAX_BRANCH];
    assert_eq!(AuxPow::decode(&proof.encode()).as_ref(), Ok(&proof));
    proof.chain_branch.hashes.push(B256::ZERO);
    let refused = ProofError::BranchTooLong { name: "chain branch", hashes: 33 };
    assert_eq!(AuxPow::decode(&proof.encode()), Err(refused));
    proof.coinbase_branch.hashes = vec![B256::ZERO; 1_000];
    let refused = ProofError::BranchTooLong { name: "coinbase branch", hashes: 1_000 };
    assert_eq!(AuxPow::decode(&proof.encode()), Err(refused));
}

/// A count of 2^64 - 1 must cost nothing, and one size has one form.
#[test]
fn stated_counts_are_not_believed() {
    let proof = AuxPow { coinbase_branch: Branch::default(), ..good() };
    let bytes = proof.encode();
    let count_at = serialize(&proof.coinbase).len() + 32;
    let with_count = |count: &[u8]| [&bytes[..count_at], count, &bytes[count_at + 1..]].concat();
    let huge = AuxPow::decode(&with_count(&[0xff; 9]));
    assert_eq!(huge, Err(ProofError::BranchTooLong { name: "coinbase branch", hashes: u64::MAX }));
    assert_eq!(AuxPow::decode(&with_count(&[0xfd, 0, 0])), Err(ProofError::Malformed("coinbase branch")));
}

#[test]
fn a_block_without_transactions_has_no_proof() {
    let mut block = parent_block(b"", 0);
    assert!(AuxPow::from_block(&block, Branch::default()).is_some());
    block.txdata.clear();
    assert_eq!(AuxPow::from_block(&block, Branch::default()), None);
}

fn any_branch() -> impl Strategy<Value = Branch> {
    let hashes = prop::collection::vec(any::<[u8; 32]>().prop_map(B256::from), 0..=MAX_BRANCH);
    (hashes, any::<u32>()).prop_map(|(hashes, index)| Branch { hashes, index })
}

prop_compose! {
    pub(super) fn any_proof()(
        script in prop::collection::vec(any::<u8>(), 0..200),
        stated: [u8; 32],
        coinbase_branch in any_branch(),
        chain_branch in any_branch(),
        nonce: u32,
        outputs in 0_usize..5,
    ) -> AuxPow {
        let mut proof = good();
        proof.coinbase.input[0].script_sig = ScriptBuf::from(script);
        proof.coinbase.output.resize(outputs, bitcoin::TxOut::NULL);
        proof.parent.nonce = nonce;
        AuxPow { stated_parent_hash: stated.into(), coinbase_branch, chain_branch, ..proof }
    }
}

proptest! {
    #[test]
    fn proofs_round_trip_and_can_be_checked(proof in any_proof()) {
        let decoded = AuxPow::decode(&proof.encode());
        prop_assert_eq!(decoded.as_ref(), Ok(&proof));
        prop_assert!(proof.check(&expected()).is_err());
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _refused = AuxPow::decode(&bytes);
    }

    /// What decodes has one encoding, however it was damaged.
    #[test]
    fn one_proof_has_one_encoding(proof in any_proof(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = proof.encode();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(decoded) = AuxPow::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
            let _maybe_refused = decoded.check(&expected());
        }
    }
}
