use alloy_primitives::{Address, address};
use alys_proto::Sats;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid};
use proptest::prelude::*;

use super::support::*;
use crate::deposit::{find, parse_recipient};
use crate::{InvalidReason, PegRules};

const ALICE: Address = address!("0x00112233445566778899aabbccddeeff00112233");

pub(in crate::tests) fn op_return(data: &[u8]) -> TxOut {
    let push = PushBytesBuf::try_from(data.to_vec()).unwrap();
    TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return(push) }
}

pub(in crate::tests) fn to_us(sats: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sats), script_pubkey: federation().script_pubkey().to_owned() }
}

pub(in crate::tests) fn transaction(output: Vec<TxOut>) -> Transaction {
    let previous_output = OutPoint { txid: Txid::hash(b"somewhere"), vout: 1 };
    let input = vec![TxIn { previous_output, ..TxIn::default() }];
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}

fn reasons(output: Vec<TxOut>) -> Vec<Result<Address, InvalidReason>> {
    find(&transaction(output), &federation(), &rules())
        .into_iter()
        .map(|found| found.map(|deposit| deposit.recipient).map_err(|invalid| invalid.reason))
        .collect()
}

#[test]
fn a_deposit_names_its_recipient_in_any_of_the_forms() {
    let forms: [&[u8]; 5] = [
        ALICE.as_slice(),
        b"00112233445566778899aabbccddeeff00112233",
        b"00112233445566778899AABBCCDDEEFF00112233",
        b"0x00112233445566778899aabbccddeeff00112233",
        b"0x00112233445566778899AaBbCcDdEeFf00112233",
    ];
    for form in forms {
        assert_eq!(reasons(vec![op_return(form), to_us(BTC)]), [Ok(ALICE)]);
    }
}

#[test]
fn recipient_bytes_that_happen_to_be_utf8_are_still_raw() {
    for text in [b"hello, bitcoin world", b"00112233445566778899", b"0x001122334455667788"] {
        assert_eq!(reasons(vec![to_us(BTC), op_return(text)]), [Ok(Address::from(*text))]);
    }
}

#[test]
fn two_outputs_in_one_deposit_are_two_deposits() {
    let transaction = transaction(vec![to_us(BTC), op_return(ALICE.as_slice()), to_us(2 * BTC), to_us(1)]);
    let txid = transaction.compute_txid();
    let found = find(&transaction, &federation(), &rules());
    let [Ok(first), Ok(second), Err(third)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((first.outpoint, first.value), (OutPoint { txid, vout: 0 }, Sats(BTC)));
    assert_eq!((second.outpoint, second.value), (OutPoint { txid, vout: 2 }, Sats(2 * BTC)));
    assert_eq!((third.outpoint.vout, third.reason), (3, InvalidReason::BelowMinimum));
}

#[test]
fn invalid_deposits_have_a_reason() {
    let bob = [2_u8; 20];
    let two_pushes = Builder::new().push_opcode(OP_RETURN).push_slice(bob).push_slice(bob).into_script();
    let two_pushes = TxOut { value: Amount::ZERO, script_pubkey: two_pushes };
    let empty = TxOut { value: Amount::ZERO, script_pubkey: Builder::new().push_opcode(OP_RETURN).into_script() };
    let cut = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0x6a, 0x14, 1, 2]) };
    let table = [
        (vec![to_us(BTC)], InvalidReason::NoRecipient),
        (vec![to_us(BTC), op_return(&[1; 19])], InvalidReason::BadRecipient),
        (vec![to_us(BTC), op_return(&[1; 21])], InvalidReason::BadRecipient),
        (vec![to_us(BTC), op_return(&[b'g'; 40])], InvalidReason::BadRecipient),
        (vec![to_us(BTC), op_return(&[b'1'; 42])], InvalidReason::BadRecipient),
        (vec![to_us(BTC), op_return(&[1; 20]), op_return(&bob)], InvalidReason::SeveralRecipients),
        (vec![to_us(BTC), op_return(&[0; 20])], InvalidReason::ZeroRecipient),
        (vec![to_us(BTC), op_return(&[b'0'; 40])], InvalidReason::ZeroRecipient),
        (vec![to_us(BTC), two_pushes], InvalidReason::BadRecipient),
        (vec![to_us(BTC), empty], InvalidReason::BadRecipient),
        (vec![to_us(BTC), cut], InvalidReason::BadRecipient),
        (vec![to_us(9_999), op_return(&bob)], InvalidReason::BelowMinimum),
        (vec![to_us(21_000_001 * BTC), op_return(&bob)], InvalidReason::ImpossibleValue),
    ];
    for (outputs, reason) in table {
        assert_eq!(reasons(outputs), [Err(reason)]);
    }
}

#[test]
fn other_data_beside_the_recipient_and_the_same_recipient_twice_are_fine() {
    assert_eq!(reasons(vec![op_return(b"a note"), to_us(BTC), op_return(&[2; 20])]), [Ok(Address::repeat_byte(2))]);
    assert_eq!(reasons(vec![op_return(&[2; 20]), to_us(BTC), op_return(b"a note")]), [Ok(Address::repeat_byte(2))]);
    assert_eq!(reasons(vec![op_return(&[b'2'; 40]), to_us(BTC), op_return(&[0x22; 20])]), [Ok(Address::repeat_byte(0x22))]);
}

#[test]
fn a_transaction_that_does_not_pay_us_is_no_deposit() {
    let elsewhere = TxOut {
        value: Amount::from_sat(BTC),
        script_pubkey: ScriptBuf::new_p2tr_tweaked(bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(key(0))),
    };
    assert_eq!(reasons(vec![elsewhere, op_return(&[2; 20])]), []);
}

#[test]
fn coinbase_deposits_must_be_mature() {
    let mut coinbase = transaction(vec![to_us(BTC), op_return(&[2; 20]), op_return(&[0xaa; 36])]);
    coinbase.input[0].previous_output = OutPoint::null();
    let found = find(&coinbase, &federation(), &rules());
    let Ok(deposit) = &found[0] else { panic!("{found:?}") };
    assert!(deposit.coinbase);
    assert_eq!(deposit.confirmations_needed(&rules()), 100);
    assert_eq!(deposit.confirmations_needed(&PegRules { confirmations: 120, ..rules() }), 120);
}

#[test]
fn the_declared_fee_is_kept() {
    let rules = PegRules { peg_in_fee: Sats(1_000), min_peg_in: Sats(0), ..rules() };
    let of = |sats| find(&transaction(vec![to_us(sats), op_return(&[2; 20])]), &federation(), &rules).remove(0);
    assert_eq!(of(5_000).unwrap().minted(&rules), Sats(4_000));
    assert_eq!(of(1_001).unwrap().minted(&rules), Sats(1));
    assert_eq!(of(1_000).unwrap_err().reason, InvalidReason::BelowMinimum);
}

proptest! {
    #[test]
    fn foreign_recipients_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
        let parsed = parse_recipient(&bytes);
        prop_assert_eq!(bytes.len() == 20 && parsed.is_none(), false);
    }

    #[test]
    fn foreign_scripts_never_panic(scripts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..5)) {
        let mut outputs = vec![to_us(BTC)];
        for mut script in scripts {
            script.insert(0, 0x6a);
            outputs.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script) });
        }
        prop_assert_eq!(find(&transaction(outputs), &federation(), &rules()).len(), 1);
    }
}
