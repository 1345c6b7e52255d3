use alys_proto::bridge;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Network, Transaction, Txid};
use miniscript::psbt::PsbtExt as _;
use proptest::prelude::*;

use super::support::*;
use crate::{Federation, InputSignature, Ledger, Session, SignatureRefusal, SigningError, payout};

/// A recorded payout with several inputs and a change.
fn session() -> Session {
    let mut ledger = ledger_with(&[BTC, BTC, BTC], &[BTC, BTC / 2, BTC / 3]);
    let txid = pay(&mut ledger, RATE).transaction.compute_txid();
    Session::of(&ledger, &txid).unwrap()
}

fn sign_with(session: &mut Session, members: &[u8]) {
    for member in members {
        for signature in session.sign(&secret(*member)).unwrap() {
            session.add(&signature).unwrap();
        }
    }
}

/// Miniscript's own finaliser, which runs its script interpreter over the result.
fn finished_by_miniscript(session: &Session) -> Transaction {
    let secp = Secp256k1::new();
    session.psbt().unwrap().finalize(&secp).unwrap().extract(&secp).unwrap()
}

#[test]
fn any_two_of_three_sign_and_miniscript_finds_the_same_transaction() {
    for members in [[0, 1], [0, 2], [1, 2], [2, 1]] {
        let mut session = session();
        assert!(session.transaction().input.len() > 1);
        sign_with(&mut session, &members);
        assert!(session.is_complete());
        let signed = session.finish().unwrap();
        assert_eq!(signed, finished_by_miniscript(&session));
        assert_eq!(signed.compute_txid(), session.transaction().compute_txid());
    }
}

#[test]
fn the_weight_of_a_real_spend_is_the_planned_one() {
    for (threshold, members) in [(1, 1), (2, 3), (3, 3), (3, 5), (11, 15), (20, 20)] {
        let federation = Federation::new(threshold, (0..members).map(key).collect(), Network::Regtest).unwrap();
        let mut ledger = Ledger::new(federation.clone(), rules());
        block(&mut ledger, &[deposit(0, BTC), deposit(1, BTC), deposit(2, BTC)]);
        block(&mut ledger, &[crate::Fact::Burned(burn(2, 0, 3 * BTC / 2)), crate::Fact::Burned(burn(2, 1, BTC / 4))]);
        let plan = pay(&mut ledger, RATE);
        let mut session = Session::of(&ledger, &plan.transaction.compute_txid()).unwrap();
        sign_with(&mut session, &(0..u8::try_from(threshold).unwrap()).collect::<Vec<_>>());
        let signed = finished_by_miniscript(&session);
        assert_eq!(signed, session.finish().unwrap());
        assert_eq!(signed.weight(), payout::signed_weight(&plan.transaction, &federation));
        assert_eq!(signed.vsize() as u64 * RATE.0 / 1_000, plan.fee.0, "{threshold} of {members}");
    }
}

#[test]
fn more_signatures_than_needed_do_not_make_it_heavier() {
    let mut session = session();
    sign_with(&mut session, &[0, 1, 2]);
    let signed = session.finish().unwrap();
    assert_eq!(signed.weight(), payout::signed_weight(session.transaction(), &federation()));
    assert_eq!(signed.input[0].witness.iter().filter(|element| element.len() == 64).count(), 2);
}

#[test]
fn signing_again_gives_the_same_signatures() {
    let session = session();
    assert_eq!(session.sign(&secret(0)).unwrap(), session.sign(&secret(0)).unwrap());
}

#[test]
fn signatures_of_non_members_do_not_count() {
    let mut session = session();
    assert!(matches!(session.sign(&secret(9)), Err(SigningError::NotAMember(_))));
    let stranger = Federation::new(1, vec![key(9)], Network::Regtest).unwrap();
    let theirs = Session::new(session.transaction().clone(), prevouts(&session), stranger).unwrap();
    for signature in theirs.sign(&secret(9)).unwrap() {
        assert_eq!(session.add(&signature), Err(SignatureRefusal::NotAMember));
        let lent = InputSignature { public_key: key(0), ..signature };
        assert_eq!(session.add(&lent), Err(SignatureRefusal::Invalid(signature.input)));
    }
    assert!(session.signatures().is_empty());
}

fn prevouts(session: &Session) -> Vec<bitcoin::TxOut> {
    session.psbt().unwrap().inputs.into_iter().map(|input| input.witness_utxo.unwrap()).collect()
}

#[test]
fn a_signature_counts_for_its_own_input_and_transaction_only() {
    let mut session = session();
    let signatures = session.sign(&secret(0)).unwrap();
    let moved = InputSignature { input: 1, ..signatures[0] };
    assert_eq!(session.add(&moved), Err(SignatureRefusal::Invalid(1)));
    let beyond = InputSignature { input: 99, ..signatures[0] };
    assert_eq!(session.add(&beyond), Err(SignatureRefusal::NoSuchInput(99)));
    let mut ledger = ledger_with(&[BTC, BTC, BTC], &[BTC, BTC / 2, BTC / 4]);
    let txid = pay(&mut ledger, RATE).transaction.compute_txid();
    let mut other = Session::of(&ledger, &txid).unwrap();
    assert_eq!(other.add(&signatures[0]), Err(SignatureRefusal::Invalid(0)));
}

