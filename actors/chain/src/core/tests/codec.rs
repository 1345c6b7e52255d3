//! Bytes of strangers and of our own log.

use proptest::prelude::*;

use super::simulation::Simulation;
use crate::core::Input;
use crate::core::consensus::{Gossip, WalEntry};

#[test]
fn everything_in_a_log_reads_back_as_it_was() {
    let mut world = Simulation::new(4, 0, 1);
    world.cut_off = vec![2, 3];
    world.run_for(20_000);
    let log = &world.nodes[0].disk.wal;
    assert!(log.len() >= 4, "a block, its proposal, a verdict and votes");
    for entry in log {
        assert_eq!(&WalEntry::decode(entry).unwrap().encode(), entry);
    }
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        let _refused = Gossip::decode(&bytes);
        let _refused = WalEntry::decode(&bytes);
    }

    #[test]
    fn damaged_messages_change_nothing(selector in 0_u8..5, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut world = Simulation::new(4, 0, 1);
        world.cut_off = vec![1, 2, 3];
        world.run_for(1_600);
        let mut message = vec![selector];
        message.extend(bytes);
        world.step(0, Input::ConsensusMessage(message));
        prop_assert_eq!(&world.nodes[0].halted, &None);
        prop_assert_eq!(world.height(0), 0);
    }
}
