//! Merkle trees as in Bitcoin: double SHA-256 of two children, the last of an odd row paired with itself.

use alloy_primitives::B256;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};

use crate::proof::Branch;

/// The root that `leaf` leads to.
pub(crate) fn root(leaf: B256, branch: &Branch) -> B256 {
    let mut node = leaf;
    let mut position = branch.index;
    for sibling in &branch.hashes {
        let is_right = position & 1 == 1;
        node = if is_right { parent(*sibling, node) } else { parent(node, *sibling) };
        position >>= 1;
    }
    node
}

/// The branch from leaf `index` to the root. Of no meaning for an index that is not among the leaves.
pub(crate) fn branch(leaves: Vec<B256>, index: u32) -> Branch {
    let mut hashes = Vec::new();
    let mut row = leaves;
    let mut position = usize::try_from(index).unwrap_or(usize::MAX);
    while row.len() > 1 {
        let sibling = row.get(position ^ 1).or(row.last()).copied();
        hashes.extend(sibling);
        row = row.chunks(2).map(pair).collect();
        position >>= 1;
    }
    Branch { hashes, index }
}

fn pair(children: &[B256]) -> B256 {
    match children {
        [left, right] => parent(*left, *right),
        [single] => parent(*single, *single),
        _ => B256::ZERO,
    }
}

fn parent(left: B256, right: B256) -> B256 {
    let mut engine = sha256d::Hash::engine();
    engine.input(left.as_slice());
    engine.input(right.as_slice());
    B256::from(sha256d::Hash::from_engine(engine).to_byte_array())
}
