use alys_blocks::{Body, Certificate};
use alys_proto::{Sats, common};
use bitcoin::OutPoint;
use ssz_types::VariableList;

use super::deposit::{op_return, to_us, transaction};
use super::proof::{BLOCK_HEIGHT, DEEP, block_of, good, root};
use super::support::*;
use crate::block::{BlockRefusal, facts, judge};
use crate::proof::ProofRefusal;
use crate::{BurnRef, Fact, InclusionProof, Ledger, PayoutRefusal, PegInvariant, Refunded, payout, refund};

fn empty() -> Body {
    Body::empty(Certificate::default(), VariableList::default())
}

/// One pending burn of each kind, and a payout in flight.
fn parent() -> (Ledger, bitcoin::Transaction) {
    let mut ledger = ledger_with(&[BTC, BTC], &[BTC / 4]);
    let paid = pay(&mut ledger, RATE).transaction;
    block(&mut ledger, &[Fact::Burned(burn(4, 0, BTC / 2)), Fact::Burned(burn_to(4, 1, BTC / 8, "nonsense"))]);
    (ledger, paid)
}

/// A block that mints, refunds, pays and settles.
fn full(parent: &Ledger, paid: &bitcoin::Transaction) -> Body {
    let mut body = empty();
    let txids = block_of(paid, 2);
    let settlement = InclusionProof::new(paid.compute_txid(), &header(root(&txids)), &txids, BLOCK_HEIGHT).unwrap();
    body.peg_ins = VariableList::new(vec![(&good()).try_into().unwrap()]).unwrap();
    body.payouts = VariableList::new(vec![(&payout::plan(parent, RATE).unwrap().recorded()).try_into().unwrap()]).unwrap();
    body.refunds = VariableList::new(refund::due(parent, Some(RATE)).iter().map(Into::into).collect()).unwrap();
    body.settlements = VariableList::new(vec![(&settlement).try_into().unwrap()]).unwrap();
    body
}

fn refused(body: &Body, height: u32) -> BlockRefusal {
    let (mut parent, _) = parent();
    let before = parent.clone();
    let refusal = judge(body, &view(height), &domain(), &mut parent).unwrap_err();
    assert_eq!(parent, before);
    refusal
}

#[test]
fn a_right_block_is_judged_and_applied() {
    let (mut ledger, paid) = parent();
    let body = full(&ledger, &paid);
    let before = ledger.clone();
    let judged = judge(&body, &view(DEEP), &domain(), &mut ledger).unwrap();
    assert_eq!(ledger, before);
    assert_eq!((judged.facts.len(), judged.deposits.len(), judged.settlements.len()), (4, 1, 1));
    assert_eq!(judged.deposits[0].deposit.value, Sats(BTC));
    let indices: Vec<u64> = judged.withdrawals.iter().map(|withdrawal| withdrawal.index).collect();
    assert_eq!(indices, [2, 3]);

    let burned = burn(5, 0, BTC / 8);
    let all = facts(&body, &[common::Burn::from(&burned)]).unwrap();
    assert_eq!(all[..4], judged.facts[..]);
    block(&mut ledger, &all);
    assert_eq!(ledger.pending_burns().collect::<Vec<_>>(), [&burned]);
    assert_eq!(judge(&empty(), &view(DEEP), &domain(), &mut ledger).unwrap().withdrawals, []);
}

#[test]
fn each_part_of_a_block_can_spoil_it() {
    let (ledger, paid) = parent();
    let body = full(&ledger, &paid);

    let mut twice = body.clone();
    twice.peg_ins.push(twice.peg_ins[0].clone()).unwrap();
    assert!(matches!(refused(&twice, DEEP), BlockRefusal::Ledger(broken) if broken.invariant() == PegInvariant::P2));

    let mut richer = body.clone();
    richer.peg_ins[0].value += 1;
    assert!(matches!(refused(&richer, DEEP), BlockRefusal::Deposit(_, ProofRefusal::OtherValue)));

    let mut shallow = body.clone();
    shallow.settlements = VariableList::default();
    assert!(matches!(refused(&shallow, DEEP - 1), BlockRefusal::Deposit(_, ProofRefusal::NotDeep { .. })));
    let mut shallow = body.clone();
    shallow.peg_ins = VariableList::default();
    assert!(matches!(refused(&shallow, DEEP - 1), BlockRefusal::Settlement(_, ProofRefusal::NotDeep { .. })));
    shallow.settlements[0].bitcoin_hash.0[0] ^= 1;
    assert!(matches!(refused(&shallow, DEEP), BlockRefusal::Settlement(_, ProofRefusal::OtherBlock)));

    let mut dearer = body.clone();
    dearer.payouts[0].fee_rate += 1_000;
    assert!(matches!(refused(&dearer, DEEP), BlockRefusal::Ledger(_)));
    let mut other_coin = body.clone();
    let mut recorded = payout::plan(&ledger, RATE).unwrap().recorded();
    recorded.burns.clear();
    other_coin.payouts[0] = (&recorded).try_into().unwrap();
    assert!(matches!(refused(&other_coin, DEEP), BlockRefusal::Ledger(_)));

    let mut false_reason = body.clone();
    let wrong = Refunded { burn: BurnRef { height: 4, log_index: 1 }, reason: crate::RefundReason::BelowDust };
    false_reason.refunds[0] = (&wrong).into();
    assert!(matches!(refused(&false_reason, DEEP), BlockRefusal::Refund(_)));
    let mut unknown_reason = body;
    unknown_reason.refunds[0].reason = VariableList::new(b"because".to_vec()).unwrap();
    assert!(matches!(refused(&unknown_reason, DEEP), BlockRefusal::Wire(_)));
}

/// A payout that keeps every rule of the ledger and still is not the one that follows from it: newer coin, same value.
#[test]
fn a_payout_that_only_the_plan_can_tell_is_refused() {
    let mut ledger = ledger_with(&[BTC, BTC], &[BTC / 4]);
    let mut recorded = payout::plan(&ledger, RATE).unwrap().recorded();
    recorded.transaction.input[0].previous_output = outpoint(1);
    let mut body = empty();
    body.payouts = VariableList::new(vec![(&recorded).try_into().unwrap()]).unwrap();
    assert_eq!(ledger.would_apply(ledger.height().next(), &facts(&body, &[]).unwrap()), Ok(()));
    assert_eq!(judge(&body, &view(DEEP), &domain(), &mut ledger), Err(BlockRefusal::Payout(PayoutRefusal::OtherTransaction)));
}

#[test]
fn two_outputs_in_one_deposit_are_two_claims_of_one_block() {
    let ours = transaction(vec![to_us(BTC), op_return(&[7; 20]), to_us(2 * BTC)]);
    let txids = block_of(&ours, 3);
    let header = header(root(&txids));
    let claims = crate::deposit::find(&ours, &federation(), &rules()).into_iter().map(|found| {
        let proof = crate::PegInProof::new(&found.unwrap(), &ours, &header, &txids, BLOCK_HEIGHT).unwrap();
        alys_blocks::PegIn::try_from(&proof).unwrap()
    });
    let mut body = empty();
    body.peg_ins = VariableList::new(claims.collect()).unwrap();
    let mut ledger = ledger();
    let judged = judge(&body, &view(DEEP), &domain(), &mut ledger).unwrap();
    block(&mut ledger, &judged.facts);
    assert_eq!(ledger.supply(), wei(3 * BTC));
    assert!(ledger.is_minted(&OutPoint { txid: ours.compute_txid(), vout: 2 }));
}
