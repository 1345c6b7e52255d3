//! Bitcoin changes its mind.

use alys_peg::{Fact, Minted};
use alys_proto::Sats;
use bitcoin::OutPoint;

use super::{ALICE, BTC, World, announced};
use crate::core::fixture::N;
use crate::core::{BlockRef, Effect, Extension, Input};

/// The deposit is in the block that is lost when `lost` blocks are replaced by `lost + 1` without it.
fn lose_a_deposit(lost: usize) {
    let mut world = World::new();
    world.mine_empty(5);
    world.poll();
    let before = (world.disk.clone(), world.state.sightings.clone());
    let deposit = world.deposit(1, BTC);
    world.mine(vec![deposit.clone()]);
    world.mine_empty(u32::try_from(lost - 1).unwrap());
    world.poll();
    world.lose(lost);
    let (disk, sightings) = before;
    let effects = world.poll();
    assert!(effects.contains(&Effect::BitcoinViewChanged(world.best())), "the view went back by {lost}");
    assert_eq!(world.disk, disk, "a reorganisation of {lost} leaves no trace on disk");
    assert_eq!(world.state.sightings, sightings);

    world.mine_empty(u32::try_from(lost + 1).unwrap());
    assert_eq!(announced(&world.poll()), 0);
    assert_eq!(announced(&world.wait(60_000)), 0, "a deposit that is gone is not announced");
    assert_eq!(world.peg_in_states(), [("detected".to_owned(), 0)]);

    world.mine(vec![deposit]);
    world.mine_empty(N - 2);
    assert_eq!(announced(&world.poll()), 0, "its depth counts from the new block");
    world.mine_empty(1);
    let effects = world.poll();
    let heights: Vec<u32> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::BitcoinTransactionDetected(proof) => Some(proof.bitcoin_height),
            _ => None,
        })
        .collect();
    assert_eq!(heights, [world.best().height + 1 - N], "with the proof of the new block");
}

#[test]
fn a_deposit_is_reorganised_away_after_1_block() {
    lose_a_deposit(1);
}

#[test]
fn a_deposit_is_reorganised_away_after_n_minus_1_blocks() {
    lose_a_deposit(usize::try_from(N - 1).unwrap());
}

#[test]
fn a_deposit_is_reorganised_away_after_n_blocks() {
    lose_a_deposit(usize::try_from(N).unwrap());
}

#[test]
fn a_minted_deposit_that_is_lost_is_an_alarm() {
    let mut world = World::new();
    let outpoint = world.mint(1, BTC);
    assert!(world.state.alarms().is_empty());
    let deposit = world.deposit(1, BTC);
    world.lose(usize::try_from(N + 1).unwrap());
    world.mine_empty(N + 2);
    world.poll();
    assert_eq!(world.state.alarms(), [format!("deposit {outpoint} is minted and no longer in Bitcoin's best chain")]);
    world.wait(4_000_000);
    assert_eq!(world.state.alarms().len(), 1, "it is not forgotten");
    world.mine(vec![deposit]);
    world.poll();
    assert!(world.state.alarms().is_empty());
}

#[test]
fn blocks_that_do_not_connect_are_not_taken() {
    let mut world = World::new();
    world.mine_empty(3);
    let best = world.best();
    let skipping =
        Extension { ancestor: world.state.followed.tip(), blocks: vec![world.chain[2].clone(), world.chain[3].clone()], best };
    world.state.reading = true;
    let effects = world.state.step(Input::Extended(skipping)).unwrap();
    assert_eq!(effects, [], "height 1 is missing");
    assert_eq!(world.state.followed.tip().unwrap().height, 0);
    world.poll();
    assert_eq!(world.state.followed.tip(), Some(best), "the next poll reads them all");
}

