//! A thousand seeded schedules of loss, delay, partitions, crashes at every step, engines and bitcoinds that are away, and in
//! every third a validator that lies. After every event: one block at each height, nothing told before it is on disk, no honest
//! vote twice. At the end the chain goes on. The same seed gives the same events.

use super::simulation::Simulation;

const SEEDS: u64 = 1_000;
/// Of a thousand processes' tests this is one: each takes its share.
const SHARES: u64 = 4;
const FAULTS: usize = 12;
const SLICE: u64 = 500;

fn run(seed: u64, keep_log: bool) -> Simulation {
    // Shown when it fails: the last one is the one.
    println!("seed {seed}");
    let mut world = Simulation::new(4, 1, seed);
    world.log = keep_log.then(String::new);
    if seed.is_multiple_of(3) {
        world.liars = vec![(seed / 3 % 4) as usize];
    }
    for _ in 0..FAULTS {
        world.disturb();
        for _ in 0..=world.random(6) {
            world.run_for(SLICE);
            world.exchange();
        }
    }
    world.calm();
    let wanted = world.heights().into_iter().max().unwrap() + 3;
    world.run_with_exchange(120, |world| world.heights().iter().all(|height| *height >= wanted));
    assert!(world.nodes.iter().all(|node| node.halted.is_none()), "seed {seed} has halted");
    world.assert_one_chain();
    for node in 0..world.nodes.len() {
        let broken: Vec<_> = world.state(node).violations().by_name().filter(|(_, times)| *times > 0).collect();
        assert!(broken.is_empty(), "seed {seed}: {broken:?}");
    }
    world
}

fn share(number: u64) {
    for seed in (number..SEEDS).step_by(SHARES as usize) {
        run(seed, false);
    }
}

#[test]
fn whatever_happens_there_is_one_chain_and_it_goes_on_1() {
    share(0);
}

#[test]
fn whatever_happens_there_is_one_chain_and_it_goes_on_2() {
    share(1);
}

#[test]
fn whatever_happens_there_is_one_chain_and_it_goes_on_3() {
    share(2);
}

#[test]
fn whatever_happens_there_is_one_chain_and_it_goes_on_4() {
    share(3);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    for seed in 0..12 {
        let (first, second) = (run(seed, true), run(seed, true));
        assert!(first.log.is_some_and(|log| !log.is_empty() && Some(log) == second.log), "seed {seed} went another way");
    }
}
