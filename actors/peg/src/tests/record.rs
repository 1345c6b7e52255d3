use alloy_primitives::B256;
use alys_blocks::ChainDomain;
use proptest::prelude::*;

use super::support::*;
use crate::record::{MAX_RECORD_BYTES, check};
use crate::refund::{self, RefundRefusal};
use crate::{
    Action, Ballot, BurnRef, Decision, Fact, Ledger, NoPayout, PegInvariant, Record, RecordRefusal, RefundReason, Refunded,
    Violation, payout,
};

const PAUSE: Decision = Decision { number: 1, action: Action::PausePeg };
const RESUME: Decision = Decision { number: 2, action: Action::ResumePeg };

/// What these members say together.
fn signed(decision: Decision, members: &[u8]) -> Record {
    let mut parts = members.iter().map(|member| decision.sign(&domain(), usize::from(*member), &secret(*member)));
    let mut all = parts.next().unwrap();
    for part in parts {
        all.approvals.push(part.approvals[0]).unwrap();
    }
    all
}

fn checked(record: &Record, ledger: &Ledger) -> Result<Option<Decision>, RecordRefusal> {
    check([record.encode().as_slice()], &domain(), ledger)
}

fn paused() -> Ledger {
    let mut ledger = ledger_with(&[BTC], &[BTC / 2]);
    block(&mut ledger, &[Fact::Decided(PAUSE)]);
    ledger
}

#[test]
fn a_decision_is_what_enough_members_have_signed() {
    let ledger = ledger();
    assert_eq!(checked(&signed(PAUSE, &[0, 2]), &ledger), Ok(Some(PAUSE)));
    assert_eq!(checked(&signed(PAUSE, &[0, 1, 2]), &ledger), Ok(Some(PAUSE)));
    assert_eq!(check([], &domain(), &ledger), Ok(None));
}

#[test]
fn each_breach_of_a_record_has_its_reason() {
    type Breach = (RecordRefusal, fn(&mut Record));
    let breaches: [Breach; 9] = [
        (RecordRefusal::TooFew { signed: 1, needed: 2 }, |r| *r = signed(PAUSE, &[1])),
        (RecordRefusal::Order, |r| *r = signed(PAUSE, &[1, 0])),
        (RecordRefusal::Order, |r| *r = signed(PAUSE, &[1, 1])),
        (RecordRefusal::NoMember(3), |r| *r = signed(PAUSE, &[0, 3])),
        (RecordRefusal::Signature(2), |r| r.approvals[1].signature[9] ^= 1),
        (RecordRefusal::Signature(1), |r| r.approvals[1].member = 1),
        (RecordRefusal::UnknownAction(9), |r| r.action = 9),
        (RecordRefusal::Number { expected: 1, found: 2 }, |r| *r = signed(Decision { number: 2, ..PAUSE }, &[0, 1])),
        (RecordRefusal::NoChange, |r| *r = signed(Decision { action: Action::ResumePeg, ..PAUSE }, &[0, 1])),
    ];
    for (expected, breach) in breaches {
        let mut record = signed(PAUSE, &[0, 2]);
        breach(&mut record);
        assert_eq!(checked(&record, &ledger()), Err(expected));
    }
    let good = signed(PAUSE, &[0, 2]).encode();
    assert_eq!(check([good.as_slice(), &good], &domain(), &ledger()), Err(RecordRefusal::Several));
    assert_eq!(check([&good[1..]], &domain(), &ledger()), Err(RecordRefusal::Malformed));
    assert_eq!(check([vec![0; MAX_RECORD_BYTES + 1].as_slice()], &domain(), &ledger()), Err(RecordRefusal::Malformed));
    let elsewhere = ChainDomain::new(B256::repeat_byte(7));
    assert_eq!(check([good.as_slice()], &elsewhere, &ledger()), Err(RecordRefusal::Signature(0)), "of another chain");
    assert_eq!(checked(&signed(PAUSE, &[0, 2]), &paused()), Err(RecordRefusal::Number { expected: 2, found: 1 }), "twice");
}

#[test]
fn peg_18_while_the_peg_is_paused_nothing_is_minted_given_back_or_paid() {
    let ledger = paused();
    let since = height(3);
    assert_eq!(ledger.paused(), Some(since));
    let before = ledger_with(&[BTC], &[BTC / 2]);
    let recorded = payout::plan(&before, RATE).unwrap().recorded();
    let refunded = Refunded { burn: BurnRef { height: 2, log_index: 0 }, reason: RefundReason::NotText };
    for fact in [deposit(5, BTC), Fact::PayoutRecorded(recorded), Fact::Refunded(refunded)] {
        let mut tried = ledger.clone();
        let refused = tried.apply(ledger.height().next(), &[fact]).unwrap_err();
        assert_eq!((refused.invariant(), refused), (PegInvariant::P18, Violation::Paused { since }));
        assert_eq!(tried, ledger, "a refused block leaves no trace");
    }
    assert_eq!(payout::plan(&ledger, RATE), Err(NoPayout::Paused));
    assert_eq!(refund::due(&ledger, Some(RATE)), []);
    assert_eq!(refund::check(&refunded, &ledger), Err(RefundRefusal::Paused));
}

