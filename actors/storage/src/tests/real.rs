//! Blocks that prove themselves: what a check looks into.

use alloy_primitives::{Address, B256};
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_blocks::{Block, Body, Certificate, ChainSpec, CommitSignature, Header, PegIn, Vote, VoteKind};
use alys_proto::Height;
use alys_proto::common::CommittedBlock;
use alys_proto::storage::{CommitBlock, LedgerDelta};
use malachite_ed25519::PrivateKey;
use ssz_types::VariableList;
use tempfile::TempDir;

use super::kit::{Rig, config};
use crate::core::commit::ChainId;

fn key() -> PrivateKey {
    PrivateKey::from([7; 32])
}

pub(super) fn spec() -> ChainSpec {
    let member = hex::decode("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").unwrap();
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![(*key().public_key().as_bytes()).into()],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 1, start_height: 0 },
        federation: FederationSpec {
            threshold: 1,
            members: vec![FederationMember { name: "a".into(), public_key: B256::from_slice(&member) }],
        },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

/// Blocks 1 to `length`; each mints a deposit.
pub(super) fn chain(length: u64) -> Vec<CommitBlock> {
    let spec = spec();
    let mut parent = spec.genesis_hash();
    let mut blocks = Vec::new();
    for height in 1..=length {
        let mut body = Body::empty(Certificate::default(), VariableList::new(vec![1, 2, 3]).unwrap());
        let deposit = PegIn {
            txid: B256::repeat_byte(height as u8),
            vout: 0,
            value: 50_000,
            recipient: Address::repeat_byte(9),
            transaction: VariableList::default(),
            merkle_proof: VariableList::default(),
            bitcoin_height: 1,
        };
        body.peg_ins = VariableList::new(vec![deposit]).unwrap();
        let facts = alys_peg::block::facts(&body, &[]).unwrap();
        let header = Header { height, chain_id: spec.chain_id, parent, ..Header::default() };
        let block = Block::new(header, body);
        let hash = spec.domain().block_hash(&block.header);
        let block = CommittedBlock {
            height,
            hash: hash.to_vec(),
            block: block.encode(),
            certificate: certificate(&spec, height, hash).encode(),
            burns: Vec::new(),
        };
        let facts = facts.iter().map(|fact| fact.at(Height(height))).collect();
        blocks.push(CommitBlock { block: Some(block), parent_hash: parent.to_vec(), ledger: Some(LedgerDelta { facts }) });
        parent = hash;
    }
    blocks
}

fn certificate(spec: &ChainSpec, height: u64, block: B256) -> Certificate {
    let validator = spec.validators[0];
    let vote = Vote { kind: VoteKind::Precommit.code(), height, round: 0, block, validator };
    let signature = key().sign(spec.domain().vote_root(&vote).as_slice()).to_bytes().into();
    let signatures = VariableList::new(vec![CommitSignature { validator, signature }]).unwrap();
    Certificate { height, round: 0, block, signatures }
}

/// An open store of this chain.
pub(super) fn rig(folder: &TempDir) -> Rig {
    Rig::of(&config(folder), ChainId::of(&spec())).unwrap()
}

/// A closed database with so many blocks.
pub(super) fn prepared(length: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    let rig = rig(&folder);
    for block in chain(length) {
        rig.commit(block).unwrap();
    }
    rig.append_wal(length + 1, &[b"vote"]).unwrap();
    rig.put("bridge", "cursor", b"7").unwrap();
    rig.close();
    folder
}
