use alloy_primitives::{B256, U256};
use bitcoin::block::Version;
use proptest::prelude::*;

use super::support::*;
use crate::check::MAX_CHAIN_BRANCH;
use crate::commitment::MAGIC;
use crate::{AuxChainId, AuxPow, Branch, Commitment, Expected, MinedHash, ProofRefusal, Target, merkle, slot};

/// Replaces the commitment of the proof by these bytes.
fn commit(proof: &mut AuxPow, commitment: &[u8]) {
    rescript(proof, script_with(commitment));
}

fn commitment() -> Commitment {
    tree().commitment()
}

#[test]
fn a_good_proof_holds() {
    assert_eq!(good().check(&expected()), Ok(()));
    assert_eq!(AuxPow::decode(&good().encode()).unwrap().check(&expected()), Ok(()));
}

#[test]
fn each_mutation_is_refused_with_its_own_reason() {
    type Mutation = (&'static str, fn(&mut AuxPow), fn(&ProofRefusal) -> bool);
    let mutations: [Mutation; 16] = [
        ("index of the coinbase", |p| p.coinbase_branch.index = 1, |r| *r == ProofRefusal::NotCoinbase(1)),
        ("our chain id", |p| p.parent.version = Version::from_consensus(1_337 << 16 | 1), |r| *r == ProofRefusal::OwnChain),
        ("chain branch of 31", |p| p.chain_branch.hashes.resize(31, B256::ZERO), |r| *r == ProofRefusal::ChainBranchTooLong(31)),
        ("coinbase", |p| p.coinbase.output.clear(), |r| *r == ProofRefusal::OtherMerkleRoot),
        ("coinbase branch", |p| p.coinbase_branch.hashes[2].0[0] ^= 1, |r| *r == ProofRefusal::OtherMerkleRoot),
        ("shorter coinbase branch", |p| p.coinbase_branch.hashes.truncate(1), |r| *r == ProofRefusal::OtherMerkleRoot),
        (
            "merkle root",
            |p| p.parent.merkle_root = bitcoin::TxMerkleNode::from_raw_hash(p.coinbase.compute_txid().to_raw_hash()),
            |r| *r == ProofRefusal::OtherMerkleRoot,
        ),
        (
            "no inputs",
            |p| {
                p.coinbase.input.clear();
                lead_to_coinbase(p);
            },
            |r| *r == ProofRefusal::NoInputs,
        ),
        ("no magic", |p| rescript(p, b"/pool/".to_vec()), |r| *r == ProofRefusal::NoMagic),
        (
            "two magics",
            |p| commit(p, &[commitment().to_bytes().as_slice(), MAGIC.as_slice()].concat()),
            |r| *r == ProofRefusal::TwoMagics,
        ),
        (
            "something between magic and root",
            |p| commit(p, &[MAGIC.as_slice(), &[0], &commitment().to_bytes()[4..]].concat()),
            |r| *r == ProofRefusal::OtherRoot,
        ),
        (
            "another root",
            |p| commit(p, &Commitment { root: B256::ZERO, ..commitment() }.to_bytes()),
            |r| *r == ProofRefusal::OtherRoot,
        ),
        ("another chain branch", |p| p.chain_branch.hashes[0] = B256::ZERO, |r| *r == ProofRefusal::OtherRoot),
        ("cut short", |p| rescript(p, commitment().to_bytes()[..43].to_vec()), |r| *r == ProofRefusal::CutShort),
        (
            "another size",
            |p| commit(p, &Commitment { size: 8, ..commitment() }.to_bytes()),
            |r| matches!(r, ProofRefusal::OtherSize { found: 8, expected } if *expected != 8),
        ),
        (
            "another nonce",
            |p| commit(p, &Commitment { nonce: 1, ..commitment() }.to_bytes()),
            |r| matches!(r, ProofRefusal::OtherSlot { .. }),
        ),
    ];
    for (name, mutate, is_reason) in mutations {
        let mut proof = good();
        mutate(&mut proof);
        let refusal = proof.check(&expected()).unwrap_err();
        assert!(is_reason(&refusal), "{name}: {refusal:?}");
    }
}

#[test]
fn the_parent_must_meet_our_target_and_not_its_own() {
    let mut proof = good();
    proof.parent.bits = bitcoin::CompactTarget::from_consensus(0x207f_ffff);
    let hash = proof.parent.block_hash();
    let as_number = U256::from_le_bytes(*hash.as_ref());
    let with = |target| Expected { target: Target(target), ..expected() };
    assert_eq!(proof.check(&with(as_number)), Ok(()));
    assert_eq!(proof.check(&with(as_number - U256::from(1))), Err(ProofRefusal::TooLittleWork(hash)));
}

#[test]
fn another_claim_or_chain_is_not_proven() {
    let other_hash = Expected { mined_hash: MinedHash(B256::repeat_byte(9)), ..expected() };
    assert_eq!(good().check(&other_hash), Err(ProofRefusal::OtherRoot));
    let neighbour = Expected { chain_id: AuxChainId::new(1_338).unwrap(), ..expected() };
    assert!(matches!(good().check(&neighbour), Err(ProofRefusal::OtherSlot { .. })));
}

/// A miner that puts a second root of ours into a free leaf of its tree.
#[test]
fn one_tree_holds_one_root_of_ours() {
    let ours = slot(0, OURS, 4);
    for position in 0..16 {
        let mut leaves = vec![B256::ZERO; 16];
        leaves[position as usize] = mined_hash().0;
        let chain_branch = merkle::branch(leaves, position);
        let root = merkle::root(mined_hash().0, &chain_branch);
        let mut proof = good();
        proof.chain_branch = chain_branch;
        commit(&mut proof, &Commitment { root, size: 16, nonce: 0 }.to_bytes());
        assert_eq!(proof.check(&expected()).is_ok(), position == ours, "{position}");
    }
}

/// The path of an index does not see its bits above the tree's height: `2^h + slot` leads to the same root.
#[test]
fn an_index_beyond_the_tree_is_refused() {
    let mut proof = good();
    proof.chain_branch.index += 1 << proof.chain_branch.hashes.len();
    assert!(matches!(proof.check(&expected()), Err(ProofRefusal::OtherSlot { .. })));
}

#[test]
fn the_longest_chain_branch_is_taken() {
    let mut proof = good();
    let index = slot(7, OURS, 30);
    proof.chain_branch = Branch { hashes: vec![B256::repeat_byte(3); MAX_CHAIN_BRANCH], index };
    let root = merkle::root(mined_hash().0, &proof.chain_branch);
    commit(&mut proof, &Commitment { root, size: 1 << 30, nonce: 7 }.to_bytes());
    assert_eq!(proof.check(&expected()), Ok(()));
}

/// Broken in every way at once, then mended one by one: the reasons come in the order of the design, cheap ones first.
#[test]
fn cheap_checks_come_first() {
    let whole = good();
    let mut proof = whole.clone();
    proof.coinbase_branch.index = 3;
    proof.parent.version = Version::from_consensus(1_337 << 16);
    proof.chain_branch.hashes.resize(31, B256::ZERO);
    proof.coinbase.input.clear();
    let hard = Expected { target: Target(U256::from(1)), ..expected() };
    let reason = |proof: &AuxPow| proof.check(&expected()).unwrap_err();

    assert!(matches!(proof.check(&hard), Err(ProofRefusal::TooLittleWork(_))));
    assert_eq!(reason(&proof), ProofRefusal::NotCoinbase(3));
    proof.coinbase_branch.index = 0;
    assert_eq!(reason(&proof), ProofRefusal::OwnChain);
    proof.parent.version = whole.parent.version;
    assert_eq!(reason(&proof), ProofRefusal::ChainBranchTooLong(31));
    proof.chain_branch.hashes.truncate(30);
    assert_eq!(reason(&proof), ProofRefusal::OtherMerkleRoot);
    lead_to_coinbase(&mut proof);
    assert_eq!(reason(&proof), ProofRefusal::NoInputs);
    proof.coinbase.input = whole.coinbase.input;
    lead_to_coinbase(&mut proof);
    assert_eq!(reason(&proof), ProofRefusal::OtherRoot);
    let root = merkle::root(mined_hash().0, &proof.chain_branch);
    let wrong = Commitment { root, size: 1, nonce: u32::MAX };
    commit(&mut proof, &wrong.to_bytes());
    assert!(matches!(reason(&proof), ProofRefusal::OtherSize { found: 1, expected: 0x4000_0000 }));
    commit(&mut proof, &Commitment { size: 1 << 30, ..wrong }.to_bytes());
    assert!(matches!(reason(&proof), ProofRefusal::OtherSlot { .. }));
}

#[test]
fn slots_are_those_of_the_convention() {
    // Namecoin block 37,174 and Crown block 1,671,882, where real miners put these chains.
    assert_eq!(slot(0, 1, 4), 11);
    assert_eq!(slot(0, 20, 7), 2);
    for height in 0..=30 {
        assert!(slot(u32::MAX, u32::MAX, height) < 1 << height);
    }
}

proptest! {
    /// All of a proof but what pools may write freely is bound by the work.
    #[test]
    fn no_damage_proves_something_else(position: prop::sample::Index, change in 1_u8..) {
        let whole = good();
        let mut bytes = whole.encode();
        let place = position.index(bytes.len());
        bytes[place] ^= change;
        let Ok(damaged) = AuxPow::decode(&bytes) else { return Ok(()) };
        let same = AuxPow { stated_parent_hash: whole.stated_parent_hash, parent: whole.parent, ..damaged.clone() };
        let header_only = same == whole && damaged.parent.merkle_root == whole.parent.merkle_root;
        // A damaged header is another header: it holds only because the target of this test is met by all.
        prop_assert_eq!(damaged.check(&expected()).is_ok(), header_only);
    }
}