#[test]
fn the_same_member_twice_is_one_signature() {
    let mut session = session();
    sign_with(&mut session, &[0]);
    sign_with(&mut session, &[0]);
    assert!(!session.is_complete());
    assert!(session.has_signed(&key(0)) && !session.has_signed(&key(1)) && !session.has_signed(&key(9)));
    assert!(matches!(session.finish(), Err(SigningError::Incomplete { input: 0, signatures: 1, threshold: 2 })));
}

#[test]
fn one_input_short_is_not_complete() {
    let mut session = session();
    sign_with(&mut session, &[0]);
    let of_second = session.sign(&secret(1)).unwrap();
    for signature in of_second.iter().skip(1) {
        session.add(signature).unwrap();
    }
    assert!(!session.is_complete());
    assert!(matches!(session.finish(), Err(SigningError::Incomplete { input: 0, .. })));
    session.add(&of_second[0]).unwrap();
    assert!(session.is_complete());
}

#[test]
fn partial_signatures_survive_a_restart_through_messages() {
    let mut first = session();
    sign_with(&mut first, &[2]);
    let stored: Vec<bridge::InputSignature> = first.signatures().iter().map(Into::into).collect();
    let mut second = session();
    for message in &stored {
        second.add(&InputSignature::try_from(message).unwrap()).unwrap();
    }
    sign_with(&mut second, &[0]);
    sign_with(&mut first, &[0]);
    assert_eq!(first.finish().unwrap(), second.finish().unwrap());
}

#[test]
fn signing_before_settlement_of_the_burn_has_nothing_to_sign() {
    let ledger = ledger_with(&[BTC], &[BTC / 2]);
    let planned = payout::plan(&ledger, RATE).unwrap().transaction.compute_txid();
    assert!(matches!(Session::of(&ledger, &planned), Err(SigningError::NotRecorded(txid)) if txid == planned));
}

#[test]
fn prevouts_must_fit() {
    let session = session();
    let short = Session::new(session.transaction().clone(), vec![], federation());
    assert!(matches!(short, Err(SigningError::Prevouts { prevouts: 0, .. })));
}

#[test]
fn a_psbt_tells_a_wallet_everything() {
    let psbt = session().psbt().unwrap();
    for input in &psbt.inputs {
        assert!(input.witness_utxo.is_some());
        assert_eq!(input.tap_internal_key.unwrap().to_string(), crate::federation::NUMS);
        assert_eq!(input.tap_scripts.len(), 1);
        assert!((0..3).all(|member| input.tap_key_origins.contains_key(&key(member))));
    }
    let change = psbt.outputs.last().unwrap();
    assert!(change.tap_internal_key.is_some());
    assert!(psbt.outputs[0].tap_internal_key.is_none());
}

#[test]
fn a_wallet_that_knows_only_the_psbt_can_sign_it() {
    let secp = Secp256k1::new();
    let mut psbt = session().psbt().unwrap();
    let keys: std::collections::BTreeMap<_, _> = (0..2)
        .map(|n| (bitcoin::PublicKey::new(secret(n).public_key(&secp)), bitcoin::PrivateKey::new(secret(n), Network::Regtest)))
        .collect();
    psbt.sign(&keys, &secp).unwrap();
    let mut session = session();
    for (input, of_input) in (0..).zip(&psbt.inputs) {
        for ((public_key, _), signature) in &of_input.tap_script_sigs {
            session.add(&InputSignature { input, public_key: *public_key, signature: signature.signature }).unwrap();
        }
    }
    assert!(session.is_complete());
}

proptest! {
    #[test]
    fn foreign_signatures_never_panic_and_never_count(input: u32, key_bytes in proptest::collection::vec(any::<u8>(), 30..34), signature in proptest::collection::vec(any::<u8>(), 62..66)) {
        let mut session = session();
        let message = bridge::InputSignature { input, public_key: key_bytes, signature: signature.clone() };
        if let Ok(signature) = InputSignature::try_from(&message) {
            prop_assert!(session.add(&signature).is_err());
        }
        let members = bridge::InputSignature { input: input % 4, public_key: key(0).serialize().to_vec(), signature };
        if let Ok(signature) = InputSignature::try_from(&members) {
            prop_assert!(session.add(&signature).is_err());
        }
    }
}

#[test]
fn an_unknown_payout_has_no_session() {
    use bitcoin::hashes::Hash as _;
    assert!(Session::of(&ledger(), &Txid::all_zeros()).is_err());
}
