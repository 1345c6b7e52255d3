use alys_proto::storage::{self, ledger_fact};
use alys_proto::{Message as _, common};
use proptest::prelude::*;

use super::support::*;
use crate::{Action, Burn, Decision, Fact, PayoutRecorded, RefundReason, Refunded, WireError, payout};

fn facts() -> Vec<Fact> {
    let ledger = ledger_with(&[BTC], &[BTC / 2]);
    let recorded = payout::plan(&ledger, RATE).unwrap().recorded();
    let refunded = Refunded { burn: burn(3, 4, 1).id, reason: RefundReason::EatenByFee(RATE) };
    let txid = recorded.txid();
    let burned = Fact::Burned(burn(3, 4, 5));
    let work = super::work::work(3, 8);
    let decided = Fact::Decided(Decision { number: 4, action: Action::ResumePeg });
    vec![deposit(1, BTC), burned, Fact::PayoutRecorded(recorded), settled(txid), Fact::Refunded(refunded), work, decided]
}

#[test]
fn facts_go_through_messages_unchanged() {
    for fact in facts() {
        let bytes = fact.at(height(9)).encode_to_vec();
        let message = storage::LedgerFact::decode(bytes.as_slice()).unwrap();
        assert_eq!(message.height, 9);
        assert_eq!(Fact::try_from(&message), Ok(fact));
    }
}

#[test]
fn claims_go_through_blocks_unchanged() {
    for fact in facts() {
        match fact {
            Fact::PayoutRecorded(recorded) => {
                let claim = alys_blocks::Payout::try_from(&recorded).unwrap();
                assert_eq!(PayoutRecorded::try_from(&claim), Ok(recorded));
            }
            Fact::Refunded(refunded) => {
                assert_eq!(Refunded::try_from(&alys_blocks::Refund::from(&refunded)), Ok(refunded));
            }
            _ => {}
        }
    }
}

#[test]
fn a_fact_with_missing_or_malformed_parts_is_refused() {
    assert_eq!(Fact::try_from(&storage::LedgerFact::default()), Err(WireError::Missing("fact")));
    let wrap = |fact| Fact::try_from(&storage::LedgerFact { height: 1, fact: Some(fact) });
    assert_eq!(wrap(ledger_fact::Fact::Minted(storage::Minted::default())), Err(WireError::Missing("outpoint")));
    assert_eq!(wrap(ledger_fact::Fact::PayoutSettled(storage::PayoutSettled::default())), Err(WireError::Malformed("txid")));
    assert_eq!(wrap(ledger_fact::Fact::Refunded(storage::Refunded::default())), Err(WireError::Missing("burn")));
    assert_eq!(wrap(ledger_fact::Fact::Decided(storage::Decided { number: 1, action: 3 })), Err(WireError::Malformed("action")));
    let mut recorded = storage::PayoutRecorded::from(&match &facts()[2] {
        Fact::PayoutRecorded(recorded) => recorded.clone(),
        _ => panic!("the third is a payout"),
    });
    recorded.txid[0] ^= 1;
    assert_eq!(wrap(ledger_fact::Fact::PayoutRecorded(recorded)), Err(WireError::OtherTransaction));
}

#[test]
fn amounts_above_128_bits_are_refused() {
    let mut message = common::Burn::from(&burn(1, 0, BTC));
    assert_eq!(message.amount_wei.len(), 32);
    assert_eq!(Burn::try_from(&message), Ok(burn(1, 0, BTC)));
    message.amount_wei[15] = 1;
    assert_eq!(Burn::try_from(&message), Err(WireError::TooLarge("amount_wei")));
    message.amount_wei.pop();
    assert_eq!(Burn::try_from(&message), Err(WireError::Malformed("amount_wei")));
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = storage::LedgerFact::decode(bytes.as_slice()) {
            let _maybe_refused = Fact::try_from(&message);
        }
        if let Ok(transaction) = crate::proof::decode_transaction(&bytes) {
            prop_assert_eq!(bitcoin::consensus::serialize(&transaction), bytes);
        }
    }

    #[test]
    fn a_damaged_fact_is_another_fact_or_none(which in 0usize..6, position: usize, value: u8) {
        let mut bytes = facts()[which].at(height(9)).encode_to_vec();
        let length = bytes.len();
        bytes[position % length] = value;
        if let Ok(message) = storage::LedgerFact::decode(bytes.as_slice()) {
            let _maybe_refused = Fact::try_from(&message);
        }
    }
}
