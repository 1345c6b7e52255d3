//! The best chain of our bitcoind as far as we have followed it: the tail, block by block, by hash.
//!
//! | what bitcoind has | what happens |
//! |---|---|
//! | our tip and blocks after it | each is appended if its parent is our tip |
//! | another branch from a block of our tail | our blocks after that block are undone, newest first, then as above |
//! | no block of our tail, and we follow nothing yet | the first block is taken at the start height |
//! | no block of our tail otherwise | everything is undone and looked for again from the start height |

use std::collections::VecDeque;

use bitcoin::{Block, BlockHash};
use serde::{Deserialize, Serialize};

/// A week of blocks. A reorganisation deeper than this makes us look for everything again; it is also how long spent
/// coins are remembered. 1,008 × 36 bytes.
pub const TAIL: usize = 1_008;

/// A Bitcoin block by hash and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height; genesis is 0.
    pub height: u32,
}

/// What bitcoind has after the newest block of ours that is still in its best chain.
#[derive(Clone, Debug)]
pub struct Extension {
    /// That block, or `None` when the best chain holds none of those we named.
    pub ancestor: Option<BlockRef>,
    /// The blocks after it in order, or from the start height on when there is no ancestor. At most one window.
    pub blocks: Vec<Block>,
    /// The best chain's tip when they were read.
    pub best: BlockRef,
}

/// The tail of the chain we follow.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    start_height: u32,
    tail: VecDeque<BlockRef>,
}

/// Bitcoind's answer does not continue our chain: it changed its mind while we read. Ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {hash} does not follow the block before it")]
pub struct Discontinuous {
    /// The block that does not fit.
    pub hash: BlockHash,
}

impl Followed {
    /// Nothing followed yet; the first block will be the one at `start_height`.
    pub const fn new(start_height: u32) -> Self {
        Self { start_height, tail: VecDeque::new() }
    }

    /// What was followed before a restart. `None` unless the heights are consecutive.
    pub fn restore(start_height: u32, mut blocks: Vec<BlockRef>) -> Option<Self> {
        blocks.sort_by_key(|block| block.height);
        let consecutive = blocks.windows(2).all(|pair| match pair {
            [first, second] => first.height.checked_add(1) == Some(second.height),
            _ => true,
        });
        let from_start = blocks.first().is_none_or(|first| first.height >= start_height);
        (consecutive && from_start).then(|| Self { start_height, tail: blocks.into() })
    }

    /// The newest block followed.
    pub fn tip(&self) -> Option<BlockRef> {
        self.tail.back().copied()
    }

    /// The blocks we know, newest first: bitcoind is asked for the first of them that is in its best chain.
    pub fn locator(&self) -> Vec<BlockRef> {
        self.tail.iter().rev().copied().collect()
    }

    /// Where to read on when bitcoind knows none of the locator.
    pub const fn start_height(&self) -> u32 {
        self.start_height
    }

    /// Whether this block is in the tail.
    pub fn contains(&self, block: &BlockRef) -> bool {
        self.tail.iter().rev().any(|known| known == block)
    }

    /// How deep a block at `height` is: the tip's depth is 1. 0 above the tip.
    pub fn depth(&self, height: u32) -> u32 {
        let Some(tip) = self.tip() else { return 0 };
        tip.height.checked_sub(height).map_or(0, |above| above.saturating_add(1))
    }

    /// Takes the newest block away.
    pub fn pop(&mut self) -> Option<BlockRef> {
        self.tail.pop_back()
    }

    /// Appends the block after the tip, and returns its place and the block that fell out of the tail.
    pub fn push(&mut self, block: &Block) -> Result<(BlockRef, Option<BlockRef>), Discontinuous> {
        let hash = block.block_hash();
        let height = match self.tip() {
            Some(tip) if block.header.prev_blockhash != tip.hash => return Err(Discontinuous { hash }),
            Some(tip) => tip.height.checked_add(1).ok_or(Discontinuous { hash })?,
            None => self.start_height,
        };
        let place = BlockRef { hash, height };
        self.tail.push_back(place);
        let forgotten = if self.tail.len() > TAIL { self.tail.pop_front() } else { None };
        Ok((place, forgotten))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::fixture::Miner;

    #[test]
    fn a_block_is_never_skipped() {
        let mut miner = Miner::new();
        let (first, second, third) = (miner.mine(vec![]), miner.mine(vec![]), miner.mine(vec![]));
        let mut followed = Followed::new(7);
        assert_eq!(followed.push(&first).unwrap().0.height, 7);
        assert!(followed.push(&third).is_err());
        assert!(followed.push(&first).is_err());
        assert_eq!(followed.push(&second).unwrap().0.height, 8);
        assert_eq!(followed.push(&third).unwrap().0.height, 9);
        assert_eq!((followed.depth(9), followed.depth(7), followed.depth(10)), (1, 3, 0));
    }

    #[test]
    fn the_tail_is_bounded() {
        let mut miner = Miner::new();
        let mut followed = Followed::new(0);
        for _ in 0..TAIL {
            assert_eq!(followed.push(&miner.mine(vec![])).unwrap().1, None);
        }
        assert_eq!(followed.push(&miner.mine(vec![])).unwrap().1.unwrap().height, 0);
        assert_eq!(followed.locator().len(), TAIL);
    }

    #[test]
    fn only_an_unbroken_chain_is_restored() {
        let mut miner = Miner::new();
        let mut followed = Followed::new(0);
        let places: Vec<_> = (0..4).map(|_| followed.push(&miner.mine(vec![])).unwrap().0).collect();
        assert_eq!(Followed::restore(0, places.clone()).unwrap().tip(), followed.tip());
        assert!(Followed::restore(0, vec![places[0], places[2]]).is_none());
        assert!(Followed::restore(2, places).is_none(), "the start height was moved: look again");
        assert_eq!(Followed::restore(0, vec![]).unwrap().tip(), None);
    }
}
