use alys_proto::{Sats, Wei};
use bitcoin::{Network, ScriptBuf};
use proptest::prelude::*;

use super::support::*;
use crate::burn::classify;
use crate::{FeeRate, RefundReason};

fn reason(address: &[u8], amount: Wei) -> Result<Sats, RefundReason> {
    let mut burn = burn(1, 0, BTC);
    burn.bitcoin_address = address.to_vec();
    burn.amount = amount;
    classify(&burn, &federation()).map(|payable| payable.amount)
}

#[test]
fn every_ordinary_kind_of_address_is_payable() {
    for n in 0..4 {
        let payable = classify(&burn(1, n, 600), &federation()).unwrap();
        assert_eq!(payable.amount, Sats(600));
        assert_eq!(payable.dust, Sats(payable.script_pubkey.minimal_non_dust().to_sat()));
    }
    let script_hash = bitcoin::Address::p2wsh(&ScriptBuf::new(), Network::Regtest).to_string();
    assert_eq!(reason(script_hash.as_bytes(), wei(BTC)), Ok(Sats(BTC)));
    assert_eq!(reason(address(0).to_uppercase().as_bytes(), wei(BTC)), Ok(Sats(BTC)), "bech32 may be upper case");
}

#[test]
fn address_for_another_network_is_refunded() {
    let others: [&[u8]; 4] = [
        b"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        b"tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
        b"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        b"3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
    ];
    for other in others {
        assert_eq!(reason(other, wei(BTC)), Err(RefundReason::WrongNetwork));
    }
}

#[test]
fn a_burn_that_bitcoin_cannot_pay_has_a_reason() {
    let ours = federation().address().to_string();
    let future = bitcoin::Address::from_script(&ScriptBuf::from_bytes([&[0x52, 0x20][..], &[7; 32]].concat()), Network::Regtest)
        .unwrap()
        .to_string();
    let no_point =
        bitcoin::Address::from_script(&ScriptBuf::from_bytes([&[0x51, 0x20][..], &[0xff; 32]].concat()), Network::Regtest)
            .unwrap()
            .to_string();
    let anchor = bitcoin::Address::from_script(&ScriptBuf::from_bytes(vec![0x51, 0x02, 0x4e, 0x73]), Network::Regtest)
        .unwrap()
        .to_string();
    let good = address(0);
    let padded = format!(" {good}");
    let table: [(&[u8], Wei, RefundReason); 13] = [
        (&[0xff, 0xfe], wei(BTC), RefundReason::NotText),
        ("ⓑⓒ1".as_bytes(), wei(BTC), RefundReason::NotText),
        (&[b'a'; 91], wei(BTC), RefundReason::NotText),
        (b"", wei(BTC), RefundReason::NotAnAddress),
        (b"hello", wei(BTC), RefundReason::NotAnAddress),
        (padded.as_bytes(), wei(BTC), RefundReason::NotAnAddress),
        (ours.as_bytes(), wei(BTC), RefundReason::PaysFederation),
        (future.as_bytes(), wei(BTC), RefundReason::UnsupportedScript),
        (no_point.as_bytes(), wei(BTC), RefundReason::UnsupportedScript),
        (anchor.as_bytes(), wei(BTC), RefundReason::UnsupportedScript),
        (good.as_bytes(), Wei(wei(BTC).0 + 1), RefundReason::NotWholeSats),
        (good.as_bytes(), wei(293), RefundReason::BelowDust),
        (good.as_bytes(), Wei(0), RefundReason::BelowDust),
    ];
    for (address, amount, expected) in table {
        assert_eq!(reason(address, amount), Err(expected), "{}", String::from_utf8_lossy(address));
    }
    assert_eq!(reason(good.as_bytes(), wei(294)), Ok(Sats(294)));
}

#[test]
fn reasons_have_one_spelling_and_fit_a_block() {
    let plain = [
        "not-text",
        "not-an-address",
        "wrong-network",
        "unsupported-script",
        "pays-the-federation",
        "not-whole-satoshis",
        "below-dust",
    ];
    for name in plain {
        let reason: RefundReason = name.parse().unwrap();
        assert_eq!(reason.to_string(), name);
    }
    let longest = RefundReason::EatenByFee(FeeRate(u64::MAX));
    assert!(longest.to_string().len() <= 64);
    assert_eq!(longest.to_string().parse(), Ok(longest));
    for bad in ["", "Not-text", "eaten-by-fee-at-", "eaten-by-fee-at-+1", "eaten-by-fee-at-01", "eaten-by-fee-at--1"] {
        assert!(bad.parse::<RefundReason>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn foreign_addresses_never_panic(address in proptest::collection::vec(any::<u8>(), 0..120), amount: u128) {
        let _maybe_payable = reason(&address, Wei(amount));
    }

    #[test]
    fn foreign_text_never_panics(text in "(bcrt1|tb1|bc1|[123mn])[a-z0-9]{0,90}") {
        let _maybe_payable = reason(text.as_bytes(), wei(BTC));
    }

    #[test]
    fn foreign_reasons_never_panic(text in ".{0,80}") {
        if let Ok(reason) = text.parse::<RefundReason>() {
            prop_assert_eq!(reason.to_string(), text);
        }
    }
}