#[test]
fn an_answer_to_an_old_question_undoes_nothing() {
    let mut world = World::new();
    world.mine_empty(3);
    world.poll();
    let stranger = BlockRef { hash: world.chain[1].block_hash(), height: 2 };
    world.state.reading = true;
    let effects =
        world.state.step(Input::Extended(Extension { ancestor: Some(stranger), blocks: vec![], best: world.best() })).unwrap();
    assert!(matches!(effects.as_slice(), [Effect::Follow { .. }]), "it asks again");
    assert_eq!(world.state.followed.tip(), Some(world.best()));
    let unasked = Extension { ancestor: None, blocks: vec![], best: world.best() };
    world.state.reading = false;
    assert_eq!(world.state.step(Input::Extended(unasked)).unwrap(), []);
    assert_eq!(world.state.followed.tip(), Some(world.best()));
}

#[test]
fn another_chain_altogether_is_read_from_the_start() {
    let mut world = World::new();
    world.mint(1, BTC);
    world.chain.clear();
    world.miner = crate::core::fixture::Miner::new().branch(bitcoin::hashes::Hash::all_zeros());
    world.mine_empty(9);
    world.poll();
    assert_eq!(world.state.followed.tip(), Some(world.best()));
    assert!(world.state.sightings.coins().is_empty());
    assert_eq!(world.disk.keys().filter(|key| key.starts_with("block/")).count(), 9);
    assert_eq!(world.state.alarms().len(), 1);
}

#[test]
fn below_the_start_height_it_waits_and_says_so() {
    let mut world = World::new();
    let mut spec = world.rules.spec.as_ref().clone();
    spec.bitcoin.start_height = 5;
    world.rules = crate::core::Rules::new(std::sync::Arc::new(spec), world.rules.intervals, 2_000).unwrap();
    world.crash();
    assert!(world.disk.is_empty(), "what was read below the start height is of no use");
    assert!(world.state.view().unwrap_err().contains("start height 5"));
    world.mine_empty(4);
    world.poll();
    assert!(world.state.view().is_err());
    world.mine_empty(1);
    world.poll();
    assert_eq!(world.state.view(), Ok(world.best()));
    assert_eq!(world.disk.len(), 1);
}

#[test]
fn a_long_way_is_read_in_windows() {
    let mut world = World::new();
    world.mine(vec![world.deposit(1, BTC)]);
    world.mine_empty(40);
    let effects = world.poll();
    let windows = effects.iter().filter(|effect| matches!(effect, Effect::Follow { .. })).count();
    assert_eq!(windows, 11, "41 blocks in windows of 4");
    assert_eq!(announced(&effects), 1, "and nothing is announced before the tip is reached");
    let moved: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::BitcoinViewChanged(_))).collect();
    assert_eq!(moved, [&Effect::BitcoinViewChanged(world.best())]);
}

#[test]
fn a_payout_that_is_reorganised_away_is_broadcast_again() {
    let mut world = World::new();
    let txid = super::payouts::signed_payout(&mut world);
    let transaction = world.state.ledger.payout(&txid).unwrap().recorded.transaction.clone();
    let broadcast =
        |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::BroadcastBitcoinTransaction { .. }));
    let before = (world.state.sightings.clone(), world.disk.clone());
    world.mine(vec![transaction]);
    world.poll();
    assert!(world.state.sightings.coins().values().any(|coin| coin.spent_by == Some(txid)));
    assert!(!broadcast(&world.wait(20_000)), "it is in a block");
    world.lose(1);
    world.poll();
    assert_eq!((world.state.sightings.clone(), world.disk.clone()), before, "what it spent is unspent again");
    world.mine_empty(2);
    world.poll();
    assert!(broadcast(&world.wait(10_000)));
    let minted = world.state.ledger.all_minted().count();
    assert_eq!(minted, 1);
}

#[test]
fn two_branches_in_turn_mint_nothing_twice() {
    let mut world = World::new();
    let deposit = world.deposit(1, BTC);
    let outpoint = OutPoint { txid: deposit.compute_txid(), vout: 0 };
    world.mine(vec![deposit.clone()]);
    world.mine_empty(N - 1);
    assert_eq!(announced(&world.poll()), 1);
    world.commit(&[Fact::Minted(Minted { outpoint, value: Sats(BTC), recipient: ALICE })]);
    world.lose(usize::try_from(N).unwrap());
    world.mine_empty(1);
    world.mine(vec![deposit]);
    world.mine_empty(N);
    world.poll();
    assert_eq!(announced(&world.wait(60_000)), 0);
}
