//! Any sequence of commits against the obvious model: a list.

use alys_proto::storage::{GetBlocks, GetLedger};
use proptest::prelude::*;
use tempfile::TempDir;

use super::kit::{Rig, block, config, hash};

#[derive(Clone, Debug)]
enum Step {
    Commit { height: u64, fork: u8 },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => (1u64..8, prop_oneof![4 => Just(0xaau8), 1 => Just(0xbb)]).prop_map(|(height, fork)| Step::Commit { height, fork }),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn storage_agrees_with_a_list(steps in proptest::collection::vec(step(), 1..30)) {
        let folder = TempDir::new().unwrap();
        let mut rig = Rig::open(&config(&folder));
        let mut model: Vec<Vec<u8>> = Vec::new();
        for step in steps {
            match step {
                Step::Reopen => {
                    rig.close();
                    rig = Rig::open(&config(&folder));
                }
                Step::Commit { height, fork } => {
                    let parent = height.checked_sub(2).map_or(hash(0, fork), |index| model.get(index as usize).cloned().unwrap_or_default());
                    let known = model.get(height as usize - 1) == Some(&hash(height, fork));
                    let next = model.len() as u64 + 1 == height && parent == hash(height - 1, fork);
                    prop_assert_eq!(rig.commit(block(height, fork)).is_ok(), known || next);
                    if next {
                        model.push(hash(height, fork));
                    }
                }
            }
            let stored: Vec<_> = rig.store.blocks(GetBlocks { from_height: 1, limit: 100 }).unwrap().unwrap().blocks;
            prop_assert_eq!(stored.iter().map(|block| block.hash.clone()).collect::<Vec<_>>(), model.clone());
            let ledger = rig.store.ledger(GetLedger::default()).unwrap().unwrap();
            prop_assert_eq!((ledger.height, ledger.facts.len()), (model.len() as u64, 2 * model.len()));
        }
    }
}
