//! From a burn to the settled payout.

use alys_peg::{Fact, FeeRate, InputSignature, RefundReason, Refunded};
use alys_proto::Height;
use bitcoin::hashes::Hash;
use bitcoin::{Address, CompressedPublicKey, Network, Txid};

use super::{BTC, World, proposed, settled};
use crate::core::fixture::{self, N};
use crate::core::state::Broken;
use crate::core::{Effect, Input};

/// Somewhere on regtest.
pub(super) fn address() -> String {
    let key = CompressedPublicKey(fixture::member(9).public_key());
    Address::p2wpkh(&key, Network::Regtest).to_string()
}

/// A payout of 0.4 BTC that is recorded in a block.
pub(super) fn recorded_payout(world: &mut World) -> Txid {
    world.mint(1, BTC);
    let (_, effects) = world.burn(40_000_000, &address());
    let payout = proposed(&effects).expect("a burn is paid at once");
    let txid = payout.txid();
    world.commit(&[Fact::PayoutRecorded(payout)]);
    txid
}

/// A payout that two of three members have signed.
pub(super) fn signed_payout(world: &mut World) -> Txid {
    let txid = recorded_payout(world);
    for number in [0, 2] {
        let signatures = world.sign(&txid, number);
        world.answer(number, txid, signatures);
    }
    assert!(world.state.is_signed(&txid));
    txid
}

fn answer_of(effects: &[Effect]) -> (bool, bool, String) {
    let answer = effects.iter().find_map(|effect| match effect {
        Effect::Answer { accepted, complete, reason, .. } => Some((*accepted, *complete, reason.clone())),
        _ => None,
    });
    answer.expect("every question is answered")
}

fn count(effects: &[Effect], kind: fn(&Effect) -> bool) -> usize {
    effects.iter().filter(|effect| kind(effect)).count()
}

const SIGN: fn(&Effect) -> bool = |effect| matches!(effect, Effect::RequestFederationSignatures(_));
const BROADCAST: fn(&Effect) -> bool = |effect| matches!(effect, Effect::BroadcastBitcoinTransaction { .. });
const CONFIRM: fn(&Effect) -> bool = |effect| matches!(effect, Effect::PayoutConfirmed { .. });

#[test]
fn a_burn_becomes_a_settled_payout() {
    let mut world = World::new();
    world.mint(1, BTC);
    let (_, effects) = world.burn(40_000_000, &address());
    let payout = proposed(&effects).unwrap();
    assert_eq!(payout.fee_rate, FeeRate(2_000), "the fallback, as bitcoind has no estimate");
    assert_eq!(proposed(&world.wait(1_999)), None);
    assert_eq!(proposed(&world.wait(1)), Some(payout.clone()), "repeated until it is recorded, the same bytes");

    let txid = payout.txid();
    let effects = world.commit(&[Fact::PayoutRecorded(payout.clone())]);
    assert_eq!(count(&effects, SIGN), 1);
    assert_eq!(proposed(&effects), None);
    assert_eq!(world.state.pegs().peg_outs[0].state, "signing");
    assert_eq!(count(&world.wait(3_000), SIGN), 1);

    let first = world.sign(&txid, 0);
    assert_eq!(answer_of(&world.answer(0, txid, first)), (true, false, String::new()));
    let second = world.sign(&txid, 1);
    let effects = world.answer(1, txid, second);
    assert_eq!(answer_of(&effects), (true, true, String::new()));
    assert!(effects.contains(&Effect::SigningFinished(txid)));
    assert_eq!(count(&effects, BROADCAST), 1);
    assert_eq!(count(&world.wait(9_999), BROADCAST), 0);
    let effects = world.wait(1);
    assert_eq!((count(&effects, BROADCAST), count(&effects, SIGN)), (1, 0));
    assert_eq!(world.state.pegs().peg_outs[0].state, "broadcast");

    world.mine(vec![payout.transaction]);
    world.mine_empty(N - 2);
    world.poll();
    let effects = world.wait(60_000);
    assert_eq!((count(&effects, BROADCAST), count(&effects, CONFIRM)), (0, 0), "in a block, not deep");
    world.mine_empty(1);
    let effects = world.poll();
    let Some(Effect::PayoutConfirmed { merkle_proof, block, .. }) = effects.iter().find(|effect| CONFIRM(effect)) else {
        panic!()
    };
    let proof = alys_peg::InclusionProof::from_parts(&txid.to_byte_array(), merkle_proof, block.height).unwrap();
    assert_eq!(proof.block_hash().0, block.hash.to_byte_array());
    assert_eq!(count(&world.wait(2_000), CONFIRM), 1);

    assert_eq!(world.disk.keys().filter(|key| key.starts_with("signature/")).count(), 2);
    let fact = settled(&world, txid);
    world.commit(&[fact]);
    assert_eq!(count(&world.wait(60_000), CONFIRM), 0);
    assert_eq!(world.state.pegs().peg_outs[0].state, "settled");
    assert_eq!(world.disk.keys().filter(|key| key.starts_with("signature/")).count(), 0);
    let states: Vec<String> = world.state.pegs().peg_ins.into_iter().map(|peg| peg.state).collect();
    assert_eq!(states, ["minted"], "change is no deposit");
}

