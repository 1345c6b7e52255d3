//! Reads what bitcoind's best chain has after the blocks that we know. One window at a time: the next is read only when
//! this one is stored.

use bitcoin::Block;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::core::validate::Header;
use crate::core::{BlockRef, Extension};
use crate::io::bitcoind::Bitcoind;
use crate::io::error::BitcoindError;

/// Blocks asked for at the same time.
const PARALLEL: usize = 4;

/// Finds the newest block of `locator` (newest first) that is still in the best chain, and reads at most `window` blocks
/// after it; from `start_height` on when there is none.
///
/// A node that has less than we know, and has never seen our newest block, is behind: that is an error and no
/// reorganisation, or a node that lost its data would make us undo everything.
pub async fn read(bitcoind: &Bitcoind, locator: &[BlockRef], start_height: u32, window: u32) -> Result<Extension, BitcoindError> {
    let best = bitcoind.tip().await?;
    let ancestor = find_ancestor(bitcoind, locator, best).await?;
    let first = ancestor.map_or(Some(start_height), |block| block.height.checked_add(1));
    let blocks = match first {
        Some(first) if first <= best.height => {
            let last = best.height.min(first.saturating_add(window.saturating_sub(1)));
            read_blocks(bitcoind, first, last).await?
        }
        _ => Vec::new(),
    };
    Ok(Extension { ancestor, blocks, best })
}

async fn find_ancestor(bitcoind: &Bitcoind, locator: &[BlockRef], best: BlockRef) -> Result<Option<BlockRef>, BitcoindError> {
    for (position, block) in locator.iter().enumerate() {
        match bitcoind.header(&block.hash).await? {
            Header::Best { .. } => return Ok(Some(*block)),
            Header::Unknown if position == 0 && best.height < block.height => {
                return Err(BitcoindError::Behind { blocks: best.height, hash: block.hash });
            }
            Header::Stale | Header::Unknown => {}
        }
    }
    Ok(None)
}

/// The blocks from `first` to `last`. Fewer when the chain became shorter meanwhile; the core checks that they connect.
async fn read_blocks(bitcoind: &Bitcoind, first: u32, last: u32) -> Result<Vec<Block>, BitcoindError> {
    let found: Vec<Option<Block>> = stream::iter(first..=last)
        .map(|height| async move {
            match bitcoind.hash_at(height).await? {
                Some(hash) => bitcoind.block(&hash).await.map(Some),
                None => Ok(None),
            }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(found.into_iter().map_while(|block| block).collect())
}
