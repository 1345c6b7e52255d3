//! Blocks that are executed but not committed. Any of them may become the next head, or be built upon.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use alloy_primitives::B256;

use super::block::ExecutedBlock;

/// Blocks kept: the 64 of a batch that chain commits together, and 32 for rounds: a height sees one block a round, and rounds
/// beyond a few are rare. A block that fell out is executed again when it is asked for. The first have 8 MiB of payload
/// together or are one block; 32 × at most ~20 MiB (payload, receipts, changed state) for blocks full to the brim.
pub const MAX_EXECUTED: usize = 96;

/// Executed blocks by hash.
#[derive(Debug, Default)]
pub struct Tree {
    blocks: HashMap<B256, Arc<ExecutedBlock>>,
    /// Oldest first.
    order: VecDeque<B256>,
    /// Blocks that fell out because of [`MAX_EXECUTED`].
    dropped: u64,
}

impl Tree {
    /// Keeps a block; the oldest goes when there are too many.
    pub fn insert(&mut self, block: Arc<ExecutedBlock>) {
        let hash = block.hash;
        if self.blocks.insert(hash, block).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > MAX_EXECUTED {
            if let Some(oldest) = self.order.pop_front() {
                self.blocks.remove(&oldest);
                self.dropped = self.dropped.saturating_add(1);
            }
        }
    }

    /// A block by hash.
    pub fn get(&self, hash: B256) -> Option<&Arc<ExecutedBlock>> {
        self.blocks.get(&hash)
    }

    /// Blocks from `tip` down to the child of `head`, newest first. `None` when `tip` does not lead there.
    pub fn path(&self, tip: B256, head: B256) -> Option<Vec<Arc<ExecutedBlock>>> {
        let mut path = Vec::new();
        let mut at = tip;
        while at != head {
            let block = self.blocks.get(&at)?;
            at = block.header().parent_hash;
            path.push(Arc::clone(block));
        }
        Some(path)
    }

    /// `head` is committed: what does not build on it can never be.
    pub fn committed(&mut self, head: B256) {
        let stale: Vec<B256> =
            self.order.iter().copied().filter(|hash| *hash == head || self.path(*hash, head).is_none()).collect();
        for hash in &stale {
            self.blocks.remove(hash);
        }
        self.order.retain(|hash| !stale.contains(hash));
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many fell out.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy_consensus::{Block, Header};

    use super::*;

    fn block(hash: u64, parent: u64) -> Arc<ExecutedBlock> {
        let header = Header { parent_hash: name(parent), ..Header::default() };
        Arc::new(ExecutedBlock {
            hash: name(hash),
            block: Block { header, ..Block::default() },
            senders: Vec::new(),
            receipts: Vec::new(),
            diff: Default::default(),
            burns: Vec::new(),
            fees: Default::default(),
        })
    }

    fn name(number: u64) -> B256 {
        B256::left_padding_from(&number.to_be_bytes())
    }

    #[test]
    fn committing_keeps_only_what_builds_on_the_head() {
        let mut tree = Tree::default();
        for (hash, parent) in [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3)] {
            tree.insert(block(hash, parent));
        }
        assert_eq!(tree.path(name(5), name(0)).unwrap().len(), 3);
        tree.committed(name(1));
        assert!([1, 2, 4].iter().all(|gone| tree.get(name(*gone)).is_none()));
        let path: Vec<_> = tree.path(name(5), name(1)).unwrap().iter().map(|block| block.hash).collect();
        assert_eq!(path, [name(5), name(3)]);
    }

    #[test]
    fn the_oldest_falls_out() {
        let mut tree = Tree::default();
        for hash in 1..=u64::try_from(MAX_EXECUTED).unwrap() + 1 {
            tree.insert(block(hash, 0));
        }
        assert_eq!((tree.len(), tree.dropped()), (MAX_EXECUTED, 1));
        assert!(tree.get(name(1)).is_none() && tree.get(name(2)).is_some());
    }
}
