use alloy_primitives::Address;
use alys_proto::{Sats, Wei};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Sequence, Transaction, Txid};

use super::support::*;
use crate::{
    BurnRef, BurnState, Fact, FeeRate, Ledger, Minted, PayoutRecorded, PegInvariant, PegRules, RefundReason, Refunded, Violation,
    payout,
};

fn id(height: u64, log_index: u32) -> BurnRef {
    BurnRef { height, log_index }
}

fn refund(burn: BurnRef) -> Fact {
    Fact::Refunded(Refunded { burn, reason: RefundReason::NotText })
}

/// Applies facts that must be refused, and checks that nothing has changed.
fn refused(ledger: &Ledger, facts: &[Fact]) -> Violation {
    let mut tried = ledger.clone();
    let violation = tried.apply(ledger.height().next(), facts).unwrap_err();
    assert_eq!(&tried, ledger, "a refused block leaves no trace");
    assert!(violation.to_string().starts_with(&format!("{}:", violation.invariant())), "{violation}");
    assert_eq!(tried.would_apply(ledger.height().next(), facts), Err(violation.clone()));
    violation
}

#[test]
fn a_deposit_and_a_burn_through_to_the_end() {
    let mut ledger = ledger();
    block(&mut ledger, &[deposit(1, BTC)]);
    assert!(ledger.is_minted(&outpoint(1)));
    assert_eq!((ledger.supply(), ledger.coins_held(), ledger.owed()), (wei(BTC), Sats(BTC), Wei(0)));
    assert_eq!(ledger.next_withdrawal_index(), 1);

    block(&mut ledger, &[Fact::Burned(burn(2, 0, 40_000_000))]);
    assert_eq!((ledger.supply(), ledger.owed()), (wei(60_000_000), wei(40_000_000)));
    assert_eq!(ledger.pending_burns().count(), 1);

    let plan = pay(&mut ledger, RATE);
    let txid = plan.transaction.compute_txid();
    assert_eq!(ledger.burn(&id(2, 0)).unwrap().1, BurnState::InPayout(txid));
    assert_eq!((ledger.coins_held(), ledger.owed()), (Sats(BTC), wei(40_000_000)), "held and owed until Bitcoin confirms");
    assert_eq!((ledger.utxos().count(), ledger.pending_burns().count(), ledger.payouts_in_flight().count()), (0, 0, 1));
    assert_eq!(ledger.prevouts(&txid).unwrap()[0].value, Amount::from_sat(BTC));

    block(&mut ledger, &[settled(txid)]);
    assert_eq!(ledger.burn(&id(2, 0)).unwrap().1, BurnState::Paid(txid));
    assert_eq!((ledger.coins_held(), ledger.owed(), ledger.supply()), (Sats(60_000_000), Wei(0), wei(60_000_000)));
    assert!(ledger.is_spendable(&OutPoint { txid, vout: 1 }));
    assert_eq!(ledger.payouts_in_flight().count(), 0);
    assert_eq!(ledger.payout(&txid).unwrap().fee(), plan.fee);
}

#[test]
fn a_refunded_burn_is_supply_again() {
    let mut ledger = ledger_with(&[BTC], &[BTC / 2]);
    block(&mut ledger, &[refund(id(2, 0))]);
    assert_eq!((ledger.supply(), ledger.owed(), ledger.next_withdrawal_index()), (wei(BTC), Wei(0), 2));
    assert_eq!(ledger.burn(&id(2, 0)).unwrap().1, BurnState::Refunded(RefundReason::NotText));
}

#[test]
fn same_outpoint_twice_in_a_block_or_ever_is_minted_once() {
    let twice = refused(&ledger(), &[deposit(1, BTC), deposit(1, BTC)]);
    assert_eq!(twice, Violation::MintedTwice(outpoint(1)));
    let mut ledger = ledger_with(&[BTC], &[BTC]);
    assert_eq!(refused(&ledger, &[deposit(0, BTC)]).invariant(), PegInvariant::P2);
    let txid = pay(&mut ledger, RATE).transaction.compute_txid();
    block(&mut ledger, &[settled(txid)]);
    assert_eq!(refused(&ledger, &[deposit(0, BTC)]).invariant(), PegInvariant::P2, "also when it is long spent");
}

