//! A chain of one validator, whose key is known.

use alloy_primitives::B256;
use alys_blocks::ChainSpec;
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_peg::{Federation, PegRules};
use alys_pow::{AuxChainId, Bits, Expected, MinedHash};
use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};
use malachite_ed25519::PrivateKey;

/// The validator's.
pub(crate) fn key() -> PrivateKey {
    PrivateKey::from([7; 32])
}

pub(crate) fn spec() -> ChainSpec {
    let member = Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[3; 32]).unwrap());
    ChainSpec {
        name: "fuzz".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![B256::from(*key().public_key().as_bytes())],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 6, start_height: 0 },
        federation: FederationSpec {
            threshold: 1,
            members: vec![FederationMember { name: "ada".into(), public_key: member.x_only_public_key().0.serialize().into() }],
        },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

pub(crate) fn peg() -> (Federation, PegRules) {
    let spec = spec();
    (Federation::try_from(&spec).unwrap(), PegRules::from(&spec))
}

/// That of Namecoin's block 37,174 (`actors/pow/tests/vectors`).
pub(crate) fn expected_work() -> Expected {
    let hash: MinedHash = "65ef89dc3da0c0df9b3d5309f89dd2eaceb81227605ead903d8ef6619d328b39".parse().unwrap();
    let bits = Bits::new(0x1b00_a2f4).unwrap_or_else(|_| Bits::new(0x207f_ffff).unwrap());
    Expected { chain_id: AuxChainId::new(1).unwrap(), mined_hash: hash, target: bits.target() }
}
