//! `kill -9` at any instant: nothing is lost, nothing harmful is repeated [PEG-19].

use alys_peg::Fact;

use super::payouts::{address, recorded_payout, signed_payout};
use super::{BTC, World, announced, proposed, settled};
use crate::core::fixture::N;
use crate::core::{Effect, Input};

#[test]
fn it_goes_on_where_it_was() {
    let mut world = World::new();
    world.mine(vec![world.deposit(1, BTC)]);
    world.mine_empty(N - 2);
    world.poll();
    let (tip, sightings) = (world.state.followed.tip(), world.state.sightings.clone());
    world.crash();
    assert_eq!((world.state.followed.tip(), &world.state.sightings), (tip, &sightings));
    world.mine_empty(1);
    assert_eq!(announced(&world.poll()), 1);
}

#[test]
fn a_reorganisation_while_it_was_down_is_undone() {
    let mut world = World::new();
    world.mine(vec![world.deposit(1, BTC)]);
    world.mine_empty(N);
    world.poll();
    world.lose(usize::try_from(N + 1).unwrap());
    world.mine_empty(N + 2);
    world.crash();
    assert!(world.state.sightings.coins().is_empty());
    assert_eq!(announced(&world.wait(10_000)), 0);
}

#[test]
fn blocks_that_were_not_persisted_are_read_again() {
    let mut world = World::new();
    world.mine(vec![world.deposit(1, BTC)]);
    world.mine_empty(N - 1);
    // The process dies after it has read the blocks and before storage has them.
    let disk = world.disk.clone();
    world.poll();
    world.disk = disk;
    world.crash();
    assert_eq!(announced(&world.wait(3_000)), 1);
    assert_eq!(world.peg_in_states().len(), 1);
}

#[test]
fn a_partial_signature_survives() {
    let mut world = World::new();
    let txid = recorded_payout(&mut world);
    let first = world.sign(&txid, 0);
    world.answer(0, txid, first);
    world.crash();
    let second = world.sign(&txid, 2);
    let effects = world.answer(2, txid, second);
    assert!(effects.contains(&Effect::SigningFinished(txid)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::BroadcastBitcoinTransaction { .. })));
}

#[test]
fn a_signed_payout_is_broadcast_after_the_restart() {
    let mut world = World::new();
    let txid = signed_payout(&mut world);
    world.crash();
    let effects = world.wait(10_000);
    let broadcast: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::BroadcastBitcoinTransaction { payout, signatures } => Some((payout.recorded.txid(), signatures.len())),
            _ => None,
        })
        .collect();
    assert_eq!(broadcast, [(txid, 2)]);
}

/// Runs the same life with a crash after every step, and compares what the world sees.
#[test]
fn a_crash_after_every_step_changes_nothing() {
    let mut world = World::new();
    world.mine(vec![world.deposit(1, BTC)]);
    world.mine_empty(N);
    world.crash();
    let outpoint = *world.state.sightings.coins().keys().next().unwrap();
    world.commit(&[Fact::Minted(alys_peg::Minted { outpoint, value: alys_proto::Sats(BTC), recipient: super::ALICE })]);
    world.crash();
    assert_eq!(announced(&world.wait(60_000)), 0, "minted once");
    world.burn(40_000_000, &address());
    world.crash();
    let payout = proposed(&world.wait(2_000)).unwrap();
    world.crash();
    assert_eq!(proposed(&world.wait(2_000)), Some(payout.clone()), "the same bytes after a restart [PEG-13]");
    let txid = payout.txid();
    world.commit(&[Fact::PayoutRecorded(payout.clone())]);
    world.crash();
    assert_eq!(proposed(&world.wait(2_000)), None, "paid once");
    for number in [0, 1] {
        let signatures = world.sign(&txid, number);
        world.answer(number, txid, signatures);
        world.crash();
    }
    world.mine(vec![payout.transaction]);
    world.crash();
    world.mine_empty(N);
    world.crash();
    let confirmed = |effects: &[Effect]| effects.iter().filter(|effect| matches!(effect, Effect::PayoutConfirmed { .. })).count();
    assert_eq!(confirmed(&world.wait(2_000)), 1);
    let fact = settled(&world, txid);
    world.commit(&[fact]);
    world.crash();
    let effects = world.wait(60_000);
    assert_eq!((confirmed(&effects), announced(&effects), proposed(&effects)), (0, 0, None));
    assert!(world.disk.keys().all(|key| !key.starts_with("signature/")));
}

#[test]
fn signatures_of_a_settled_payout_are_tidied_up_after_a_restart() {
    let mut world = World::new();
    let txid = signed_payout(&mut world);
    world.mine(vec![world.state.ledger.payout(&txid).unwrap().recorded.transaction.clone()]);
    world.mine_empty(N);
    world.poll();
    let disk = world.disk.clone();
    let fact = settled(&world, txid);
    world.commit(&[fact]);
    world.disk = disk;
    world.crash();
    world.commit(&[]);
    assert!(world.disk.keys().all(|key| !key.starts_with("signature/")));
}

#[test]
fn damaged_documents_are_found_again_on_bitcoin() {
    for damage in ["block/0000000002", "coin/"] {
        let mut world = World::new();
        world.mine(vec![world.deposit(1, BTC)]);
        world.mine_empty(N);
        world.poll();
        let whole = world.disk.clone();
        let key = world.disk.keys().find(|key| key.starts_with(damage)).unwrap().clone();
        world.disk.insert(key, b"damaged".to_vec());
        world.crash();
        assert_eq!(world.disk, whole);
        assert_eq!(announced(&world.wait(3_000)), 1);
    }
}

#[test]
fn documents_of_a_newer_version_are_left_alone() {
    let mut world = World::new();
    world.disk.insert("rotation/1".into(), vec![1, 2, 3]);
    world.crash();
    assert!(world.disk.contains_key("rotation/1"));
}

#[test]
fn long_spent_coins_are_forgotten() {
    let mut world = World::new();
    let txid = signed_payout(&mut world);
    world.mine(vec![world.state.ledger.payout(&txid).unwrap().recorded.transaction.clone()]);
    world.mine_empty(N);
    world.poll();
    let fact = settled(&world, txid);
    world.commit(&[fact]);
    world.mine_empty(u32::try_from(crate::core::follow::TAIL).unwrap() + 8);
    world.poll();
    let coins: Vec<_> = world.state.sightings.coins().keys().map(|outpoint| outpoint.txid).collect();
    assert_eq!(coins, [txid], "only the change is left");
    assert!(world.state.sightings.spend(&txid).is_none());
    let shown: Vec<String> = world.state.pegs().peg_ins.into_iter().map(|peg| peg.state).collect();
    assert_eq!(shown, ["minted"], "the ledger remembers");
    world.step(Input::Tick(crate::core::Millis(world.now)));
}