#[test]
fn signatures_are_on_disk_before_they_are_acknowledged() {
    let mut world = World::new();
    let txid = recorded_payout(&mut world);
    let signatures = world.sign(&txid, 0);
    let effects = world.answer(0, txid, signatures);
    let position = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).unwrap();
    assert!(position(|effect| matches!(effect, Effect::Persist(_))) < position(|effect| matches!(effect, Effect::Answer { .. })));
}

#[test]
fn signatures_that_do_not_count() {
    let mut world = World::new();
    let txid = recorded_payout(&mut world);
    let good = world.sign(&txid, 0);
    let other_message = InputSignature { signature: world.sign(&txid, 1)[0].signature, ..good[0] };
    let no_input = InputSignature { input: 5, ..good[0] };
    let table: [(&str, Txid, Vec<InputSignature>, &str); 6] = [
        ("governance-7", txid, good.clone(), "not a member"),
        ("governance-1", txid, good.clone(), "not this member's"),
        ("governance-0", txid, vec![other_message], "does not verify"),
        ("governance-0", txid, vec![no_input], "no input 5"),
        ("governance-0", txid, vec![good[0], good[0]], "2 signatures for 1 inputs"),
        ("governance-0", Txid::all_zeros(), good, "not recorded"),
    ];
    for (member, payout, signatures, reason) in table {
        let effects = world.step(Input::Signatures {
            ticket: crate::core::input::Ticket(1),
            member: member.into(),
            txid: payout,
            signatures,
        });
        let (accepted, complete, said) = answer_of(&effects);
        assert!(!accepted && !complete && said.contains(reason), "{said}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Persist(_))), "{reason}");
    }
    let again = world.sign(&txid, 0);
    for _ in 0..3 {
        assert_eq!(answer_of(&world.answer(0, txid, again.clone())), (true, false, String::new()), "one member counts once");
    }
}

#[test]
fn signatures_for_a_settled_payout_are_no_longer_needed() {
    let mut world = World::new();
    let txid = signed_payout(&mut world);
    let late = world.sign(&txid, 1);
    world.mine(vec![world.state.ledger.payout(&txid).unwrap().recorded.transaction.clone()]);
    world.mine_empty(N);
    world.poll();
    let fact = settled(&world, txid);
    world.commit(&[fact]);
    assert_eq!(answer_of(&world.answer(1, txid, late)), (true, true, String::new()));
}

#[test]
fn a_burn_that_bitcoin_cannot_pay_goes_back() {
    let mut world = World::new();
    world.mint(1, BTC);
    let (id, effects) = world.burn(40_000_000, "not an address");
    let refund = Effect::ProposeRefund(Refunded { burn: id, reason: RefundReason::NotAnAddress });
    assert!(effects.contains(&refund));
    assert_eq!(proposed(&effects), None);
    assert!(world.wait(2_000).contains(&refund));
    let effects = world.commit(&[Fact::Refunded(Refunded { burn: id, reason: RefundReason::NotAnAddress })]);
    assert!(!effects.contains(&refund));
    let shown = &world.state.pegs().peg_outs[0];
    assert_eq!((shown.state.as_str(), shown.reason.as_str()), ("refunded", "not-an-address"));
}

#[test]
fn the_fee_rate_stays_within_the_bounds() {
    let mut world = World::new();
    for (estimate, used) in [(Some(1), 1_000), (Some(7_000), 7_000), (Some(u64::MAX), 500_000), (None, 500_000)] {
        world.step(Input::Fees(estimate));
        assert_eq!(world.state.fee_rate(), Some(FeeRate(used)), "an estimate is kept while there is no newer one");
    }
}

#[test]
fn no_payout_is_proposed_before_bitcoind_was_asked_for_the_fee() {
    let mut world = World::new();
    world.mint(1, BTC);
    world.state.estimate = None;
    let (_, effects) = world.burn(40_000_000, &address());
    assert_eq!(proposed(&effects), None);
    assert!(proposed(&world.step(Input::Fees(Some(3_000)))).is_some());
}

#[test]
fn a_missed_block_makes_it_read_the_ledger_again() {
    let mut world = World::new();
    world.mint(1, BTC);
    assert_eq!(world.step(Input::Finalized { height: world.height + 2, facts: vec![] }), [Effect::ReloadLedger]);
    assert_eq!(world.step(Input::Finalized { height: world.height + 3, facts: vec![] }), [], "once, not at every block");
    assert_eq!(world.step(Input::Finalized { height: 1, facts: vec![] }), [], "known");
    let facts = world.facts.clone();
    world.step(Input::Ledger { height: world.height + 3, facts });
    assert_eq!(world.state.ledger.height(), Height(world.height + 3));
    assert_eq!(world.step(Input::Finalized { height: world.height + 4, facts: vec![] }), []);
    assert_eq!(world.step(Input::Finalized { height: world.height + 9, facts: vec![] }), [Effect::ReloadLedger]);
}

#[test]
fn burns_that_never_reach_the_ledger_make_it_read_again() {
    let mut world = World::new();
    let height = world.height + 1;
    assert_eq!(world.step(Input::Burned { height }), []);
    assert!(!world.wait(2_999).contains(&Effect::ReloadLedger));
    assert!(world.wait(1).contains(&Effect::ReloadLedger));
    world.step(Input::Ledger { height, facts: vec![] });
    assert!(!world.wait(10_000).contains(&Effect::ReloadLedger));
}

#[test]
fn a_committed_block_that_breaks_the_rules_stops_everything() {
    let mut world = World::new();
    let outpoint = world.mint(1, BTC);
    let twice = Fact::Minted(alys_peg::Minted { outpoint, value: alys_proto::Sats(BTC), recipient: super::ALICE });
    let height = world.height + 1;
    let broken = world.state.step(Input::Finalized { height, facts: vec![twice.at(Height(height))] });
    assert!(matches!(broken, Err(Broken::Rule { .. })));
    let broken = world.state.step(Input::Finalized { height, facts: vec![alys_proto::storage::LedgerFact::default()] });
    assert!(matches!(broken, Err(Broken::Fact { .. })));
}

#[test]
fn an_input_that_somebody_else_spent_is_named() {
    let mut world = World::new();
    let txid = signed_payout(&mut world);
    let mut thief = world.state.ledger.payout(&txid).unwrap().recorded.transaction.clone();
    thief.output.truncate(1);
    world.mine(vec![thief.clone()]);
    world.poll();
    world.wait(10_000);
    assert!(world.state.pegs().peg_outs[0].reason.contains(&thief.compute_txid().to_string()));
}

#[test]
fn bitcoins_refusal_is_shown_until_it_takes_the_payout() {
    let mut world = World::new();
    let txid = signed_payout(&mut world);
    world.step(Input::Broadcast { txid, outcome: Err("min relay fee not met".into()) });
    assert_eq!(world.state.pegs().peg_outs[0].reason, "min relay fee not met");
    world.step(Input::Broadcast { txid, outcome: Ok(()) });
    assert_eq!(world.state.pegs().peg_outs[0].reason, "");
}
