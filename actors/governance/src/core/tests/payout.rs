//! Payouts: what is signed is exactly what our own chain has recorded and our own bitcoind can spend.

use alys_peg::{Action, Decision, FeeRate, payout as plan, txid_from_bytes};
use alys_proto::stream::RequestFederationSignatures;
use bitcoin::{ScriptBuf, Txid};

use crate::core::deposit;
use crate::core::payout::{InputEvidence, PayoutRequest, check_inputs, check_payout, check_recorded};
use crate::core::refusal::Refusal;
use crate::core::replay::Replay;
use crate::core::support::{BTC, CONFIRMATIONS, RATE, Statement, World};

fn replayed(world: &World) -> Replay {
    let mut replay = Replay::new(world.spec.clone()).unwrap();
    for block in &world.blocks {
        replay.apply(block).unwrap();
    }
    replay
}

fn typed(request: &RequestFederationSignatures) -> PayoutRequest {
    let payout = request.payout.as_ref().unwrap();
    let txid = txid_from_bytes(payout.txid.as_slice().try_into().unwrap());
    PayoutRequest { txid, transaction: payout.transaction.clone(), height: request.height }
}

/// What an honest bitcoind says about the payout's inputs.
fn evidence(world: &World, txid: &Txid) -> Vec<Option<InputEvidence>> {
    let inputs = &world.ledger.payout(txid).unwrap().inputs;
    let look = |coin: &alys_peg::Coin| {
        world.bitcoin.unspent(&coin.outpoint).map(|(output, confirmations)| InputEvidence {
            value: output.value.to_sat(),
            script: output.script_pubkey,
            confirmations,
        })
    };
    inputs.iter().map(look).collect()
}

#[test]
fn the_recorded_payout_is_signed_and_nothing_else() {
    let mut world = World::new();
    let request = typed(&world.ready_to_sign());
    let replay = replayed(&world);
    let inputs = check_recorded(&replay, &request).unwrap();
    assert_eq!(inputs.len(), 1);
    assert_eq!(check_inputs(replay.ledger(), &request.txid, &evidence(&world, &request.txid)), Ok(()));

    let mut other_bytes = request.clone();
    other_bytes.transaction[10] ^= 1;
    assert_eq!(check_recorded(&replay, &other_bytes), Err(Refusal::OtherTransaction));
    let mut unknown = request.clone();
    unknown.txid = txid_from_bytes([7; 32].into());
    assert_eq!(check_recorded(&replay, &unknown), Err(Refusal::PayoutUnknown));
    let ahead = PayoutRequest { height: request.height + 1, ..unknown };
    assert_eq!(check_recorded(&replay, &ahead), Err(Refusal::ChainBehind { head: request.height, needed: request.height + 1 }));
}

#[test]
fn signing_before_the_payout_is_committed_here_is_refused() {
    let mut world = World::new();
    let request = typed(&world.ready_to_sign());
    world.blocks.pop();
    assert!(matches!(check_recorded(&replayed(&world), &request), Err(Refusal::ChainBehind { .. })));
}

#[test]
fn a_payout_that_is_valid_but_not_the_plan_is_never_signed() {
    // Two burns: the plan pays both, oldest first; a block that records only the second keeps every other rule.
    let mut world = World::new();
    let proof = world.deposit(BTC, 21);
    world.commit(&Statement { peg_ins: vec![proof], ..Statement::default() });
    let burns = vec![world.burn(0, 10_000_000), world.burn(1, 20_000_000)];
    let mut only_second = Statement { burns: vec![burns[1].clone()], ..Statement::default() };
    let mut elsewhere = world.ledger.clone();
    elsewhere.apply(alys_proto::Height(2), &[alys_peg::Fact::Burned(only_second.burns.remove(0))]).unwrap();
    let recorded = plan::plan(&elsewhere, RATE).unwrap().recorded();
    world.commit(&Statement { burns, ..Statement::default() });
    let committed = world.commit(&Statement { payouts: vec![recorded.clone()], ..Statement::default() });
    let request = typed(&world.request(&recorded, committed.height));
    assert!(matches!(check_recorded(&replayed(&world), &request), Err(Refusal::NotThePlan(_))));
}

#[test]
fn inputs_must_be_on_own_bitcoind_what_the_ledger_says() {
    type Breaks = fn(&mut Vec<Option<InputEvidence>>);
    let table: [(&str, Breaks, bool); 6] = [
        ("unknown or spent", |e| e[0] = None, true),
        ("missing", Vec::clear, true),
        ("not deep", |e| e[0].as_mut().unwrap().confirmations = CONFIRMATIONS - 1, true),
        ("other value", |e| e[0].as_mut().unwrap().value += 1, false),
        ("other script", |e| e[0].as_mut().unwrap().script = ScriptBuf::new(), false),
        ("unconfirmed", |e| e[0].as_mut().unwrap().confirmations = 0, true),
    ];
    let mut world = World::new();
    let request = typed(&world.ready_to_sign());
    let replay = replayed(&world);
    for (what, breaks, retry) in table {
        let mut found = evidence(&world, &request.txid);
        breaks(&mut found);
        let refused = check_inputs(replay.ledger(), &request.txid, &found).unwrap_err();
        assert_eq!(refused.retry(), retry, "{what}: {refused}");
    }
}

