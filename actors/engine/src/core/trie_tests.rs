#![allow(clippy::unwrap_used)]
use alloy_trie::HashBuilder;
use proptest::prelude::*;

use super::*;

/// A trie kept the way the database keeps it.
#[derive(Default)]
struct Kept {
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    root: B256,
}

impl Kept {
    fn update(&mut self, changes: impl IntoIterator<Item = (B256, Option<Vec<u8>>)>) {
        let update = update(|path| Ok(self.nodes.get(path).cloned()), changes).unwrap();
        for (path, node) in update.nodes {
            match node {
                Some(node) => self.nodes.insert(path, node),
                None => self.nodes.remove(&path),
            };
        }
        self.root = update.root;
    }
}

/// The root as a builder that sees all keys in order computes it.
fn rebuilt(entries: &BTreeMap<B256, Vec<u8>>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in entries {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    builder.root()
}

/// Keys that share long prefixes, so that branches, extensions and inlined nodes all appear.
fn key() -> impl Strategy<Value = B256> {
    (0u8..4, prop_oneof![Just(0usize), Just(1), Just(15), Just(31)], 0u8..8).prop_map(|(first, at, value)| {
        let mut key = [first * 0x11; 32];
        key[at] ^= value;
        B256::from(key)
    })
}

fn change() -> impl Strategy<Value = (B256, Option<Vec<u8>>)> {
    // One-byte values make nodes short enough to live inside their parents.
    let value = prop_oneof![Just(None), Just(Some(vec![1u8])), prop::collection::vec(1u8.., 33..40).prop_map(Some)];
    (key(), value)
}

proptest! {
    #[test]
    fn every_update_gives_the_root_and_exactly_the_nodes_of_the_whole(batches in prop::collection::vec(prop::collection::vec(change(), 0..12), 1..8)) {
        let mut kept = Kept::default();
        let mut entries = BTreeMap::new();
        for batch in batches {
            for (key, value) in &batch {
                match value {
                    Some(value) => entries.insert(*key, value.clone()),
                    None => entries.remove(key),
                };
            }
            kept.update(batch);
            prop_assert_eq!(kept.root, rebuilt(&entries));
            // A trie made in one go has the same nodes: none is left behind, none is missing.
            let mut fresh = Kept::default();
            fresh.update(entries.iter().map(|(key, value)| (*key, Some(value.clone()))));
            prop_assert_eq!(&kept.nodes, &fresh.nodes);
        }
    }

    #[test]
    fn rubbish_nodes_are_damage_and_no_panic(bytes: Vec<u8>, key: [u8; 32]) {
        let load = |_: &[u8]| Ok(Some(bytes.clone()));
        let _ = update(load, [(B256::from(key), Some(vec![1]))]);
        let _ = update(load, [(B256::from(key), None)]);
    }
}

#[test]
fn a_missing_or_foreign_node_is_damage() {
    let mut kept = Kept::default();
    let entries = (0u8..40).map(|number| (keccak256([number]), Some(vec![number; 40])));
    kept.update(entries);
    let child = kept.nodes.keys().find(|path| path.len() == 1).unwrap().clone();
    let mut key = B256::ZERO;
    key[0] = child[0] << 4;
    let missing = update(|path| Ok((path != child).then(|| kept.nodes.get(path).cloned()).flatten()), [(key, Some(vec![1]))]);
    assert!(matches!(missing, Err(StateError::Damaged(_))));
    let foreign = update(|path| Ok(kept.nodes.get(if path == child { &[][..] } else { path }).cloned()), [(key, Some(vec![1]))]);
    assert!(matches!(foreign, Err(StateError::Damaged(_))));
}

#[test]
fn an_empty_trie_has_the_empty_root_and_no_node() {
    let mut kept = Kept::default();
    kept.update([(B256::ZERO, Some(vec![1]))]);
    assert_eq!(kept.nodes.len(), 1);
    kept.update([(B256::ZERO, None)]);
    assert_eq!(kept.root, EMPTY_ROOT_HASH);
    assert!(kept.nodes.is_empty());
}
