//! Merkle Patricia trie with 32-byte keys, updated in place: only the nodes on the way to a changed key are read.
//!
//! Nodes are kept by *path* (one nibble per byte from the root), not by hash, so an update overwrites what it replaces
//! and nothing has to be collected later. A node whose encoding is shorter than 32 bytes lives inside its parent, as
//! the format wants; only the root is always kept on its own.
//!
//! | a removal leaves a branch with | it becomes |
//! |---|---|
//! | two children or more | itself |
//! | one leaf or extension | that child, its path longer by the nibble |
//! | one branch | an extension of one nibble |

use std::collections::BTreeMap;

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode, TrieNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieMask};

use super::state::{NodeChanges, StateError};

/// The trie after an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrieUpdate {
    /// Its root hash.
    pub root: B256,
    /// Nodes that differ from before.
    pub nodes: NodeChanges,
}

/// Sets keys to values (`None` removes) in the trie whose nodes `load` gives by path.
///
/// # Errors
/// What `load` fails with, or `Damaged` when a node that must be there is not or does not decode.
pub fn update<L>(load: L, changes: impl IntoIterator<Item = (B256, Option<Vec<u8>>)>) -> Result<TrieUpdate, StateError>
where
    L: Fn(&[u8]) -> Result<Option<Vec<u8>>, StateError>,
{
    let mut trie = Trie { load, loaded: BTreeMap::new() };
    let mut root = trie.root()?;
    for (key, value) in changes {
        let key = Nibbles::unpack(key);
        root = match value {
            Some(value) => trie.insert(root, Nibbles::new(), key, value)?,
            None => trie.remove(root, Nibbles::new(), key)?,
        };
    }
    Ok(trie.finish(&root))
}

/// A node in memory. Children that were not needed stay as they are stored.
pub(super) enum Node {
    Empty,
    Stored(RlpNode),
    Leaf { path: Nibbles, value: Vec<u8> },
    Extension { path: Nibbles, child: Box<Node> },
    Branch(Box<[Node; 16]>),
}