#[test]
fn fee_theft_and_foreign_change_never_get_into_the_books() {
    let mut world = World::new();
    let proof = world.deposit(BTC, 21);
    world.commit(&Statement { peg_ins: vec![proof], ..Statement::default() });
    let burns = vec![world.burn(0, 40_000_000)];
    world.commit(&Statement { burns, ..Statement::default() });
    let good = plan::plan(&world.ledger, RATE).unwrap().recorded();
    let mut fee = good.clone();
    fee.transaction.output[0].value -= bitcoin::Amount::from_sat(1_000);
    let mut change = good.clone();
    change.transaction.output[1].script_pubkey = change.transaction.output[0].script_pubkey.clone();
    let mut rate = good.clone();
    rate.fee_rate = FeeRate(600_000);
    let mut input = good;
    input.transaction.input[0].previous_output.vout = 9;
    for (what, recorded) in [("fee", fee), ("change", change), ("rate", rate), ("input", input)] {
        let mut replay = replayed(&world);
        let block = world.next(&Statement { payouts: vec![recorded], ..Statement::default() });
        assert!(replay.apply(&block).is_err(), "{what}");
    }
}

#[test]
fn every_rule_of_a_payout_is_checked_again_before_it_is_signed() {
    type Breaks = fn(&mut alys_peg::Payout);
    type Expected = fn(&Refusal) -> bool;
    let table: [(&str, Breaks, Expected); 9] = [
        (
            "a burn nobody made",
            |p| p.recorded.burns[0].log_index = 9,
            |r| matches!(r, Refusal::BurnNotCommitted { height: 2, log_index: 9 }),
        ),
        (
            "burn paid to somebody else",
            |p| p.recorded.transaction.output[0].script_pubkey = ScriptBuf::new(),
            |r| *r == Refusal::WrongOutput(0),
        ),
        (
            "burn paid too much",
            |p| p.recorded.transaction.output[0].value = bitcoin::Amount::from_sat(BTC),
            |r| *r == Refusal::WrongOutput(0),
        ),
        (
            "burn paid dust",
            |p| p.recorded.transaction.output[0].value = bitcoin::Amount::from_sat(1),
            |r| *r == Refusal::WrongOutput(0),
        ),
        (
            "change to somebody else",
            |p| p.recorded.transaction.output[1].script_pubkey = ScriptBuf::new(),
            |r| *r == Refusal::ForeignOutput(1),
        ),
        (
            "two changes",
            |p| {
                let change = p.recorded.transaction.output[1].clone();
                p.recorded.transaction.output.push(change);
            },
            |r| *r == Refusal::ForeignOutput(2),
        ),
        (
            "fee theft",
            |p| p.recorded.transaction.output[1].value -= bitcoin::Amount::from_sat(1),
            |r| matches!(r, Refusal::Fee { .. }),
        ),
        (
            "fee rate out of bounds",
            |p| p.recorded.fee_rate = FeeRate(500_001),
            |r| matches!(r, Refusal::Fee { rate: 500_001, .. }),
        ),
        (
            "unknown input",
            |p| p.recorded.transaction.input[0].previous_output.vout = 9,
            |r| matches!(r, Refusal::InputNotOurs(_)),
        ),
    ];
    let mut world = World::new();
    let txid = typed(&world.ready_to_sign()).txid;
    let good = world.ledger.payout(&txid).unwrap();
    assert!(check_payout(&world.ledger, good, &txid).is_ok());
    for (what, breaks, expected) in table {
        let mut broken = good.clone();
        breaks(&mut broken);
        let refused = check_payout(&world.ledger, &broken, &txid).unwrap_err();
        assert!(expected(&refused) && !refused.retry(), "{what}: {refused}");
    }
    let elsewhere = txid_from_bytes([4; 32].into());
    assert!(
        matches!(check_payout(&world.ledger, good, &elsewhere), Err(Refusal::BurnNotCommitted { .. })),
        "burn in another payout"
    );
}

#[test]
fn a_settled_payout_is_not_signed_again() {
    let mut world = World::new();
    let request = typed(&world.ready_to_sign());
    let signed = world.ledger.payout(&request.txid).unwrap().recorded.transaction.clone();
    world.bitcoin.mine(vec![signed]);
    world.bitcoin.mine_empty(CONFIRMATIONS);
    world.commit(&Statement { settlements: vec![request.txid], ..Statement::default() });
    assert_eq!(check_recorded(&replayed(&world), &request), Err(Refusal::Settled));
}

#[test]
fn peg_18_nothing_is_approved_or_signed_in_a_pause() {
    let mut world = World::new();
    let request = typed(&world.ready_to_sign());
    let proof = world.deposit(BTC, 40);
    let mut replay = replayed(&world);
    assert!(check_recorded(&replay, &request).is_ok());
    replay.apply(&world.deciding(Decision { number: 1, action: Action::PausePeg }, &[0, 1])).unwrap();
    assert_eq!(check_recorded(&replay, &request), Err(Refusal::Paused));
    assert_eq!(deposit::check(replay.ledger(), &proof, None), Err(Refusal::Paused));
    assert!(Refusal::Paused.retry(), "it is asked again when the peg goes on");
}
