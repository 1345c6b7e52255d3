//! Blocks from outside: gossip, sync, gaps, forks.

use super::simulation::{Simulation, imported};
use crate::core::{Answer, HaltReason, ImportedBlock, Input, Note, PegVerdict, Ticket};

/// A chain of a single validator, and a follower that knows nothing of it.
fn world(height: u64) -> Simulation {
    let mut world = Simulation::new(1, 1, 1);
    world.cut_off = vec![1];
    world.run_until(100, |world| world.height(0) == height);
    world
}

fn block(world: &Simulation, height: usize) -> ImportedBlock {
    imported(&world.nodes[0].disk.blocks[height - 1])
}

#[test]
fn a_full_node_follows_gossip() {
    let mut world = Simulation::new(1, 1, 1);
    world.run_until(60, |world| world.height(1) == 5);
    world.assert_one_chain();
    assert!(!world.state(1).status().producing);
}

#[test]
fn a_gap_asks_for_sync() {
    let mut world = world(3);
    let third = block(&world, 3);
    world.step(1, Input::BlockReceived(third));
    assert_eq!(world.nodes[1].sync_wanted, [(0, 3)]);
    assert_eq!(world.height(1), 0);
}

#[test]
fn a_batch_is_imported_in_order_and_answered_once() {
    let mut world = world(5);
    world.cut_off = vec![0, 1];
    world.catch_up(1);
    world.run_for(100);
    assert_eq!(world.height(1), world.height(0));
    assert_eq!(world.nodes[1].answers, [(Ticket(1), Answer::Imported(5))]);
}

#[test]
fn a_batch_with_a_hole_or_a_forged_certificate_is_refused() {
    let mut world = world(4);
    let (second, mut first) = (block(&world, 2), block(&world, 1));
    world.step(1, Input::BatchBlockImport { ticket: Ticket(1), blocks: vec![second.clone()] });
    first.certificate.signatures[0].signature.0[3] ^= 1;
    world.step(1, Input::BatchBlockImport { ticket: Ticket(2), blocks: vec![first, second] });
    assert!(matches!(
        world.nodes[1].answers.as_slice(),
        [(Ticket(1), Answer::ImportRefused(_)), (Ticket(2), Answer::ImportRefused(_))]
    ));
    assert_eq!(world.height(1), 0);
}

#[test]
fn a_certificate_of_too_few_is_no_proof() {
    let mut world = Simulation::new(4, 1, 2);
    world.cut_off = vec![4];
    world.run_until(60, |world| world.height(0) == 1);
    let mut block = block(&world, 1);
    let two: Vec<_> = block.certificate.signatures.iter().take(2).cloned().collect();
    block.certificate.signatures = two.try_into().unwrap();
    world.step(4, Input::BlockReceived(block));
    world.run_for(50);
    assert_eq!(world.height(4), 0);
    assert!(world.nodes[4].notes.iter().any(|note| matches!(note, Note::ImportRefused(_))));
}

#[test]
fn two_valid_certificates_for_one_height_halt_loudly() {
    // The same validator key on two machines that do not see each other: what must never be.
    let mut ours = world(2);
    let mut theirs = Simulation::new(1, 0, 9);
    theirs.run_for(7_000);
    theirs.start(0);
    theirs.run_until(30, |world| world.height(0) >= 1);
    let mut foreign = imported(&theirs.nodes[0].disk.blocks[0]);
    if foreign.certificate.block == block(&ours, 1).certificate.block {
        // Same time, same block: make the second machine a slot late.
        let mut late = Simulation::new(1, 0, 9);
        late.nodes[0].engine_away = true;
        late.run_for(5_000);
        late.nodes[0].engine_away = false;
        late.run_until(30, |world| world.height(0) >= 1);
        foreign = imported(&late.nodes[0].disk.blocks[0]);
    }
    assert_ne!(foreign.certificate.block, block(&ours, 1).certificate.block);
    ours.step(0, Input::BlockReceived(foreign));
    assert!(matches!(ours.nodes[0].halted, Some(HaltReason::Fork { height: 1, .. })));
    let before = ours.height(0);
    ours.run_for(10_000);
    assert_eq!(ours.height(0), before, "nothing goes on after a fork");
    assert!(!ours.state(0).status().producing);
}

#[test]
fn claims_of_a_committed_block_wait_for_our_bitcoind() {
    let mut world = Simulation::new(1, 1, 1);
    world.nodes[1].peg_verdict = PegVerdict::Lagging("behind".into());
    super::pegs::mint_one(&mut world);
    let height = world.height(1);
    world.run_for(3_000);
    assert_eq!(world.height(1), height, "lagging is waiting");
    assert_eq!(world.nodes[1].halted, None);
    world.nodes[1].peg_verdict = PegVerdict::Valid;
    world.run_for(1_000);
    world.catch_up(1);
    world.run_for(100);
    assert!(world.height(1) > height);
    world.assert_one_chain();
}