struct Trie<L> {
    load: L,
    /// What was read, by path: what is not written again has disappeared.
    loaded: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<L> Trie<L>
where
    L: Fn(&[u8]) -> Result<Option<Vec<u8>>, StateError>,
{
    fn root(&mut self) -> Result<Node, StateError> {
        match (self.load)(&[])? {
            Some(bytes) => self.keep(Vec::new(), bytes),
            None => Ok(Node::Empty),
        }
    }

    /// The node itself when it is only referred to.
    fn open(&mut self, node: Node, at: Nibbles) -> Result<Node, StateError> {
        let Node::Stored(reference) = node else { return Ok(node) };
        let path = at.to_vec();
        let bytes = (self.load)(&path)?.ok_or_else(|| damaged(&at, "is missing"))?;
        if reference.as_hash() != Some(keccak256(&bytes)) {
            return Err(damaged(&at, "has another hash than its parent says"));
        }
        self.keep(path, bytes)
    }

    fn keep(&mut self, path: Vec<u8>, bytes: Vec<u8>) -> Result<Node, StateError> {
        let node = decode(&bytes).map_err(|cause| damaged(&Nibbles::from_nibbles(&path), &cause.to_string()))?;
        self.loaded.insert(path, bytes);
        Ok(node)
    }

    fn insert(&mut self, node: Node, at: Nibbles, key: Nibbles, value: Vec<u8>) -> Result<Node, StateError> {
        match self.open(node, at)? {
            Node::Empty | Node::Stored(_) => Ok(Node::Leaf { path: key, value }),
            Node::Leaf { path, .. } if path == key => Ok(Node::Leaf { path, value }),
            Node::Leaf { path, value: other } => {
                let shared = path.common_prefix_length(&key);
                let mut children = no_children();
                put(&mut children, &path, shared, |rest| Node::Leaf { path: rest, value: other });
                put(&mut children, &key, shared, |rest| Node::Leaf { path: rest, value });
                Ok(extend(key.slice(..shared), Node::Branch(children)))
            }
            Node::Extension { path, child } => {
                let shared = path.common_prefix_length(&key);
                if shared == path.len() {
                    let child = self.insert(*child, at.join(&path), key.slice(shared..), value)?;
                    return Ok(Node::Extension { path, child: Box::new(child) });
                }
                let mut children = no_children();
                put(&mut children, &path, shared, |rest| extend(rest, *child));
                put(&mut children, &key, shared, |rest| Node::Leaf { path: rest, value });
                Ok(extend(key.slice(..shared), Node::Branch(children)))
            }
            Node::Branch(mut children) => {
                let Some((nibble, rest)) = split(&key) else {
                    return Err(damaged(&at, "is a branch below a whole key"));
                };
                let slot = &mut children[usize::from(nibble)];
                let child = std::mem::replace(slot, Node::Empty);
                *slot = self.insert(child, step(at, nibble), rest, value)?;
                Ok(Node::Branch(children))
            }
        }
    }

    fn remove(&mut self, node: Node, at: Nibbles, key: Nibbles) -> Result<Node, StateError> {
        match self.open(node, at)? {
            Node::Empty | Node::Stored(_) => Ok(Node::Empty),
            Node::Leaf { path, .. } if path == key => Ok(Node::Empty),
            leaf @ Node::Leaf { .. } => Ok(leaf),
            Node::Extension { path, child } => {
                if !key.starts_with(&path) {
                    return Ok(Node::Extension { path, child });
                }
                let child = self.remove(*child, at.join(&path), key.slice(path.len()..))?;
                Ok(extend(path, child))
            }
            Node::Branch(mut children) => {
                let Some((nibble, rest)) = split(&key) else {
                    return Err(damaged(&at, "is a branch below a whole key"));
                };
                let slot = &mut children[usize::from(nibble)];
                let child = std::mem::replace(slot, Node::Empty);
                *slot = self.remove(child, step(at, nibble), rest)?;
                self.collapse(children, at)
            }
        }
    }

    fn collapse(&mut self, mut children: Box<[Node; 16]>, at: Nibbles) -> Result<Node, StateError> {
        let mut used = (0u8..16).filter(|nibble| !matches!(children[usize::from(*nibble)], Node::Empty));
        let (first, second) = (used.next(), used.next());
        match (first, second) {
            (None, _) => Ok(Node::Empty),
            (Some(nibble), None) => {
                let child = std::mem::replace(&mut children[usize::from(nibble)], Node::Empty);
                let child = self.open(child, step(at, nibble))?;
                Ok(extend(step(Nibbles::new(), nibble), child))
            }
            (Some(_), Some(_)) => Ok(Node::Branch(children)),
        }
    }

    fn finish(mut self, root: &Node) -> TrieUpdate {
        let mut nodes = NodeChanges::new();
        let hash = match root {
            Node::Empty => EMPTY_ROOT_HASH,
            root => {
                let mut encoded = Vec::new();
                self.encode(root, Nibbles::new(), &mut encoded, &mut nodes);
                let hash = keccak256(&encoded);
                self.emit(Vec::new(), encoded, &mut nodes);
                hash
            }
        };
        nodes.extend(std::mem::take(&mut self.loaded).into_keys().map(|path| (path, None)));
        TrieUpdate { root: hash, nodes }
    }

    /// Writes a node unless it is what was read. Either way it has not disappeared.
    fn emit(&mut self, path: Vec<u8>, encoded: Vec<u8>, nodes: &mut NodeChanges) {
        if self.loaded.remove(&path).as_ref() != Some(&encoded) {
            nodes.insert(path, Some(encoded));
        }
    }

    /// Reference to a child for its parent; children of 32 bytes and more are emitted.
    fn reference(&mut self, node: &Node, at: Nibbles, nodes: &mut NodeChanges) -> RlpNode {
        if let Node::Stored(reference) = node {
            return reference.clone();
        }
        let mut encoded = Vec::new();
        self.encode(node, at, &mut encoded, nodes);
        let reference = RlpNode::from_rlp(&encoded);
        if encoded.len() >= 32 {
            self.emit(at.to_vec(), encoded, nodes);
        }
        reference
    }

    fn encode(&mut self, node: &Node, at: Nibbles, out: &mut Vec<u8>, nodes: &mut NodeChanges) {
        match node {
            Node::Empty => out.push(alloy_rlp::EMPTY_STRING_CODE),
            Node::Stored(reference) => out.extend_from_slice(reference),
            Node::Leaf { path, value } => {
                LeafNodeRef::new(path, value).rlp(out);
            }
            Node::Extension { path, child } => {
                let child = self.reference(child, at.join(path), nodes);
                ExtensionNodeRef::new(path, &child).rlp(out);
            }
            Node::Branch(children) => {
                let mut stack = Vec::with_capacity(16);
                let mut mask = TrieMask::default();
                for (nibble, child) in (0u8..16).zip(children.iter()) {
                    if !matches!(child, Node::Empty) {
                        stack.push(self.reference(child, step(at, nibble), nodes));
                        mask.set_bit(nibble);
                    }
                }
                BranchNodeRef::new(&stack, mask).rlp(out);
            }
        }
    }
}

pub(super) fn damaged(at: &Nibbles, what: &str) -> StateError {
    StateError::Damaged(format!("trie node at {at:?} {what}"))
}

pub(super) fn decode(mut bytes: &[u8]) -> alloy_rlp::Result<Node> {
    let node = match TrieNode::decode(&mut bytes)? {
        TrieNode::EmptyRoot => Node::Empty,
        TrieNode::Leaf(leaf) => Node::Leaf { path: leaf.key, value: leaf.value },
        TrieNode::Extension(extension) => Node::Extension { path: extension.key, child: Box::new(child(&extension.child)?) },
        TrieNode::Branch(branch) => {
            let mut children = no_children();
            for (nibble, reference) in branch.as_ref().children() {
                if let Some(reference) = reference {
                    children[usize::from(nibble)] = child(reference)?;
                }
            }
            Node::Branch(children)
        }
    };
    if bytes.is_empty() { Ok(node) } else { Err(alloy_rlp::Error::UnexpectedLength) }
}

fn child(reference: &RlpNode) -> alloy_rlp::Result<Node> {
    if reference.is_hash() { Ok(Node::Stored(reference.clone())) } else { decode(reference) }
}

fn no_children() -> Box<[Node; 16]> {
    Box::new(std::array::from_fn(|_| Node::Empty))
}

/// Puts what remains of `path` after `shared` nibbles and the branch's own nibble under that nibble.
fn put(children: &mut [Node; 16], path: &Nibbles, shared: usize, node: impl FnOnce(Nibbles) -> Node) {
    if let Some((nibble, rest)) = split(&path.slice(shared..)) {
        children[usize::from(nibble)] = node(rest);
    }
}

fn split(path: &Nibbles) -> Option<(u8, Nibbles)> {
    Some((path.first()?, path.slice(1..)))
}

fn step(mut at: Nibbles, nibble: u8) -> Nibbles {
    at.push(nibble);
    at
}

/// A node below `path`, in normal form: no extension of nothing, none above a leaf or another extension.
fn extend(path: Nibbles, node: Node) -> Node {
    if path.is_empty() {
        return node;
    }
    match node {
        Node::Empty => Node::Empty,
        Node::Leaf { path: rest, value } => Node::Leaf { path: path.join(&rest), value },
        Node::Extension { path: rest, child } => Node::Extension { path: path.join(&rest), child },
        branch @ (Node::Branch(_) | Node::Stored(_)) => Node::Extension { path, child: Box::new(branch) },
    }
}

#[cfg(test)]
#[path = "trie_tests.rs"]
mod tests;
