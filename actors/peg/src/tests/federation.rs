use alys_blocks::ChainSpec;
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use bitcoin::opcodes::all::{OP_CHECKSIG, OP_CHECKSIGADD, OP_NUMEQUAL};
use bitcoin::script::Builder;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::taproot::TaprootBuilder;
use bitcoin::{Address, Network, ScriptBuf, XOnlyPublicKey};

use super::support::*;
use crate::federation::NUMS;
use crate::{Federation, FederationError};

#[test]
fn the_output_is_what_the_bips_say_built_by_hand() {
    let leaf = Builder::new()
        .push_x_only_key(&key(0))
        .push_opcode(OP_CHECKSIG)
        .push_x_only_key(&key(1))
        .push_opcode(OP_CHECKSIGADD)
        .push_x_only_key(&key(2))
        .push_opcode(OP_CHECKSIGADD)
        .push_int(2)
        .push_opcode(OP_NUMEQUAL)
        .into_script();
    let nums: XOnlyPublicKey = NUMS.parse().unwrap();
    let secp = Secp256k1::new();
    let spend = TaprootBuilder::new().add_leaf(0, leaf.clone()).unwrap().finalize(&secp, nums).unwrap();
    let script = ScriptBuf::new_p2tr_tweaked(spend.output_key());

    let federation = federation();
    assert_eq!(federation.leaf_script(), leaf.as_script());
    assert_eq!(federation.script_pubkey(), script.as_script());
    assert_eq!(federation.address(), &Address::from_script(&script, Network::Regtest).unwrap());
    assert!(federation.control_block().verify_taproot_commitment(&secp, spend.output_key().to_x_only_public_key(), &leaf));
}

#[test]
fn the_descriptor_text_has_a_checksum_and_reads_back() {
    let text = federation().descriptor_text();
    let (body, checksum) = text.split_once('#').unwrap();
    assert_eq!(body, format!("tr({NUMS},multi_a(2,{},{},{}))", key(0), key(1), key(2)));
    assert_eq!(checksum.len(), 8);
    let read: miniscript::Descriptor<miniscript::DefiniteDescriptorKey> = text.parse().unwrap();
    assert_eq!(&read, federation().descriptor());
}

#[test]
fn impossible_federations_are_refused() {
    let new = |threshold, members| Federation::new(threshold, members, Network::Regtest);
    assert!(matches!(new(1, vec![]), Err(FederationError::Members(0))));
    assert!(matches!(new(1, vec![key(0); 21]), Err(FederationError::Members(21))));
    assert!(matches!(new(0, vec![key(0)]), Err(FederationError::Threshold { .. })));
    assert!(matches!(new(3, vec![key(0), key(1)]), Err(FederationError::Threshold { .. })));
    assert!(matches!(new(2, vec![key(0), key(0)]), Err(FederationError::Repeated(_))));
    assert!(matches!(new(1, vec![NUMS.parse().unwrap()]), Err(FederationError::Unspendable)));
}

#[test]
fn every_size_up_to_the_limit_makes_a_federation() {
    let keys: Vec<_> = (0..20).map(key).collect();
    for members in 1_usize..=20 {
        for threshold in [1, members.div_ceil(2), members] {
            let federation = Federation::new(threshold, keys[..members].to_vec(), Network::Regtest).unwrap();
            assert_eq!(federation.placeholder_witness().len(), members + 2);
        }
    }
}

fn spec() -> ChainSpec {
    let member = |n: u8| FederationMember { name: format!("m{n}"), public_key: key(n).serialize().into() };
    ChainSpec {
        name: "test".into(),
        chain_id: 1,
        genesis_time: 0,
        slot_millis: 1_000,
        validators: vec![],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 6, start_height: 0 },
        federation: FederationSpec { threshold: 2, members: (0..3).map(member).collect() },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

#[test]
fn the_specification_names_the_federation() {
    assert_eq!(Federation::try_from(&spec()).unwrap(), federation());
    let mut other = spec();
    other.bitcoin.network = "nonet".into();
    assert!(matches!(Federation::try_from(&other), Err(FederationError::Network(_))));
    let mut other = spec();
    other.federation.members[1].public_key = [0xff; 32].into();
    assert!(matches!(Federation::try_from(&other), Err(FederationError::Key { member, .. }) if member == "m1"));
    for network in ["bitcoin", "testnet", "testnet4", "signet", "regtest"] {
        let mut other = spec();
        other.bitcoin.network = network.into();
        assert!(Federation::try_from(&other).is_ok(), "{network}");
    }
}

#[test]
fn a_replayed_ledger_is_the_same_as_the_one_that_was_followed() {
    use crate::{Fact, Ledger, PegRules};
    let mut followed = Ledger::new(federation(), PegRules::from(&spec()));
    let mut stored = Vec::new();
    let mut next = |followed: &mut Ledger, facts: Vec<Fact>| {
        stored.extend(facts.iter().map(|fact| fact.at(followed.height().next())));
        block(followed, &facts);
    };
    next(&mut followed, vec![deposit(1, BTC)]);
    next(&mut followed, vec![]);
    next(&mut followed, vec![Fact::Burned(burn(3, 0, BTC / 2))]);
    let recorded = crate::payout::plan(&followed, RATE).unwrap().recorded();
    let txid = recorded.txid();
    next(&mut followed, vec![Fact::PayoutRecorded(recorded)]);
    next(&mut followed, vec![settled(txid)]);
    next(&mut followed, vec![]);
    assert_eq!(Ledger::replay(&spec(), height(6), &stored).unwrap(), followed);
    assert!(Ledger::replay(&spec(), height(4), &stored).is_err(), "facts above the head");
    stored.swap(0, 1);
    assert!(Ledger::replay(&spec(), height(6), &stored).is_err(), "facts out of order");
}
