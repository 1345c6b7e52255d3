use alloy_primitives::B256;
use alys_pow::{Bits, BlockRef, Settled};

use super::support::*;
use crate::payout::{check, plan};
use crate::{BurnRef, Fact, Ledger, NoPayout, PegInvariant, PegRules, Violation};

pub(super) fn work(sequence: u64, end: u64) -> Fact {
    let end = BlockRef { height: end, hash: B256::repeat_byte(7) };
    Fact::WorkSettled(Settled { sequence, end, bits: Bits::new(0x207f_ffff).unwrap(), window_start: 9 })
}

/// A deposit in block 1, a burn in block 2.
fn waiting(settled_peg_outs: bool) -> Ledger {
    let mut ledger = Ledger::new(federation(), PegRules { settled_peg_outs, ..rules() });
    block(&mut ledger, &[deposit(1, BTC)]);
    block(&mut ledger, &[Fact::Burned(burn(2, 0, BTC / 2))]);
    ledger
}

#[test]
fn a_burn_is_paid_only_once_its_block_is_settled() {
    let mut ledger = waiting(true);
    assert_eq!(plan(&ledger, RATE), Err(NoPayout::NothingToPay { eaten: vec![] }));
    block(&mut ledger, &[work(1, 1)]);
    assert_eq!(plan(&ledger, RATE), Err(NoPayout::NothingToPay { eaten: vec![] }), "block 2 is not settled");

    let forced = plan(&waiting(false), RATE).unwrap().recorded();
    assert!(check(&forced, &ledger).is_err());
    let refused = ledger.clone().apply(ledger.height().next(), &[Fact::PayoutRecorded(forced)]).unwrap_err();
    assert_eq!(refused, Violation::BurnNotSettled(BurnRef { height: 2, log_index: 0 }));

    block(&mut ledger, &[work(2, 2)]);
    pay(&mut ledger, RATE);
}

#[test]
fn settlement_only_moves_forward() {
    let mut ledger = waiting(true);
    block(&mut ledger, &[work(1, 2)]);
    let cases = [vec![work(1, 3)], vec![work(3, 3)], vec![work(2, 2)], vec![work(2, 4)], vec![work(2, 3), work(2, 3)]];
    for facts in cases {
        let mut tried = ledger.clone();
        let refused = tried.apply(ledger.height().next(), &facts).unwrap_err();
        assert_eq!(refused.invariant(), PegInvariant::P14, "{facts:?}");
        assert_eq!(tried, ledger, "a refused block leaves no trace");
    }
    let before = ledger.clone();
    assert_eq!(ledger.would_apply(ledger.height().next(), &[work(2, 3)]), Ok(()));
    assert_eq!(ledger, before);
}
