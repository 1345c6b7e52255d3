//! One and four validators: who proposes when, and that all commit the same.

use super::fixtures::{GENESIS_TIME, SLOT};
use super::simulation::Simulation;

#[test]
fn one_validator_commits_a_block_per_slot_on_the_grid() {
    let mut world = Simulation::new(1, 0, 1);
    world.run_until(60, |world| world.height(0) == 10);
    for height in 1..=10_u64 {
        let block = world.nodes[0].disk.block(height as usize);
        assert_eq!(block.header.slot, height);
        assert_eq!(block.header.time, GENESIS_TIME + height * SLOT / 1_000);
    }
    let status = world.state(0).status();
    assert!(status.latency_millis <= 5, "{status:?}");
    assert_eq!((status.missed_slots, status.producing, status.height), (0, true, 10));
}

#[test]
fn four_validators_take_turns_and_commit_the_same_blocks() {
    for seed in 0..5 {
        let mut world = Simulation::new(4, 1, seed);
        world.run_until(60, |world| world.heights().iter().all(|height| *height >= 8));
        world.assert_one_chain();
        for height in 1..=8 {
            let block = world.nodes[0].disk.block(height);
            assert_eq!(Some(block.header.proposer), world.rules.spec.proposer(block.header.slot));
            assert_eq!(block.header.slot, height as u64, "no slot is missed while all are there");
        }
    }
}

#[test]
fn a_dead_proposer_costs_its_slot_and_nothing_else() {
    for seed in 0..5 {
        let mut world = Simulation::new(4, 0, seed);
        world.cut_off = vec![2];
        world.run_until(120, |world| [0, 1, 3].iter().all(|node| world.height(*node) >= 8));
        world.assert_one_chain();
        let slots: Vec<u64> = (1..=8).map(|height| world.nodes[0].disk.block(height).header.slot).collect();
        assert!(slots.iter().all(|slot| slot % 4 != 2), "{slots:?}");
        assert!(world.state(0).status().missed_slots >= 2);
        let times: Vec<u64> = (1..=8).map(|height| world.nodes[0].disk.block(height).header.time).collect();
        let expected: Vec<u64> = slots.iter().map(|slot| GENESIS_TIME + slot * SLOT / 1_000).collect();
        assert_eq!(times, expected, "slots and wall clock run together");
    }
}

#[test]
fn without_two_thirds_nothing_is_committed_and_it_goes_on_when_they_are_back() {
    let mut world = Simulation::new(4, 0, 3);
    world.cut_off = vec![1, 2];
    world.run_for(30_000);
    assert_eq!(world.heights(), [0, 0, 0, 0]);
    world.cut_off.clear();
    world.run_until(120, |world| world.heights().iter().all(|height| *height >= 3));
    world.assert_one_chain();
}

#[test]
fn a_block_without_an_engine_comes_as_soon_as_it_is_back() {
    let mut world = Simulation::new(1, 0, 1);
    world.run_until(20, |world| world.height(0) == 2);
    world.nodes[0].engine_away = true;
    world.run_for(9_000);
    assert_eq!(world.height(0), 2);
    world.nodes[0].engine_away = false;
    world.run_until(10, |world| world.height(0) == 4);
    world.assert_one_chain();
}
