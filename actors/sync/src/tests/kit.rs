//! Chains of one validator, certified by its key.

use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_blocks::{Block, Body, Certificate, ChainSpec, CommitSignature, Header, Vote, VoteKind};
use alys_proto::common::CommittedBlock;
use malachite_ed25519::PrivateKey;
use ssz_types::VariableList;

use crate::core::Tip;

fn key() -> PrivateKey {
    PrivateKey::from([7; 32])
}

pub(crate) fn spec() -> ChainSpec {
    let member = FederationMember { name: "a".into(), public_key: [3; 32].into() };
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![(*key().public_key().as_bytes()).into()],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 1, start_height: 0 },
        federation: FederationSpec { threshold: 1, members: vec![member] },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

pub(crate) fn genesis() -> Tip {
    Tip { height: 0, hash: spec().genesis_hash().to_vec() }
}

/// Block `height` of a chain as our head.
pub(crate) fn tip(chain: &[CommittedBlock], height: usize) -> Tip {
    Tip { height: height as u64, hash: chain[height - 1].hash.clone() }
}

/// Blocks 1 to `length`.
pub(crate) fn chain(length: u64) -> Vec<CommittedBlock> {
    fork(length, 0)
}

/// Blocks 1 to `length` of another chain with the same genesis.
pub(crate) fn fork(length: u64, slot: u64) -> Vec<CommittedBlock> {
    let spec = spec();
    let validator = spec.validators[0];
    let mut parent = spec.genesis_hash();
    let mut blocks = Vec::new();
    for height in 1..=length {
        let header = Header { height, slot, parent, chain_id: spec.chain_id, ..Header::default() };
        let block = Block::new(header, Body::empty(Certificate::default(), VariableList::new(vec![1, 2, 3]).unwrap()));
        let hash = spec.domain().block_hash(&block.header);
        let vote = Vote { kind: VoteKind::Precommit.code(), height, round: 0, block: hash, validator };
        let signature = key().sign(spec.domain().vote_root(&vote).as_slice()).to_bytes().into();
        let signatures = VariableList::new(vec![CommitSignature { validator, signature }]).unwrap();
        let certificate = Certificate { height, round: 0, block: hash, signatures }.encode();
        blocks.push(CommittedBlock { height, hash: hash.to_vec(), block: block.encode(), certificate, burns: Vec::new() });
        parent = hash;
    }
    blocks
}
