//! From a transaction on Bitcoin to the announcement, and no further.

use alys_peg::{Fact, Minted};
use alys_proto::Sats;
use alys_proto::common::PegInProof;
use bitcoin::OutPoint;

use super::{ALICE, BTC, World, announced};
use crate::core::fixture::{self, N};
use crate::core::{Effect, Input};

#[test]
fn a_deposit_is_announced_when_it_is_deep_enough_and_not_before() {
    let mut world = World::new();
    world.mine(vec![world.deposit(1, BTC)]);
    for depth in 1..N {
        assert_eq!(announced(&world.poll()), 0);
        assert_eq!(world.peg_in_states(), [("detected".to_owned(), depth)]);
        world.mine_empty(1);
    }
    assert_eq!(announced(&world.poll()), 1);
    assert_eq!(world.peg_in_states(), [("announced".to_owned(), N)]);
}

#[test]
fn it_is_announced_again_until_it_is_minted() {
    let mut world = World::new();
    let deposit = world.deposit(1, BTC);
    let outpoint = OutPoint { txid: deposit.compute_txid(), vout: 0 };
    world.mine(vec![deposit]);
    world.mine_empty(N - 1);
    assert_eq!(announced(&world.poll()), 1);
    assert_eq!(announced(&world.wait(2_999)), 0);
    assert_eq!(announced(&world.wait(1)), 1);
    assert_eq!(announced(&world.wait(3_000)), 1);
    world.commit(&[Fact::Minted(Minted { outpoint, value: Sats(BTC), recipient: ALICE })]);
    assert_eq!(announced(&world.wait(3_000)), 0);
    assert_eq!(world.peg_in_states(), [("minted".to_owned(), N)]);
}

#[test]
fn the_announced_proof_is_one_that_the_rules_accept() {
    let mut world = World::new();
    world.mine_empty(2);
    world.mine(vec![world.deposit(1, BTC), world.deposit(2, 2 * BTC)]);
    world.mine_empty(N - 1);
    let proofs: Vec<PegInProof> = world
        .poll()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::BitcoinTransactionDetected(proof) => Some(*proof),
            _ => None,
        })
        .collect();
    assert_eq!(proofs.len(), 2);
    let tip = world.best();
    let hash = bitcoin::hashes::Hash::to_byte_array(tip.hash);
    let view = alys_blocks::BitcoinView { hash: hash.into(), height: tip.height };
    for proof in &proofs {
        let proof = alys_peg::PegInProof::try_from(proof).unwrap();
        let verified = alys_peg::proof::verify(&proof, &view, &world.rules.federation, &world.rules.peg).unwrap();
        assert_eq!((verified.deposit.recipient, verified.included.transactions), (ALICE, 3));
    }
}

#[test]
fn two_outputs_of_one_transaction_are_two_deposits() {
    let mut world = World::new();
    let mut deposit = world.deposit(1, BTC);
    deposit.output.push(deposit.output[0].clone());
    world.mine(vec![deposit]);
    world.mine_empty(N - 1);
    assert_eq!(announced(&world.poll()), 2);
}

#[test]
fn a_coinbase_deposit_waits_until_it_is_mature() {
    let mut world = World::new();
    let deposit = world.deposit(1, BTC);
    let mut block = world.miner.mine(vec![]);
    block.txdata[0].output = deposit.output;
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    world.miner = world.miner.branch(block.block_hash());
    world.chain.push(block);
    world.mine_empty(98);
    assert_eq!(announced(&world.poll()), 0);
    assert_eq!(world.peg_in_states(), [("detected".to_owned(), 99)]);
    world.mine_empty(1);
    assert_eq!(announced(&world.poll()), 1);
}

#[test]
fn what_cannot_be_minted_is_listed_with_its_reason() {
    let mut world = World::new();
    let script = world.rules.federation.script_pubkey().to_owned();
    world.mine(vec![fixture::deposit(1, &script, BTC, None), fixture::deposit(2, &script, 9_999, Some(ALICE))]);
    world.mine_empty(N);
    assert_eq!(announced(&world.poll()), 0);
    let mut reasons: Vec<String> =
        world.state.pegs().peg_ins.into_iter().map(|peg| format!("{}: {}", peg.state, peg.reason)).collect();
    reasons.sort();
    assert_eq!(reasons, ["invalid: below minimum", "invalid: no recipient"]);
}

#[test]
fn nothing_is_announced_while_bitcoind_is_away() {
    let mut world = World::new();
    world.mine(vec![world.deposit(1, BTC)]);
    world.mine_empty(N - 2);
    world.poll();
    world.step(Input::BitcoinAway("bitcoind does not answer".into()));
    assert_eq!(world.state.view(), Err("bitcoind does not answer".into()));
    world.mine_empty(1);
    assert_eq!(announced(&world.wait(10_000)), 0);
    assert_eq!(announced(&world.poll()), 1, "it goes on by itself");
    assert_eq!(world.state.view(), Ok(world.best()));
}

#[test]
fn a_transaction_that_somebody_points_at_is_shown_before_it_is_in_a_block() {
    let mut world = World::new();
    let deposit = world.deposit(1, BTC);
    let looked_up = world.step(Input::TransactionSeen(deposit.compute_txid()));
    assert_eq!(looked_up, [Effect::LookUp(deposit.compute_txid())]);
    world.step(Input::Unconfirmed(Box::new(deposit.clone())));
    assert_eq!(world.peg_in_states(), [("detected".to_owned(), 0)]);
    world.mine(vec![deposit]);
    world.poll();
    assert_eq!(world.peg_in_states(), [("detected".to_owned(), 1)], "once, not twice");
}
