//! Deposits.

use alloy_primitives::Address;
use alys_peg::{PegInProof, ProofRefusal};
use alys_proto::Sats;
use bitcoin::{Amount, OutPoint};

use crate::core::deposit::{DepositEvidence, check};
use crate::core::refusal::Refusal;
use crate::core::support::{BTC, CONFIRMATIONS, Statement, World, deposit_transaction};

/// What an honest bitcoind says.
fn evidence(world: &World, proof: &PegInProof) -> DepositEvidence {
    let block = &world.bitcoin.blocks[proof.bitcoin_height as usize];
    DepositEvidence {
        height: proof.bitcoin_height,
        confirmations: world.bitcoin.tip() - proof.bitcoin_height + 1,
        transactions: block.transactions.len() as u32,
        transaction: block.transactions.iter().find(|tx| tx.compute_txid() == proof.outpoint.txid).cloned(),
    }
}

#[test]
fn a_good_deposit_is_approved_and_each_broken_rule_has_its_own_refusal() {
    type Breaks = fn(&mut World, &mut PegInProof, &mut Option<DepositEvidence>);
    let table: [(&str, Breaks, Option<Refusal>); 12] = [
        ("good", |_, _, _| {}, None),
        (
            "minted",
            |world, proof, _| {
                world.commit(&Statement { peg_ins: vec![proof.clone()], ..Statement::default() });
            },
            Some(Refusal::AlreadyMinted),
        ),
        ("block unknown", |_, _, e| *e = None, Some(Refusal::DepositBlockUnknown)),
        ("block not in the best chain", |_, _, e| e.as_mut().unwrap().confirmations = 0, Some(Refusal::DepositBlockUnknown)),
        (
            "lagging bitcoind",
            |_, _, e| e.as_mut().unwrap().confirmations = CONFIRMATIONS - 1,
            Some(Refusal::DepositNotDeep { confirmations: CONFIRMATIONS - 1, needed: CONFIRMATIONS }),
        ),
        ("other height", |_, proof, _| proof.bitcoin_height -= 1, Some(Refusal::OtherHeight { found: 10, claimed: 9 })),
        ("other amount", |_, proof, _| proof.value = Sats(BTC + 1), Some(Refusal::Proof(ProofRefusal::OtherValue))),
        (
            "other recipient",
            |_, proof, _| proof.recipient = Address::repeat_byte(99),
            Some(Refusal::Proof(ProofRefusal::OtherRecipient)),
        ),
        ("other output", |_, proof, _| proof.outpoint.vout = 1, Some(Refusal::Proof(ProofRefusal::NotOurs))),
        (
            "other block size",
            |_, _, e| e.as_mut().unwrap().transactions = 3,
            Some(Refusal::OtherBlockSize { found: 3, claimed: 2 }),
        ),
        ("not in own block", |_, _, e| e.as_mut().unwrap().transaction = None, Some(Refusal::OtherDeposit)),
        (
            "own transaction pays less",
            |_, _, e| e.as_mut().unwrap().transaction.as_mut().unwrap().output[0].value = Amount::from_sat(20_000),
            Some(Refusal::OtherDeposit),
        ),
    ];
    for (what, breaks, expected) in table {
        let mut world = World::new();
        let mut proof = world.deposit(BTC, 21);
        let mut found = Some(evidence(&world, &proof));
        breaks(&mut world, &mut proof, &mut found);
        assert_eq!(check(&world.ledger, &proof, found.as_ref()).err(), expected, "{what}");
    }
}

#[test]
fn a_merkle_tree_of_another_transaction_proves_nothing() {
    let mut world = World::new();
    let proof = world.deposit(BTC, 21);
    let mut other = world.deposit(BTC, 22);
    other.merkle = proof.merkle.clone();
    other.bitcoin_height = proof.bitcoin_height;
    let refused = check(&world.ledger, &other, Some(&evidence(&world, &proof)));
    assert_eq!(refused, Err(Refusal::Proof(ProofRefusal::OtherMatch)));
}

#[test]
fn what_only_lags_may_be_asked_again_and_what_is_wrong_may_not() {
    assert!(Refusal::DepositBlockUnknown.retry() && Refusal::DepositNotDeep { confirmations: 1, needed: 6 }.retry());
    assert!(Refusal::BitcoinAway(String::new()).retry() && Refusal::BitcoinSyncing.retry());
    assert!(Refusal::ChainBehind { head: 1, needed: 2 }.retry() && Refusal::InputNotUnspent(OutPoint::null()).retry());
    assert!(!Refusal::AlreadyMinted.retry() && !Refusal::OtherDeposit.retry() && !Refusal::PayoutUnknown.retry());
}

#[test]
fn two_outputs_to_us_in_one_transaction_are_two_deposits() {
    let mut world = World::new();
    let mut transaction = deposit_transaction(&world.federation, BTC, Address::repeat_byte(5), 5);
    let second = transaction.output[0].clone();
    transaction.output.push(second);
    let height = world.bitcoin.mine(vec![transaction.clone()]);
    world.bitcoin.mine_empty(CONFIRMATIONS);
    let first = world.proof(&transaction, height);
    let mut other = first.clone();
    other.outpoint.vout = 2;
    let found = evidence(&world, &first);
    assert_eq!(check(&world.ledger, &first, Some(&found)), Ok(()));
    assert_eq!(check(&world.ledger, &other, Some(&found)), Ok(()));
}
