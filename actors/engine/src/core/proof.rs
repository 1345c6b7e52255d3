//! Proofs that a key has a value in a trie, or has none: the nodes on the way to it.

use alloy_primitives::{B256, Bytes};
use alloy_trie::Nibbles;

use super::state::StateError;
use super::trie::{self, Node};

/// The nodes on the way to `key`, root first, in the trie whose nodes `load` gives by path; none for an empty trie. What
/// lives inside its parent is part of it.
///
/// # Errors
/// What `load` fails with, or `Damaged` when a node that must be there is not or does not decode.
pub fn prove(load: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StateError>, key: B256) -> Result<Vec<Bytes>, StateError> {
    let key = Nibbles::unpack(key);
    let mut at = Nibbles::new();
    let mut proof = Vec::new();
    let Some(mut encoded) = load(&[])? else { return Ok(proof) };
    loop {
        let mut node = trie::decode(&encoded).map_err(|cause| trie::damaged(&at, &cause.to_string()))?;
        proof.push(encoded.into());
        loop {
            let rest = key.slice(at.len()..);
            node = match node {
                Node::Empty | Node::Leaf { .. } => return Ok(proof),
                Node::Stored(_) => break,
                Node::Extension { path, child } => {
                    if !rest.starts_with(&path) {
                        return Ok(proof);
                    }
                    at = at.join(&path);
                    *child
                }
                Node::Branch(mut children) => {
                    let Some(nibble) = rest.first() else { return Ok(proof) };
                    at.push(nibble);
                    std::mem::replace(&mut children[usize::from(nibble)], Node::Empty)
                }
            };
        }
        encoded = load(&at.to_vec())?.ok_or_else(|| trie::damaged(&at, "is missing"))?;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_primitives::keccak256;
    use alloy_trie::proof::verify_proof;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_proved_is_what_the_root_commits_to(
            keys in proptest::collection::btree_map(any::<u8>(), proptest::collection::vec(any::<u8>(), 1..40), 0..40),
            asked in any::<u8>(),
        ) {
            let entries = keys.iter().map(|(key, value)| (keccak256([*key]), Some(alloy_rlp::encode(value.as_slice()))));
            let update = trie::update(|_| Ok(None), entries).unwrap();
            let nodes: BTreeMap<Vec<u8>, Vec<u8>> =
                update.nodes.into_iter().filter_map(|(path, node)| Some((path, node?))).collect();
            let proof = prove(|path| Ok(nodes.get(path).cloned()), keccak256([asked])).unwrap();
            let value = keys.get(&asked).map(|value| alloy_rlp::encode(value.as_slice()));
            if keys.is_empty() {
                prop_assert!(proof.is_empty());
            } else {
                verify_proof(update.root, Nibbles::unpack(keccak256([asked])), value, &proof).unwrap();
                let wrong = Some(vec![0x80, 1, 2]);
                prop_assert!(verify_proof(update.root, Nibbles::unpack(keccak256([asked])), wrong, &proof).is_err());
            }
        }
    }
}
