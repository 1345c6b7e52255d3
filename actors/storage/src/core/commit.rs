//! Whether a block may become the head.
//!
//! | block's height | condition | verdict |
//! |---|---|---|
//! | 0 | | refused: genesis has no block |
//! | ≤ head | the block stored there has this hash | already committed |
//! | ≤ head | another block is stored there | refused, loudly: committed blocks are never reorganised |
//! | head + 1 | its parent is the head | commit |
//! | head + 1 | another parent | refused |
//! | > head + 1 | | refused: a gap |

use alys_blocks::ChainSpec;

use super::form::Hash;

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height; 0 when only genesis is there.
    pub height: u64,
    /// Its hash; the genesis hash when only genesis is there.
    pub hash: Hash,
}

/// What the chain says the database must belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainId {
    /// EVM chain id.
    pub id: u64,
    /// Parent of block 1.
    pub genesis: Hash,
    /// Whether it has merged mining.
    pub has_work: bool,
}

/// What to do with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Commit,
    /// It is there: answer as done.
    AlreadyCommitted,
}

/// Why a block may not become the head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitRefusal {
    /// Height 0.
    #[error("height 0 is genesis, which has no block")]
    Genesis,
    /// Blocks between the head and this one are missing.
    #[error("height {height} does not follow the head at {head}: commit the blocks between first")]
    Gap {
        /// Of the block.
        height: u64,
        /// Of the head.
        head: u64,
    },
    /// The block builds on something that is not the head.
    #[error("the parent of block {height} is {parent}, the head is {head}")]
    WrongParent {
        /// Of the block.
        height: u64,
        /// The parent it names.
        parent: Hash,
        /// The head's hash.
        head: Hash,
    },
    /// Two blocks for one height: consensus is broken, or the sender is of another chain.
    #[error(
        "CONFLICT: block {stored} is committed at height {height}, and now block {offered} is to be; nothing was changed, stop and compare the validators' records"
    )]
    Conflict {
        /// The height.
        height: u64,
        /// What is there.
        stored: Hash,
        /// What was to be written.
        offered: Hash,
    },
}

impl ChainId {
    /// The chain of a specification.
    pub fn of(spec: &ChainSpec) -> Self {
        Self { id: spec.chain_id, genesis: Hash(spec.genesis_hash().0), has_work: spec.work.is_some() }
    }
}

/// Judges a block of `height`, `hash` and `parent`; `stored` is the hash of the block at that height, if there is one.
pub fn judge(tip: Tip, stored: Option<Hash>, height: u64, hash: Hash, parent: Hash) -> Result<Verdict, CommitRefusal> {
    if height == 0 {
        return Err(CommitRefusal::Genesis);
    }
    if let Some(stored) = stored {
        return if stored == hash {
            Ok(Verdict::AlreadyCommitted)
        } else {
            Err(CommitRefusal::Conflict { height, stored, offered: hash })
        };
    }
    if Some(height) != tip.height.checked_add(1) {
        return Err(CommitRefusal::Gap { height, head: tip.height });
    }
    if parent != tip.hash {
        return Err(CommitRefusal::WrongParent { height, parent, head: tip.hash });
    }
    Ok(Verdict::Commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn hash(byte: u8) -> Hash {
        Hash([byte; 32])
    }

    #[test]
    fn table_of_the_module_doc() {
        let tip = Tip { height: 5, hash: hash(5) };
        let table = [
            (0, None, hash(0), hash(9), Err(CommitRefusal::Genesis)),
            (3, Some(hash(3)), hash(3), hash(2), Ok(Verdict::AlreadyCommitted)),
            (5, Some(hash(5)), hash(5), hash(4), Ok(Verdict::AlreadyCommitted)),
            (5, Some(hash(5)), hash(7), hash(4), Err(CommitRefusal::Conflict { height: 5, stored: hash(5), offered: hash(7) })),
            (6, None, hash(6), hash(5), Ok(Verdict::Commit)),
            (6, None, hash(6), hash(4), Err(CommitRefusal::WrongParent { height: 6, parent: hash(4), head: hash(5) })),
            (7, None, hash(7), hash(6), Err(CommitRefusal::Gap { height: 7, head: 5 })),
        ];
        for (height, stored, own, parent, expected) in table {
            assert_eq!(judge(tip, stored, height, own, parent), expected, "height {height}");
        }
    }

    #[test]
    fn no_height_overflows() {
        let tip = Tip { height: u64::MAX, hash: hash(1) };
        assert!(judge(tip, None, 1, hash(2), hash(1)).is_err());
    }
}
