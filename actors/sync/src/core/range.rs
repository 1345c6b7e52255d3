//! Whether a range that a peer served goes on from our head.

use alys_blocks::{Committed, CommittedFault, CommittedRules};
use alys_proto::common::CommittedBlock;

/// Our head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height; 0 when only genesis is there.
    pub height: u64,
    /// Its hash; the genesis hash when only genesis is there.
    pub hash: Vec<u8>,
}

/// What is wrong with a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeFault {
    /// Nothing came.
    #[error("the range is empty")]
    Empty,
    /// A block is missing, too many, or out of order.
    #[error("block {found} came where block {wanted} belongs")]
    OutOfOrder {
        /// What belongs there.
        wanted: u64,
        /// What came.
        found: u64,
    },
    /// No certificate covers burns.
    #[error("block {0} carries burns")]
    Burns(u64),
    /// A block does not prove itself.
    #[error("block {height}: {fault}")]
    Unproven {
        /// Which.
        height: u64,
        /// What is wrong.
        fault: CommittedFault,
    },
    /// A block does not build on the one before it in the range.
    #[error("block {0} does not build on the one before it")]
    Unlinked(u64),
    /// The first block is certified and does not build on our head: two committed blocks at one height.
    #[error("FORK: block {height} is certified and builds on {parent}, our block {below} is {ours}")]
    Fork {
        /// Height of the certified block.
        height: u64,
        /// What it builds on.
        parent: String,
        /// Height of our head.
        below: u64,
        /// Hash of our head.
        ours: String,
    },
}

/// Checks that the blocks are those from a height on, each proven by its certificate and built on the one before it. What the
/// first one builds on is for the leader to check, who knows it.
pub fn check_piece(rules: &CommittedRules, from: u64, blocks: &[CommittedBlock]) -> Result<(), RangeFault> {
    follow(rules, None, from, blocks)
}

/// Checks that the blocks follow the tip, one after the other, each proven by its certificate.
pub fn check(rules: &CommittedRules, tip: &Tip, blocks: &[CommittedBlock]) -> Result<(), RangeFault> {
    follow(rules, Some(tip), tip.height.saturating_add(1), blocks)
}

fn follow(rules: &CommittedRules, tip: Option<&Tip>, from: u64, blocks: &[CommittedBlock]) -> Result<(), RangeFault> {
    if blocks.is_empty() {
        return Err(RangeFault::Empty);
    }
    let mut last: Option<(u64, &[u8])> = None;
    for message in blocks {
        let wanted = last.map_or(from, |(height, _)| height.saturating_add(1));
        let CommittedBlock { height, hash, block, certificate, burns } = message;
        if *height != wanted {
            return Err(RangeFault::OutOfOrder { wanted, found: *height });
        }
        if !burns.is_empty() {
            return Err(RangeFault::Burns(wanted));
        }
        let proven = rules.check(Committed { height: *height, hash, block, certificate });
        let proven = proven.map_err(|fault| RangeFault::Unproven { height: wanted, fault })?;
        let parent = proven.header.parent;
        match (last, tip) {
            (Some((_, before)), _) if parent.as_slice() != before => return Err(RangeFault::Unlinked(wanted)),
            (None, Some(tip)) if parent.as_slice() != tip.hash => return Err(fork(tip, wanted, &parent.to_string())),
            _ => {}
        }
        last = Some((wanted, hash));
    }
    Ok(())
}

fn fork(tip: &Tip, height: u64, parent: &str) -> RangeFault {
    let ours = tip.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    RangeFault::Fork { height, parent: parent.to_owned(), below: tip.height, ours }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::kit;

    #[test]
    fn a_good_range_passes_and_each_breach_is_named() {
        let rules = CommittedRules::of(&kit::spec());
        let chain = kit::chain(6);
        let tip = kit::tip(&chain, 2);
        assert_eq!(check(&rules, &tip, &chain[2..5]), Ok(()));
        assert_eq!(check(&rules, &kit::genesis(), &chain), Ok(()));
        assert_eq!(check(&rules, &tip, &[]), Err(RangeFault::Empty));
        assert_eq!(check_piece(&rules, 3, &chain[2..5]), Ok(()));
        assert_eq!(check_piece(&rules, 4, &chain[2..5]), Err(RangeFault::OutOfOrder { wanted: 4, found: 3 }));
        assert_eq!(check(&rules, &tip, &chain[3..]), Err(RangeFault::OutOfOrder { wanted: 3, found: 4 }));
        let mut burning = chain[2..].to_vec();
        burning[1].burns = vec![alys_proto::common::Burn::default()];
        assert_eq!(check(&rules, &tip, &burning), Err(RangeFault::Burns(4)));
        let mut forged = chain[2..].to_vec();
        forged[1].certificate = chain[4].certificate.clone();
        assert!(matches!(check(&rules, &tip, &forged), Err(RangeFault::Unproven { height: 4, .. })));
        let other = kit::fork(6, 9);
        let mixed = [chain[2].clone(), other[3].clone()];
        assert_eq!(check(&rules, &tip, &mixed), Err(RangeFault::Unlinked(4)));
        assert_eq!(check_piece(&rules, 3, &mixed), Err(RangeFault::Unlinked(4)));
        assert!(matches!(check(&rules, &tip, &other[2..]), Err(RangeFault::Fork { height: 3, below: 2, .. })));
    }
}
