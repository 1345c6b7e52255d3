use alloy_primitives::B256;
use proptest::prelude::*;

use super::support::*;
use crate::{AuxPow, Commitment, MergedTree, TreeError};

#[test]
fn alone_the_root_is_the_mined_hash() {
    let tree = MergedTree::new(&[(OURS, mined_hash().0)]).unwrap();
    assert_eq!(tree.commitment(), Commitment { root: mined_hash().0, size: 1, nonce: 0 });
    assert_eq!(tree.branch(OURS), crate::Branch::default());
    let shown = hex::encode(tree.commitment().to_bytes());
    assert_eq!(shown, format!("fabe6d6d{}0100000000000000", mined_hash()));
}

#[test]
fn without_chains_or_with_one_twice_there_is_no_tree() {
    assert_eq!(MergedTree::new(&[]), Err(TreeError::Empty));
    assert_eq!(MergedTree::new(&[(7, B256::ZERO), (7, B256::ZERO)]), Err(TreeError::Collision));
    assert_eq!(MergedTree::new(&[(7, B256::ZERO), (7 + 0x1_0000, B256::ZERO)]), Err(TreeError::Collision));
}

#[test]
fn a_solved_parent_of_any_size_becomes_a_proof() {
    for others in [0, 1, 2, 3, 4, 5, 6, 7, 100] {
        let block = parent_block(&script_with(&tree().commitment().to_bytes()), others);
        let proof = AuxPow::from_block(&block, tree().branch(OURS)).unwrap();
        assert_eq!(proof.check(&expected()), Ok(()), "{others}");
        assert!(proof.coinbase.input[0].witness.is_empty());
        assert_eq!(AuxPow::decode(&proof.encode()), Ok(proof));
    }
}

proptest! {
    #[test]
    fn a_tree_proves_each_of_its_chains(ids in prop::collection::btree_set(1_u16..0x2000, 1..12)) {
        let chains: Vec<_> = ids.iter().map(|id| (u32::from(*id), B256::left_padding_from(&id.to_be_bytes()))).collect();
        let tree = MergedTree::new(&chains).unwrap();
        let block = parent_block(&script_with(&tree.commitment().to_bytes()), 3);
        for (id, hash) in ids.into_iter().zip(chains.iter().map(|(_, hash)| *hash)) {
            let chain_id = crate::AuxChainId::new(id).unwrap();
            let proof = AuxPow::from_block(&block, tree.branch(u32::from(id))).unwrap();
            let ours = crate::Expected { chain_id, mined_hash: crate::MinedHash(hash), ..expected() };
            prop_assert_eq!(proof.check(&ours), Ok(()));
        }
    }
}