#[test]
fn change_of_our_own_is_never_minted() {
    let mut ledger = ledger_with(&[BTC], &[BTC / 2]);
    let txid = pay(&mut ledger, RATE).transaction.compute_txid();
    let forged = Fact::Minted(Minted { outpoint: OutPoint { txid, vout: 1 }, value: Sats(BTC), recipient: recipient(1) });
    assert_eq!(refused(&ledger, &[forged]).invariant(), PegInvariant::P2);
}

#[test]
fn amounts_that_cannot_be_are_refused() {
    assert_eq!(refused(&ledger(), &[deposit(1, 0)]).invariant(), PegInvariant::P3);
    assert_eq!(refused(&ledger(), &[deposit(1, u64::MAX)]).invariant(), PegInvariant::P3);
    assert_eq!(refused(&ledger(), &[deposit(1, 20_999_999 * BTC), deposit(2, 2 * BTC)]).invariant(), PegInvariant::P3);
    let to_zero = Fact::Minted(Minted { outpoint: outpoint(1), value: Sats(BTC), recipient: Address::ZERO });
    assert_eq!(refused(&ledger(), &[to_zero]).invariant(), PegInvariant::P3);
    let with_fee = Ledger::new(federation(), PegRules { peg_in_fee: Sats(500), ..rules() });
    assert_eq!(refused(&with_fee, &[deposit(1, 500)]).invariant(), PegInvariant::P3);
    let mut with_fee = with_fee;
    block(&mut with_fee, &[deposit(1, BTC)]);
    assert_eq!((with_fee.supply(), with_fee.coins_held()), (wei(BTC - 500), Sats(BTC)));
}

#[test]
fn burns_beyond_the_supply_or_of_another_block_are_refused() {
    let ledger = ledger_with(&[BTC], &[]);
    let too_much = refused(&ledger, &[Fact::Burned(burn(3, 0, BTC + 1))]);
    assert!(matches!(too_much, Violation::BurnedMoreThanSupply { .. }), "{too_much}");
    assert_eq!(too_much.invariant(), PegInvariant::P1);
    assert_eq!(refused(&ledger, &[Fact::Burned(burn(3, 0, BTC)), Fact::Burned(burn(3, 1, 1))]).invariant(), PegInvariant::P1);
    assert_eq!(refused(&ledger, &[Fact::Burned(burn(2, 0, 1))]).invariant(), PegInvariant::P12);
    assert_eq!(refused(&ledger, &[Fact::Burned(burn(3, 0, 1)), Fact::Burned(burn(3, 0, 2))]).invariant(), PegInvariant::P6);
}

#[test]
fn a_block_out_of_turn_is_refused() {
    let mut ledger = ledger_with(&[BTC], &[]);
    for wrong in [0, 1, 2, 4, u64::MAX] {
        assert_eq!(ledger.apply(height(wrong), &[]).unwrap_err().invariant(), PegInvariant::P12);
    }
}