#[test]
fn what_is_burned_or_on_bitcoin_is_recorded_in_a_pause_and_the_peg_goes_on_where_it_was() {
    let mut ledger = ledger_with(&[BTC], &[BTC / 4]);
    let plan = pay(&mut ledger, RATE);
    block(&mut ledger, &[Fact::Decided(PAUSE)]);
    block(&mut ledger, &[settled(plan.transaction.compute_txid()), Fact::Burned(burn(5, 0, BTC / 4))]);
    assert_eq!((ledger.payouts_in_flight().count(), ledger.pending_burns().count()), (0, 1));
    // A block that ends the pause is still in it: what it states was judged before.
    let refused = ledger.clone().apply(ledger.height().next(), &[deposit(5, BTC), Fact::Decided(RESUME)]).unwrap_err();
    assert_eq!(refused.invariant(), PegInvariant::P18);
    block(&mut ledger, &[Fact::Decided(RESUME)]);
    assert_eq!((ledger.paused(), ledger.decisions()), (None, 2));
    block(&mut ledger, &[deposit(5, BTC)]);
    pay(&mut ledger, RATE);
}

#[test]
fn a_decision_in_a_refused_block_leaves_no_trace() {
    let mut ledger = ledger_with(&[BTC], &[]);
    let before = ledger.clone();
    assert!(ledger.apply(ledger.height().next(), &[Fact::Decided(PAUSE), deposit(0, BTC)]).is_err(), "minted twice");
    assert_eq!(ledger, before);
    assert_eq!(ledger.would_apply(ledger.height().next(), &[Fact::Decided(PAUSE), deposit(5, BTC)]), Ok(()));
    assert_eq!(ledger, before);
    for decision in [RESUME, Decision { action: Action::ResumePeg, ..PAUSE }, Decision { number: 0, ..PAUSE }] {
        let refused = ledger.apply(ledger.height().next(), &[Fact::Decided(decision)]).unwrap_err();
        assert_eq!((refused.invariant(), &ledger), (PegInvariant::P18, &before), "{decision:?}");
    }
}

#[test]
fn a_ballot_puts_signatures_together_until_there_are_enough() {
    let (mut ballot, mut ledger) = (Ballot::default(), ledger());
    let add = |ballot: &mut Ballot, decision, member, ledger: &Ledger| {
        ballot.add(&signed(decision, &[member]).encode(), &domain(), ledger)
    };
    let other = Decision { action: Action::ResumePeg, ..PAUSE };
    assert_eq!(add(&mut ballot, other, 0, &ledger), Err(RecordRefusal::NoChange));
    for _repeated in 0..3 {
        assert_eq!(add(&mut ballot, PAUSE, 2, &ledger), Ok(()));
    }
    assert_eq!(ballot.record(&ledger), None, "one member, however often");
    let mut forged = signed(PAUSE, &[0]);
    forged.approvals[0].member = 1;
    assert_eq!(ballot.add(&forged.encode(), &domain(), &ledger), Err(RecordRefusal::Signature(1)));
    assert_eq!(add(&mut ballot, PAUSE, 0, &ledger), Ok(()));
    let record = ballot.record(&ledger).unwrap();
    assert_eq!(checked(&record, &ledger), Ok(Some(PAUSE)));

    block(&mut ledger, &[Fact::Decided(PAUSE)]);
    ballot.prune(&ledger);
    assert!(ballot.is_empty() && ballot.record(&ledger).is_none());
    assert_eq!(add(&mut ballot, PAUSE, 1, &ledger), Err(RecordRefusal::Number { expected: 2, found: 1 }));
    assert_eq!(add(&mut ballot, RESUME, 1, &ledger), Ok(()));
    assert_eq!(ballot.len(), 1);
}

proptest! {
    #[test]
    fn foreign_bytes_decide_nothing(bytes: Vec<u8>, position in 0..140usize, change in 1u8..) {
        prop_assert!(check([bytes.as_slice()], &domain(), &ledger()).is_err());
        let mut damaged = signed(PAUSE, &[0, 2]).encode();
        let length = damaged.len();
        damaged[position % length] ^= change;
        prop_assert!(check([damaged.as_slice()], &domain(), &ledger()).is_err());
        let _refused_or_not = Ballot::default().add(&damaged, &domain(), &ledger());
    }
}
