//! Validators whose database was replaced by a backup: what they voted for after it was made nobody knows any more.

use super::simulation::{Disk, Simulation};

const RESTORED: usize = 3;

/// What `alys storage restore` puts in place of a disk.
fn backup(disk: &Disk) -> Disk {
    Disk { wal: Vec::new(), votes_lost: true, ..disk.clone() }
}

/// Four validators of which the last is restored so many milliseconds into a height, from a backup of that moment or of two
/// blocks before.
fn restored_after(millis: u64, seed: u64, is_old: bool) -> Simulation {
    let mut world = Simulation::new(4, 0, seed);
    world.run_until(30, |world| world.height(0) >= 4);
    let old = backup(&world.nodes[RESTORED].disk);
    world.run_until(30, |world| world.height(RESTORED) >= 6);
    world.run_for(millis);
    world.nodes[RESTORED].disk = if is_old { old } else { backup(&world.nodes[RESTORED].disk) };
    world.start(RESTORED);
    world
}

#[test]
fn a_restored_validator_votes_again_and_never_twice() {
    // That nobody votes twice in one place, in whichever life, is asserted for every vote.
    for seed in 0..10 {
        for (millis, is_old) in [1, 30, 200, 700, 1_100, 1_900].into_iter().flat_map(|millis| [(millis, true), (millis, false)]) {
            let mut world = restored_after(millis, seed, is_old);
            let status = world.state(RESTORED).status();
            assert!(status.votes_lost && !status.producing);
            world.run_with_exchange(60, |world| world.state(RESTORED).status().producing);
            // With one of the others gone it is needed, so blocks show that it votes.
            world.cut_off = vec![0];
            let before = world.height(1);
            world.run_with_exchange(60, |world| world.height(1) >= before + 4);
            assert!(!world.nodes[RESTORED].disk.votes_lost, "its first vote was the end of that");
            world.assert_one_chain();
        }
    }
}

#[test]
fn a_chain_that_stands_for_want_of_its_vote_is_not_helped_by_a_vote_that_may_be_the_second() {
    let mut world = Simulation::new(4, 0, 7);
    world.run_until(30, |world| world.height(0) >= 4);
    world.cut_off = vec![0];
    world.run_for(700);
    world.nodes[RESTORED].disk = backup(&world.nodes[RESTORED].disk);
    world.start(RESTORED);
    let before = world.heights();
    world.run_for(60_000);
    assert!(!world.state(RESTORED).status().producing, "no block since: it may have voted where they stand");
    assert!(world.height(1) <= before[1] + 1, "two of four decide nothing");
    world.cut_off.clear();
    world.run_with_exchange(60, |world| world.state(RESTORED).status().producing);
    world.assert_one_chain();
}

#[test]
fn a_second_crash_while_it_is_silent_does_not_make_it_speak() {
    let mut world = restored_after(200, 3, true);
    world.start(RESTORED);
    assert!(world.state(RESTORED).status().votes_lost);
    world.run_with_exchange(5, |world| world.height(RESTORED) >= 6);
    world.start(RESTORED);
    assert!(world.state(RESTORED).status().votes_lost, "blocks alone do not end it");
    world.run_with_exchange(60, |world| world.state(RESTORED).status().producing);
    world.assert_one_chain();
}
