//! kill -9 between any two effects: nobody votes twice, nothing stalls, nothing is lost [PEG-19].

use super::simulation::Simulation;

#[test]
fn a_single_validator_goes_on_after_a_crash_at_any_effect() {
    for dies_after in 0..24 {
        let mut world = Simulation::new(1, 0, 1);
        world.run_until(20, |world| world.height(0) == 2);
        world.nodes[0].dies_after = Some(dies_after);
        world.run_until_dead(0);
        world.run_for(700);
        world.start(0);
        world.run_until(20, |world| world.height(0) >= 5);
        assert_eq!(world.nodes[0].halted, None, "after {dies_after} effects");
    }
}

#[test]
fn four_validators_survive_each_one_crashing_at_any_effect() {
    for dies_after in 0..40 {
        let mut world = Simulation::new(4, 0, dies_after as u64);
        let victim = dies_after % 4;
        world.run_until(20, |world| world.heights().iter().all(|height| *height >= 1));
        world.nodes[victim].dies_after = Some(dies_after);
        world.run_until_dead(victim);
        world.run_for(300 + 100 * dies_after as u64);
        world.start(victim);
        world.catch_up(victim);
        world.run_until(120, |world| world.heights().iter().all(|height| *height >= 6));
        world.assert_one_chain();
    }
}

#[test]
fn all_validators_at_once_come_back_to_the_votes_they_gave() {
    for seed in 0..20 {
        let mut world = Simulation::new(4, 0, seed);
        world.run_until(20, |world| world.heights().iter().all(|height| *height >= 2));
        // In the middle of a round: votes are under way.
        world.run_for(1_990 + seed * 5);
        for node in 0..4 {
            world.start(node);
        }
        // What was on its way to a life before is lost, also the last block: whoever misses it asks for it.
        world.run_with_exchange(120, |world| world.heights().iter().all(|height| *height >= 5));
        world.assert_one_chain();
    }
}

impl Simulation {
    fn run_until_dead(&mut self, node: usize) {
        self.run_until(60, |world| world.nodes[node].state.is_none());
    }

    /// What sync does: the blocks that others have.
    pub(crate) fn catch_up(&mut self, node: usize) {
        let best = (0..self.nodes.len()).max_by_key(|other| self.height(*other)).unwrap();
        let from = self.height(node) as usize;
        let blocks = self.nodes[best].disk.blocks.iter().skip(from).map(super::simulation::imported).collect();
        self.step(node, crate::core::Input::BatchBlockImport { ticket: crate::core::Ticket(1), blocks });
    }
}