#[test]
fn a_burn_is_paid_or_refunded_once() {
    let mut ledger = ledger_with(&[BTC, BTC], &[BTC / 4, BTC / 4]);
    assert_eq!(refused(&ledger, &[refund(id(2, 0)), refund(id(2, 0))]).invariant(), PegInvariant::P6);
    assert_eq!(refused(&ledger, &[refund(id(9, 9))]).invariant(), PegInvariant::P7);
    let recorded = payout::plan(&ledger, RATE).unwrap().recorded();
    let both = [Fact::PayoutRecorded(recorded.clone()), refund(id(2, 1))];
    assert_eq!(refused(&ledger, &both), Violation::BurnNotPending(id(2, 1)), "refund comes first, so the payout is refused");
    block(&mut ledger, &[Fact::PayoutRecorded(recorded.clone())]);
    assert_eq!(refused(&ledger, &[refund(id(2, 0))]).invariant(), PegInvariant::P6);
    assert_eq!(refused(&ledger, &[Fact::PayoutRecorded(recorded.clone())]).invariant(), PegInvariant::P13);

    let mut other_coins = recorded;
    other_coins.transaction.input[0].previous_output = outpoint(1);
    assert_eq!(
        refused(&ledger, &[Fact::PayoutRecorded(other_coins)]).invariant(),
        PegInvariant::P6,
        "replacement with other inputs"
    );
    let txid = ledger.payouts().next().map(|(txid, _)| *txid).unwrap();
    block(&mut ledger, &[settled(txid)]);
    assert_eq!(refused(&ledger, &[refund(id(2, 0))]).invariant(), PegInvariant::P6);
}

#[test]
fn a_burn_cannot_be_paid_in_its_own_block() {
    let mut ledger = ledger_with(&[BTC], &[]);
    let mut ahead = ledger.clone();
    block(&mut ahead, &[Fact::Burned(burn(3, 0, BTC / 2))]);
    let recorded = Fact::PayoutRecorded(payout::plan(&ahead, RATE).unwrap().recorded());
    assert_eq!(refused(&ledger, &[Fact::Burned(burn(3, 0, BTC / 2)), recorded.clone()]).invariant(), PegInvariant::P7);
    block(&mut ledger, &[Fact::Burned(burn(3, 0, BTC / 2))]);
    block(&mut ledger, &[recorded]);
}

/// Each way to bend a payout, and the invariant that catches it when only the ledger looks.
#[test]
fn a_bent_payout_is_refused_by_name() {
    type Bend = fn(&mut PayoutRecorded);
    let table: [(&str, Bend, PegInvariant); 17] = [
        ("payout of zero", |p| p.transaction.output[0].value = Amount::ZERO, PegInvariant::P8),
        ("dust payout", |p| p.transaction.output[0].value = Amount::from_sat(100), PegInvariant::P8),
        ("fee theft", |p| p.transaction.output[0].value -= Amount::from_sat(1), PegInvariant::P8),
        ("fee spike", |p| p.fee_rate = FeeRate(500_001), PegInvariant::P8),
        ("fee too low", |p| p.fee_rate = FeeRate(999), PegInvariant::P8),
        ("more than was burned", |p| p.transaction.output[0].value += Amount::from_sat(BTC), PegInvariant::P8),
        ("paid to somebody else", |p| p.transaction.output[0].script_pubkey = to(99), PegInvariant::P8),
        ("burns swapped", |p| p.burns.swap(0, 1), PegInvariant::P8),
        ("a burn twice", |p| p.burns[1] = p.burns[0], PegInvariant::P6),
        ("change to a wrong script", |p| p.transaction.output[2].script_pubkey = to(99), PegInvariant::P9),
        ("dust change", |p| p.transaction.output[2].value = Amount::from_sat(329), PegInvariant::P9),
        ("two changes", |p| p.transaction.output.push(p.transaction.output[2].clone()), PegInvariant::P13),
        ("unknown input", |p| p.transaction.input[0].previous_output = outpoint(77), PegInvariant::P8),
        ("input twice", |p| p.transaction.input.push(p.transaction.input[0].clone()), PegInvariant::P10),
        ("no burns", |p| p.burns.clear(), PegInvariant::P13),
        ("not replaceable", |p| p.transaction.input[0].sequence = Sequence::MAX, PegInvariant::P13),
        ("no inputs", |p| p.transaction.input.clear(), PegInvariant::P13),
    ];
    let ledger = ledger_with(&[BTC, BTC], &[BTC / 4, BTC / 8]);
    let good = payout::plan(&ledger, RATE).unwrap().recorded();
    assert_eq!((good.transaction.input.len(), good.transaction.output.len()), (1, 3));
    for (name, bend, invariant) in table {
        let mut bent = good.clone();
        bend(&mut bent);
        let violation = refused(&ledger, &[Fact::PayoutRecorded(bent.clone())]);
        assert_eq!(violation.invariant(), invariant, "{name}: {violation}");
        assert!(payout::check(&bent, &ledger).is_err(), "{name}");
    }
}

