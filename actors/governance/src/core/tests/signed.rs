//! Sign once.

use alys_blocks::BurnRef;
use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Txid};
use proptest::prelude::*;

use crate::core::refusal::Refusal;
use crate::core::signed::{SignedBook, SignedPayout};

fn input(n: u8) -> OutPoint {
    OutPoint { txid: Txid::from_byte_array([n; 32]), vout: 0 }
}

fn payout(inputs: &[u8], burns: &[u32]) -> SignedPayout {
    SignedPayout {
        inputs: inputs.iter().map(|n| input(*n)).collect(),
        burns: burns.iter().map(|log_index| BurnRef { height: 1, log_index: *log_index }).collect(),
    }
}

fn txid(n: u8) -> Txid {
    Txid::from_byte_array([n; 32])
}

#[test]
fn a_burn_is_only_signed_again_in_a_transaction_that_excludes_the_first() {
    let mut book = SignedBook::default();
    book.note(txid(100), payout(&[1, 2], &[1, 2]));
    let table = [
        ("same burn, common input (fee bump)", payout(&[2, 3], &[1]), true),
        ("same burn, other inputs (double payout)", payout(&[3], &[1]), false),
        ("other burn, other inputs", payout(&[3], &[3]), true),
        ("other burn, an input that is spent", payout(&[1], &[3]), false),
    ];
    for (what, next, allowed) in table {
        assert_eq!(book.check(&next).is_ok(), allowed, "{what}");
    }
    assert_eq!(book.check(&payout(&[3], &[1])), Err(Refusal::BurnSignedElsewhere { height: 1, log_index: 1, signed: txid(100) }));
    assert_eq!(book.check(&payout(&[1], &[3])), Err(Refusal::InputSignedElsewhere { outpoint: input(1), signed: txid(100) }));
}

proptest! {
    #[test]
    fn whatever_is_asked_two_signed_transactions_for_a_burn_share_an_input(
        asked in proptest::collection::vec((proptest::collection::vec(0..6_u8, 1..4), proptest::collection::vec(0..4_u32, 1..3)), 1..40)
    ) {
        let mut book = SignedBook::default();
        let mut signed: Vec<SignedPayout> = Vec::new();
        for (number, (inputs, burns)) in (0..).zip(asked) {
            let next = payout(&inputs, &burns);
            if book.check(&next).is_ok() {
                for earlier in &signed {
                    prop_assert!(earlier.burns.is_disjoint(&next.burns) || !earlier.inputs.is_disjoint(&next.inputs));
                }
                book.note(txid(number), next.clone());
                signed.push(next);
            }
        }
    }
}
