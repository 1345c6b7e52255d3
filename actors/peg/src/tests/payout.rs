use alys_proto::Sats;
use bitcoin::{Amount, OutPoint, Sequence};
use proptest::prelude::*;

use super::support::*;
use crate::payout::{check, check_all, plan};
use crate::{Fact, FeeRate, Ledger, NoPayout, PayoutPlan, PayoutRefusal, PegRules, RefundReason, Refunded, refund};

fn inputs(plan: &PayoutPlan) -> Vec<OutPoint> {
    plan.transaction.input.iter().map(|input| input.previous_output).collect()
}

fn values(plan: &PayoutPlan) -> Vec<u64> {
    plan.transaction.output.iter().map(|output| output.value.to_sat()).collect()
}

#[test]
fn one_burn_pays_its_fee_and_the_change_is_exact() {
    let plan = plan(&ledger_with(&[BTC], &[40_000_000]), RATE).unwrap();
    // Frame 42 + input 164 + witness 271 + outputs 4 × (31 + 43) = 773 weight units: 194 virtual bytes at 5 satoshis.
    assert_eq!(plan.fee, Sats(970));
    assert_eq!(values(&plan), [40_000_000 - plan.fee.0, 60_000_000]);
    assert_eq!(plan.change, Some(Sats(60_000_000)));
    assert_eq!(plan.transaction.output[1].script_pubkey.as_script(), federation().script_pubkey());
    assert!(plan.transaction.input.iter().all(|input| input.sequence == Sequence::ENABLE_RBF_NO_LOCKTIME));
}

#[test]
fn the_whole_supply_goes_out_without_change() {
    let plan = plan(&ledger_with(&[BTC], &[BTC]), RATE).unwrap();
    assert_eq!(values(&plan), [BTC - plan.fee.0]);
    assert_eq!(plan.change, None);
}

#[test]
fn dust_change_takes_another_coin_or_is_filled_up_by_the_burners() {
    let another = plan(&ledger_with(&[BTC, BTC], &[BTC - 100]), RATE).unwrap();
    assert_eq!((another.transaction.input.len(), another.change), (2, Some(Sats(BTC + 100))));
    let filled = plan(&ledger_with(&[BTC], &[BTC - 100]), RATE).unwrap();
    assert_eq!(filled.change, Some(Sats(330)));
    assert_eq!(values(&filled), [BTC - 330 - filled.fee.0, 330]);
    let mut ledger = ledger_with(&[BTC], &[BTC - 100]);
    let txid = pay(&mut ledger, RATE).transaction.compute_txid();
    block(&mut ledger, &[settled(txid)]);
    assert_eq!((ledger.coins_held(), ledger.supply()), (Sats(330), wei(100)));
}

#[test]
fn coins_go_oldest_first_and_worthless_ones_stay() {
    // At 5 sat/vB an input of 2 of 3 costs ~ 550 satoshis.
    let ledger = ledger_with(&[500, BTC / 2, BTC, 3 * BTC], &[BTC]);
    assert_eq!(inputs(&plan(&ledger, RATE).unwrap()), [outpoint(1), outpoint(2)]);
}

#[test]
fn worthless_coins_are_the_last_resort() {
    let ledger = ledger_with(&[500, BTC], &[BTC + 300]);
    let plan = plan(&ledger, RATE).unwrap();
    assert_eq!(inputs(&plan), [outpoint(1), outpoint(0)], "largest first");
}

#[test]
fn a_flood_of_small_deposits_does_not_stop_a_large_burn() {
    let mut deposits = vec![20_000; 150];
    deposits.push(BTC);
    let ledger = ledger_with(&deposits, &[BTC + 10_000]);
    let plan = plan(&ledger, RATE).unwrap();
    assert_eq!(inputs(&plan)[0], outpoint(150), "largest first when a hundred old ones do not reach");
    assert_eq!(plan.transaction.input.len(), 2);
}

#[test]
fn deposits_that_come_meanwhile_do_not_change_an_oldest_first_plan() {
    let mut ledger = ledger_with(&[BTC, BTC], &[BTC / 2]);
    let before = plan(&ledger, RATE).unwrap();
    block(&mut ledger, &[deposit(9, 5 * BTC)]);
    assert_eq!(plan(&ledger, RATE).unwrap(), before);
}