fn to(n: u64) -> bitcoin::ScriptBuf {
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address(n).parse().unwrap();
    address.assume_checked().script_pubkey()
}

/// A thief who keeps size and fee right, so that no other rule catches it first.
#[test]
fn fee_theft_with_the_right_fee_is_refused() {
    let ledger = ledger_with(&[BTC, BTC], &[BTC / 4]);
    let plan = payout::plan(&ledger, RATE).unwrap();
    let (good, txid) = (plan.recorded(), |bent: &PayoutRecorded| bent.txid());
    let shift = |sats: i64| {
        let mut bent = good.clone();
        let outputs = &mut bent.transaction.output;
        outputs[0].value = Amount::from_sat(outputs[0].value.to_sat().strict_add_signed(sats));
        outputs[1].value = Amount::from_sat(outputs[1].value.to_sat().strict_add_signed(-sats));
        bent
    };
    let violation_of = |bent: &PayoutRecorded| refused(&ledger, &[Fact::PayoutRecorded(bent.clone())]);

    let unpaid_fee = shift(i64::try_from(plan.fee.0).unwrap());
    assert_eq!(violation_of(&unpaid_fee), Violation::PayoutTakesMore(txid(&unpaid_fee)), "the federation pays the fee");
    let too_much = shift(i64::try_from(plan.fee.0).unwrap() + 1);
    assert_eq!(violation_of(&too_much), Violation::PayoutOutput { txid: txid(&too_much), output: 0 });
    let dust = shift(293 - i64::try_from(BTC / 4 - plan.fee.0).unwrap());
    assert_eq!(violation_of(&dust), Violation::PayoutOutput { txid: txid(&dust), output: 0 });
    let mut elsewhere = good.clone();
    elsewhere.transaction.output[0].script_pubkey = to(96);
    assert_eq!(elsewhere.transaction.vsize(), good.transaction.vsize());
    assert_eq!(violation_of(&elsewhere), Violation::PayoutOutput { txid: txid(&elsewhere), output: 0 });
}

#[test]
fn change_cannot_be_left_to_the_miners() {
    let ledger = ledger_with(&[BTC, BTC], &[BTC / 4]);
    let mut bent = payout::plan(&ledger, RATE).unwrap().recorded();
    bent.transaction.output.pop();
    let violation = refused(&ledger, &[Fact::PayoutRecorded(bent)]);
    assert!(matches!(violation, Violation::PayoutFee { .. }), "{violation}");
}

#[test]
fn a_fee_rate_out_of_bounds_is_refused_even_when_the_fee_fits_it() {
    let recorded = payout::plan(&ledger_with(&[BTC], &[BTC / 4]), RATE).unwrap().recorded();
    for (min_fee_rate, max_fee_rate) in [(FeeRate(RATE.0 + 1), FeeRate(500_000)), (FeeRate(1), FeeRate(RATE.0 - 1))] {
        let mut strict = Ledger::new(federation(), PegRules { min_fee_rate, max_fee_rate, ..rules() });
        block(&mut strict, &[deposit(0, BTC)]);
        block(&mut strict, &[Fact::Burned(burn(2, 0, BTC / 4))]);
        assert_eq!(refused(&strict, &[Fact::PayoutRecorded(recorded.clone())]), Violation::PayoutFeeRate(recorded.txid()));
    }
}

#[test]
fn spent_coins_do_not_come_back() {
    let mut ledger = ledger_with(&[BTC, 2 * BTC], &[BTC / 4]);
    let first = pay(&mut ledger, RATE);
    block(&mut ledger, &[Fact::Burned(burn(4, 0, BTC / 4))]);
    let mut second = payout::plan(&ledger, RATE).unwrap().recorded();
    second.transaction.input[0].previous_output = outpoint(0);
    assert_eq!(refused(&ledger, &[Fact::PayoutRecorded(second.clone())]).invariant(), PegInvariant::P10);
    block(&mut ledger, &[settled(first.transaction.compute_txid())]);
    assert_eq!(refused(&ledger, &[Fact::PayoutRecorded(second)]).invariant(), PegInvariant::P11);
}

