use alys_proto::{Sats, Wei};

use super::support::*;
use crate::withdrawals::{Withdrawal, WithdrawalMismatch, check, justified};
use crate::{Burn, BurnRef, Fact, Ledger, Minted, PegInvariant, PegRules, RefundReason, Refunded};

fn minted(n: u64, sats: u64) -> Minted {
    Minted { outpoint: outpoint(n), value: Sats(sats), recipient: recipient(7) }
}

fn refunded(log_index: u32) -> Refunded {
    Refunded { burn: BurnRef { height: 2, log_index }, reason: RefundReason::NotText }
}

#[test]
fn one_withdrawal_per_peg_in_and_refund_in_block_order() {
    let ledger = ledger_with(&[BTC, BTC], &[BTC / 2, BTC / 4]);
    let found = justified(&ledger, &[minted(5, 3), minted(6, BTC)], &[refunded(1), refunded(0)]).unwrap();
    let expected =
        [(2, recipient(7), 30), (3, recipient(7), 1_000_000_000), (4, recipient(9), 250_000_000), (5, recipient(9), 500_000_000)];
    assert_eq!(found, expected.map(|(index, recipient, gwei)| Withdrawal { index, recipient, gwei }));
    let mut after = ledger;
    let facts = [5, 6].map(|n| deposit(n, BTC)).into_iter().chain([refunded(1), refunded(0)].map(Fact::Refunded));
    block(&mut after, &facts.collect::<Vec<_>>());
    assert_eq!(after.next_withdrawal_index(), 6);
}

#[test]
fn extra_withdrawals_by_the_proposer_are_refused() {
    let ledger = ledger_with(&[BTC], &[]);
    let good = justified(&ledger, &[minted(5, 3), minted(6, BTC)], &[]).unwrap();
    assert_eq!(check(&good, &good), Ok(()));
    let mut extra = good.clone();
    extra.push(extra[0]);
    assert_eq!(check(&extra, &good), Err(WithdrawalMismatch::Count { found: 3, justified: 2 }));
    assert!(check(&good[..1], &good).is_err());
    let bends: [fn(&mut Withdrawal); 3] = [|w| w.gwei += 1, |w| w.recipient = recipient(1), |w| w.index += 1];
    for bend in bends {
        let mut bent = good.clone();
        bend(&mut bent[1]);
        assert!(matches!(check(&bent, &good), Err(WithdrawalMismatch::Differs { .. })));
    }
    let mut swapped = good.clone();
    swapped.swap(0, 1);
    assert!(check(&swapped, &good).is_err());
}

#[test]
fn the_declared_fee_is_not_minted_and_unknown_burns_are_refused() {
    let ledger = Ledger::new(federation(), PegRules { peg_in_fee: Sats(500), ..rules() });
    assert_eq!(justified(&ledger, &[minted(5, 1_500)], &[]).unwrap()[0].gwei, 10_000);
    assert_eq!(justified(&ledger, &[minted(5, 499)], &[]).unwrap_err().invariant(), PegInvariant::P3);
    assert_eq!(justified(&ledger, &[], &[refunded(0)]).unwrap_err().invariant(), PegInvariant::P7);
}

#[test]
fn below_a_gwei_nothing_is_withdrawn() {
    let mut ledger = ledger_with(&[BTC], &[]);
    let odd = Burn { amount: Wei(wei(1).0 + 1), ..burn(3, 0, 0) };
    block(&mut ledger, &[Fact::Burned(odd)]);
    let refund = Refunded { burn: BurnRef { height: 3, log_index: 0 }, reason: RefundReason::NotWholeSats };
    assert_eq!(justified(&ledger, &[], &[refund]).unwrap()[0].gwei, 10);
    block(&mut ledger, &[Fact::Refunded(refund)]);
    assert_eq!(ledger.supply(), Wei(wei(BTC).0 - 1));
}
