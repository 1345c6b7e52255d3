//! A chain of one validator whose key everybody knows: for the tests, fuzz targets and benches of all crates.
#![allow(clippy::unwrap_used, reason = "only tests call it")]

use alloy_primitives::b256;
use alys_proto::common::CommittedBlock;
use malachite_ed25519::PrivateKey;
use ssz_types::VariableList;

use crate::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use crate::{Block, Certificate, ChainSpec, CommitSignature, ValidatorId, Vote, VoteKind};

/// The validator's.
pub fn key() -> PrivateKey {
    PrivateKey::from([7; 32])
}

/// The name of a validator: its public key.
pub fn id(key: &PrivateKey) -> ValidatorId {
    (*key.public_key().as_bytes()).into()
}

/// The chain. What a test is about it sets over this.
pub fn spec() -> ChainSpec {
    // The x coordinate of secp256k1's generator: the federation's script needs a point of the curve.
    let public_key = b256!("0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798");
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![id(&key())],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 1, start_height: 0 },
        federation: FederationSpec { threshold: 1, members: vec![FederationMember { name: "a".into(), public_key }] },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

/// The precommits of these validators for a block, of round 0.
pub fn certificate(spec: &ChainSpec, keys: &[PrivateKey], block: &Block) -> Certificate {
    let (height, domain) = (block.header.height, spec.domain());
    let hash = domain.block_hash(&block.header);
    let sign = |key: &PrivateKey| {
        let vote = Vote { kind: VoteKind::Precommit.code(), height, round: 0, block: hash, validator: id(key) };
        let signature = key.sign(domain.vote_root(&vote).as_slice()).to_bytes().into();
        CommitSignature { validator: vote.validator, signature }
    };
    let mut signatures: Vec<_> = keys.iter().map(sign).collect();
    signatures.sort_by_key(|commit| commit.validator);
    Certificate { height, round: 0, block: hash, signatures: VariableList::new(signatures).unwrap() }
}

/// A block and its certificate as they travel, without burns.
pub fn committed(block: &Block, certificate: &Certificate) -> CommittedBlock {
    CommittedBlock {
        height: certificate.height,
        hash: certificate.block.to_vec(),
        block: block.encode(),
        certificate: certificate.encode(),
        burns: Vec::new(),
    }
}