#[test]
fn unconfirmed_change_is_not_spent() {
    let mut ledger = ledger_with(&[BTC], &[BTC / 4]);
    let first = pay(&mut ledger, RATE);
    block(&mut ledger, &[Fact::Burned(burn(4, 0, BTC / 4))]);
    assert_eq!(payout::plan(&ledger, RATE), Err(crate::NoPayout::WaitsForCoins));
    block(&mut ledger, &[settled(first.transaction.compute_txid())]);
    assert!(payout::plan(&ledger, RATE).is_ok());
}

#[test]
fn settlement_only_moves_forward() {
    let mut ledger = ledger_with(&[BTC], &[BTC / 4]);
    assert_eq!(refused(&ledger, &[settled(Txid::all_zeros())]).invariant(), PegInvariant::P14);
    let txid = pay(&mut ledger, RATE).transaction.compute_txid();
    assert_eq!(refused(&ledger, &[settled(txid), settled(txid)]).invariant(), PegInvariant::P14);
    block(&mut ledger, &[settled(txid)]);
    assert_eq!(refused(&ledger, &[settled(txid)]).invariant(), PegInvariant::P14);
}

#[test]
fn the_last_fact_of_a_block_takes_all_others_back() {
    let mut ledger = ledger_with(&[BTC, BTC], &[BTC / 4, BTC / 8]);
    let first = pay(&mut ledger, RATE);
    block(&mut ledger, &[Fact::Burned(burn(4, 0, BTC / 2)), Fact::Burned(burn_to(4, 1, BTC / 8, "nonsense"))]);
    let second = payout::plan(&ledger, RATE).unwrap().recorded();
    let facts = vec![
        deposit(50, BTC),
        refund(id(4, 1)),
        Fact::PayoutRecorded(second),
        settled(first.transaction.compute_txid()),
        Fact::Burned(burn(5, 0, BTC / 8)),
    ];
    let mut reversed = facts.clone();
    reversed.reverse();
    let (mut left, mut right) = (ledger.clone(), ledger.clone());
    block(&mut left, &facts);
    block(&mut right, &reversed);
    assert_eq!(left, right, "the kinds have a fixed order");

    let mut spoiled = facts.clone();
    spoiled.push(Fact::Burned(burn(5, 0, 1)));
    assert_eq!(refused(&ledger, &spoiled).invariant(), PegInvariant::P6);
    let before = ledger.clone();
    assert_eq!(ledger.would_apply(height(5), &facts), Ok(()));
    assert_eq!(ledger, before);
}

#[test]
fn every_invariant_has_a_name_and_a_line() {
    for (number, invariant) in (1..).zip(PegInvariant::ALL) {
        assert_eq!(invariant.name(), format!("PEG-{number}"));
        assert!(!invariant.text().is_empty());
    }
}

#[test]
fn form_is_checked_for_every_field() {
    let ledger = ledger_with(&[BTC], &[BTC / 4]);
    let good = payout::plan(&ledger, RATE).unwrap().recorded();
    let bends: [fn(&mut Transaction); 4] = [
        |t| t.version = bitcoin::transaction::Version::ONE,
        |t| t.lock_time = bitcoin::absolute::LockTime::from_consensus(1),
        |t| t.input[0].script_sig = bitcoin::ScriptBuf::from_bytes(vec![0x51]),
        |t| t.input[0].witness.push([1]),
    ];
    for bend in bends {
        let mut bent = good.clone();
        bend(&mut bent.transaction);
        assert_eq!(refused(&ledger, &[Fact::PayoutRecorded(bent)]).invariant(), PegInvariant::P13);
    }
}
