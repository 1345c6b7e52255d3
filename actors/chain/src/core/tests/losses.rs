//! Validators that are behind, and validators whose disk was lost.

use super::simulation::{Disk, Simulation};

const LOST: usize = 3;

/// Four validators of which the last loses its disk after so many milliseconds of the fifth block.
fn lost_after(millis: u64, seed: u64) -> Simulation {
    let mut world = Simulation::new(4, 0, seed);
    world.run_until(30, |world| world.height(0) >= 5);
    world.run_for(millis);
    world.nodes[LOST].disk = Disk::default();
    world.start(LOST);
    world
}

#[test]
fn a_validator_that_lost_its_disk_votes_again_and_never_twice() {
    // That nobody votes twice in one place, in whichever life, is asserted for every vote.
    for seed in 0..10 {
        for millis in [1, 30, 200, 700, 1_100, 1_900] {
            let mut world = lost_after(millis, seed);
            assert!(!world.state(LOST).status().producing || world.state(LOST).status().height == 0);
            world.run_with_exchange(60, |world| world.state(LOST).status().producing && world.height(LOST) > 8);
            // With one of the others gone it is needed, so blocks show that it votes.
            world.cut_off = vec![0];
            let before = world.height(1);
            world.run_with_exchange(60, |world| world.height(1) >= before + 4);
            world.assert_one_chain();
        }
    }
}

#[test]
fn a_validator_that_is_behind_says_nothing_until_it_has_caught_up() {
    let mut world = Simulation::new(4, 0, 1);
    world.cut_off = vec![LOST];
    world.run_until(60, |world| world.height(0) >= 6);
    world.cut_off.clear();
    world.run_until(10, |world| !world.nodes[LOST].sync_wanted.is_empty());
    assert!(!world.state(LOST).status().producing, "it votes on what is decided");
    world.catch_up(LOST);
    world.run_until(20, |world| world.state(LOST).status().producing);
    let before = world.height(0);
    world.cut_off = vec![0];
    world.run_until(60, |world| world.height(1) >= before + 3);
    world.assert_one_chain();
}
