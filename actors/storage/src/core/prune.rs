//! Which blocks need not be kept whole any more.
//!
//! | `keep` | chain | first block that is kept |
//! |---|---|---|
//! | absent | | unchanged |
//! | n | without merged mining | head − n + 1 |
//! | n | with it | the same, but never one that work has not settled |
//!
//! It never goes back, and moves by so much at most as one commit may prune.

use super::limits::MAX_PRUNED_PER_COMMIT;

/// What the answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Height of the head.
    pub head: u64,
    /// Newest blocks to keep.
    pub keep: u64,
    /// On a chain with merged mining, the last settled height.
    pub settled: Option<u64>,
    /// First block that is kept now.
    pub floor: u64,
}

/// First block to keep from now on.
pub fn next_floor(bounds: Bounds) -> u64 {
    let Bounds { head, keep, settled, floor } = bounds;
    let by_age = head.saturating_sub(keep).saturating_add(1);
    let by_work = settled.map_or(u64::MAX, |settled| settled.saturating_add(1));
    by_age.min(by_work).min(floor.saturating_add(MAX_PRUNED_PER_COMMIT)).max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_the_module_doc() {
        // head, keep, settled, floor → floor
        let table = [
            (10, 100, None, 1, 1),
            (100, 100, None, 1, 1),
            (101, 100, None, 1, 2),
            (105, 100, None, 5, 6),
            (900, 100, None, 5, 5 + MAX_PRUNED_PER_COMMIT),
            (105, 100, Some(3), 1, 4),
            (105, 100, Some(0), 1, 1),
            (105, 100, Some(99), 1, 6),
            // `keep` was raised, or a bundle is older than what was pruned before: nothing comes back.
            (105, 100, None, 50, 50),
            (105, 100, Some(3), 50, 50),
            (u64::MAX, 0, None, u64::MAX, u64::MAX),
        ];
        for (head, keep, settled, floor, expected) in table {
            let bounds = Bounds { head, keep, settled, floor };
            assert_eq!(next_floor(bounds), expected, "{bounds:?}");
        }
    }
}
