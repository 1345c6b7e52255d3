//! A chain of one validator, whose key is known.

use alys_blocks::spec::{BitcoinSpec, FederationMember, FederationSpec};
use alys_blocks::{ChainSpec, testing};
use alys_peg::{Federation, PegRules};
use alys_pow::{AuxChainId, Bits, Expected, MinedHash};
use bitcoin::secp256k1::{Keypair, Secp256k1, SecretKey};

pub(crate) fn spec() -> ChainSpec {
    let member = Keypair::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[3; 32]).unwrap());
    let chain = testing::spec();
    ChainSpec {
        name: "fuzz".into(),
        bitcoin: BitcoinSpec { confirmations: 6, ..chain.bitcoin },
        federation: FederationSpec {
            threshold: 1,
            members: vec![FederationMember { name: "ada".into(), public_key: member.x_only_public_key().0.serialize().into() }],
        },
        ..chain
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