#[test]
fn the_batch_is_the_oldest_burns_up_to_the_cap() {
    let rules = PegRules { max_burns_per_payout: 3, ..rules() };
    let mut ledger = Ledger::new(federation(), rules);
    block(&mut ledger, &[deposit(0, 10 * BTC)]);
    let burns: Vec<Fact> = (0..5).map(|n| Fact::Burned(burn(2, n, BTC))).collect();
    block(&mut ledger, &burns);
    let plan = plan(&ledger, RATE).unwrap();
    assert_eq!(plan.burns.iter().map(|id| id.log_index).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn the_oldest_burn_waits_for_nobody_younger() {
    let mut ledger = ledger_with(&[BTC, BTC], &[BTC]);
    pay(&mut ledger, RATE);
    block(&mut ledger, &[Fact::Burned(burn(4, 0, BTC / 2)), Fact::Burned(burn(4, 1, BTC / 2))]);
    let pays = plan(&ledger, RATE).unwrap();
    assert_eq!(pays.burns.len(), 2);
    // Only one coin is free: the youngest burn leaves the batch.
    let mut short = ledger_with(&[BTC, BTC], &[BTC / 2]);
    pay(&mut short, RATE);
    block(&mut short, &[Fact::Burned(burn(4, 0, BTC / 2)), Fact::Burned(burn(4, 1, BTC * 3 / 4))]);
    let paid = plan(&short, RATE).unwrap().burns;
    assert_eq!(paid.iter().map(|id| id.log_index).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_burn_that_cannot_be_paid_is_skipped_and_due_for_a_refund() {
    let mut ledger = ledger();
    block(&mut ledger, &[deposit(0, BTC)]);
    block(&mut ledger, &[Fact::Burned(burn_to(2, 0, BTC / 4, "nonsense")), Fact::Burned(burn(2, 1, BTC / 4))]);
    assert_eq!(plan(&ledger, RATE).unwrap().burns.len(), 1);
    let due = refund::due(&ledger, Some(RATE));
    assert_eq!(due.iter().map(|r| (r.burn.log_index, r.reason)).collect::<Vec<_>>(), [(0, RefundReason::NotAnAddress)]);
    assert_eq!(refund::check(&due[0], &ledger), Ok(()));
    let wrong_reason = Refunded { reason: RefundReason::NotText, ..due[0] };
    assert!(refund::check(&wrong_reason, &ledger).is_err(), "rejected burn with a false reason");
    let payable = Refunded { burn: ledger.pending_burns().nth(1).unwrap().id, reason: RefundReason::NotAnAddress };
    assert!(refund::check(&payable, &ledger).is_err(), "a payable burn is paid, not refunded");
    block(&mut ledger, &[Fact::Refunded(due[0])]);
    assert!(refund::check(&due[0], &ledger).is_err(), "refunded twice");
}

#[test]
fn fee_spike_eats_small_burns_and_they_are_refunded() {
    let ledger = ledger_with(&[BTC], &[10_000, BTC / 2, 10_000]);
    let spike = FeeRate(400_000);
    let plan = plan(&ledger, spike).unwrap();
    assert_eq!(plan.burns.len(), 1);
    assert_eq!(plan.eaten.iter().map(|id| id.log_index).collect::<Vec<_>>(), [0, 2]);
    let due = refund::due(&ledger, Some(spike));
    assert_eq!(due.len(), 2);
    assert!(due.iter().all(|r| r.reason == RefundReason::EatenByFee(spike) && refund::check(r, &ledger).is_ok()));
    assert!(refund::due(&ledger, Some(RATE)).is_empty());
    assert!(refund::due(&ledger, None).is_empty());
    let at_low_rate = Refunded { reason: RefundReason::EatenByFee(RATE), ..due[0] };
    assert!(refund::check(&at_low_rate, &ledger).is_err());
    let mixed = [due[0], Refunded { reason: RefundReason::EatenByFee(FeeRate(400_001)), ..due[1] }];
    assert_eq!(refund::check_all(&due, &ledger), Ok(()));
    assert_eq!(refund::check_all(&mixed, &ledger), Err(refund::RefundRefusal::SeveralFeeRates));
    let out_of_bounds = Refunded { reason: RefundReason::EatenByFee(FeeRate(500_001)), ..due[0] };
    assert!(refund::check(&out_of_bounds, &ledger).is_err());
}

#[test]
fn when_the_fee_eats_all_there_is_nothing_to_pay() {
    let ledger = ledger_with(&[BTC], &[10_000]);
    assert!(matches!(plan(&ledger, FeeRate(500_000)), Err(NoPayout::NothingToPay { eaten }) if eaten.len() == 1));
    assert_eq!(refund::due(&ledger, Some(FeeRate(500_000))).len(), 1);
}

#[test]
fn a_payout_below_dust_is_not_planned() {
    // 294 is the dust limit of the burn's script.
    let alone = |sats| plan(&ledger_with(&[sats], &[sats]), RATE);
    let fee = alone(BTC).unwrap().fee.0;
    assert_eq!(values(&alone(fee + 294).unwrap()), [294]);
    assert!(matches!(alone(fee + 293), Err(NoPayout::NothingToPay { eaten }) if eaten.len() == 1));
}

#[test]
fn minimum_changed_and_older_burns_are_not_lost() {
    let strict = PegRules { min_peg_in: Sats(BTC), ..rules() };
    let mut ledger = Ledger::new(federation(), strict);
    block(&mut ledger, &[deposit(0, BTC)]);
    block(&mut ledger, &[Fact::Burned(burn(2, 0, 5_000))]);
    assert_eq!(plan(&ledger, RATE).unwrap().burns.len(), 1);
}

#[test]
fn several_burns_of_one_address_are_paid_one_by_one() {
    let mut ledger = ledger();
    block(&mut ledger, &[deposit(0, BTC)]);
    let same = address(0);
    block(&mut ledger, &[Fact::Burned(burn_to(2, 0, BTC / 4, &same)), Fact::Burned(burn_to(2, 1, BTC / 4, &same))]);
    let plan = pay(&mut ledger, RATE);
    assert_eq!(plan.transaction.output.len(), 3);
}

#[test]
fn fee_rates_out_of_bounds_and_empty_queues_make_no_plan() {
    let ledger = ledger_with(&[BTC], &[BTC / 2]);
    for rate in [0, 999, 500_001, u64::MAX] {
        assert_eq!(plan(&ledger, FeeRate(rate)), Err(NoPayout::FeeRate(FeeRate(rate))));
    }
    assert_eq!(plan(&ledger_with(&[BTC], &[]), RATE), Err(NoPayout::NothingToPay { eaten: vec![] }));
}

#[test]
fn any_other_bytes_are_refused() {
    let ledger = ledger_with(&[BTC, BTC], &[BTC / 4, BTC / 4]);
    let good = plan(&ledger, RATE).unwrap().recorded();
    assert_eq!(check(&good, &ledger), Ok(()));
    assert_eq!(check_all(&[], &ledger), Ok(()));
    assert_eq!(check_all(std::slice::from_ref(&good), &ledger), Ok(()));
    assert_eq!(check_all(&[good.clone(), good.clone()], &ledger), Err(PayoutRefusal::Several));
    let mut other = good.clone();
    other.transaction.output[0].value += Amount::from_sat(1);
    assert_eq!(check(&other, &ledger), Err(PayoutRefusal::OtherTransaction));
    let mut other = good.clone();
    other.transaction.input[0].previous_output = outpoint(1);
    assert_eq!(check(&other, &ledger), Err(PayoutRefusal::OtherTransaction), "as good a coin, but not the one");
    let mut other = good.clone();
    other.burns.pop();
    assert_eq!(check(&other, &ledger), Err(PayoutRefusal::OtherBurns));
    let mut other = good;
    other.fee_rate = FeeRate(6_000);
    assert_eq!(check(&other, &ledger), Err(PayoutRefusal::OtherTransaction));
}

#[test]
fn a_payout_is_never_too_heavy_to_be_relayed() {
    let deposits = vec![10_000; 1_500];
    let ledger = ledger_with(&deposits, &[10_000 * 1_500]);
    assert_eq!(plan(&ledger, FeeRate(1_000)), Err(NoPayout::WaitsForCoins), "needs consolidation first");
    let ledger = ledger_with(&deposits, &[10_000 * 800]);
    let plan = plan(&ledger, FeeRate(1_000)).unwrap();
    let weight = crate::payout::signed_weight(&plan.transaction, &federation());
    assert!(weight.to_wu() <= crate::payout::MAX_STANDARD_WEIGHT);
    assert!(bitcoin::consensus::serialize(&plan.transaction).len() <= 65_536, "fits a block's record");
}

proptest! {
    #[test]
    fn a_plan_conserves_value_to_the_satoshi(
        deposits in proptest::collection::vec(1_000u64..2 * BTC, 1..30),
        parts in proptest::collection::vec(1u64..200, 1..30),
        rate in 1_000u64..500_000,
    ) {
        let supply: u64 = deposits.iter().sum();
        let whole: u64 = parts.iter().sum::<u64>() + 50;
        let burns: Vec<u64> = parts.iter().map(|part| (u128::from(supply) * u128::from(*part) / u128::from(whole)) as u64).collect();
        let mut ledger = ledger_with(&deposits, &burns);
        let Ok(plan) = plan(&ledger, FeeRate(rate)) else { return Ok(()) };
        let of = |outpoint: &OutPoint| ledger.minted(outpoint).unwrap().value.0;
        let spent: u64 = inputs(&plan).iter().map(of).sum();
        let outputs = values(&plan);
        prop_assert_eq!(spent, outputs.iter().sum::<u64>() + plan.fee.0);
        let vsize = crate::payout::signed_vsize(&plan.transaction, &federation());
        prop_assert_eq!(plan.fee.0, (vsize * rate).div_ceil(1_000));
        let owed: u64 = plan.burns.iter().map(|id| ledger.burn(id).unwrap().0.amount.to_sats().unwrap().0).sum();
        prop_assert!(spent - plan.change.unwrap_or_default().0 <= owed);
        prop_assert!(plan.transaction.output.iter().all(|output| output.value >= output.script_pubkey.minimal_non_dust()));
        for (id, paid) in plan.burns.iter().zip(&outputs) {
            prop_assert!(*paid < ledger.burn(id).unwrap().0.amount.to_sats().unwrap().0);
        }
        prop_assert!(plan.burns.iter().all(|id| !plan.eaten.contains(id)));
        prop_assert_eq!(check(&plan.recorded(), &ledger), Ok(()));
        let height = ledger.height().next();
        prop_assert_eq!(ledger.apply(height, &[Fact::PayoutRecorded(plan.recorded())]), Ok(()));
        prop_assert_eq!(ledger.check_invariants(), Ok(()));
    }
}
