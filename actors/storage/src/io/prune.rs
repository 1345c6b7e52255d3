//! Takes old blocks out of the tables, a few with each commit and in its transaction: no fsync and no pause of its own. Hash and
//! parent of each block stay, and so do the ledger's facts: chain and bridge start from them, whatever is pruned.

use redb::{ReadableTable as _, WriteTransaction};

use super::fault::Fault;
use super::open::optional_number;
use super::tables::{BLOCKS, BURNS, CERTIFICATES, META, META_FLOOR, META_SETTLED};
use crate::config::Prune;
use crate::core::limits::MAX_PRUNED_BYTES;
use crate::core::prune::{Bounds, next_floor};

/// Prunes what a head at this height allows. `has_work`: the chain has merged mining.
pub(super) fn advance(transaction: &WriteTransaction, prune: Prune, has_work: bool, head: u64) -> Result<(), Fault> {
    let Some(keep) = prune.keep else { return Ok(()) };
    let mut meta = transaction.open_table(META)?;
    let floor = optional_number(&meta, META_FLOOR)?.unwrap_or(1);
    let settled = if has_work { Some(optional_number(&meta, META_SETTLED)?.unwrap_or(0)) } else { None };
    let target = next_floor(Bounds { head, keep, settled, floor });
    let reached = remove(transaction, floor, target)?;
    if reached > floor {
        meta.insert(META_FLOOR, reached.to_le_bytes().as_slice())?;
    }
    Ok(())
}

/// The floor, if anything is pruned.
pub(super) fn floor(transaction: &WriteTransaction) -> Result<Option<u64>, Fault> {
    optional_number(&transaction.open_table(META)?, META_FLOOR)
}

/// Where it stopped: at `end`, or when enough bytes went.
fn remove(transaction: &WriteTransaction, from: u64, end: u64) -> Result<u64, Fault> {
    let mut blocks = transaction.open_table(BLOCKS)?;
    let mut certificates = transaction.open_table(CERTIFICATES)?;
    let mut burns = transaction.open_table(BURNS)?;
    let mut bytes = 0usize;
    let mut height = from;
    while height < end && bytes < MAX_PRUNED_BYTES {
        let row = blocks.get(height)?.map(|row| {
            let (hash, parent, block) = row.value();
            (*hash, *parent, block.len())
        });
        let Some((hash, parent, length)) = row else {
            return Err(Fault::Damaged(format!("block {height} is absent")));
        };
        blocks.insert(height, (&hash, &parent, [].as_slice()))?;
        certificates.remove(height)?;
        burns.retain_in((height, 0)..=(height, u32::MAX), |_, _| false)?;
        bytes = bytes.saturating_add(length);
        height = height.saturating_add(1);
    }
    Ok(height)
}
