//! A chain of one validator, with blocks that its key has certified.

use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_blocks::{Block, Body, Certificate, ChainSpec, CommitSignature, Header, Spoken, Vote, VoteKind};
use alys_proto::common::CommittedBlock;
use malachite_ed25519::PrivateKey;
use ssz_types::VariableList;

fn key() -> PrivateKey {
    PrivateKey::from([7; 32])
}

pub(crate) fn spec() -> ChainSpec {
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: vec![(*key().public_key().as_bytes()).into()],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 1, start_height: 0 },
        federation: FederationSpec {
            threshold: 1,
            members: vec![FederationMember { name: "a".into(), public_key: [3; 32].into() }],
        },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

/// A certified block without burns.
pub(crate) fn block(height: u64) -> CommittedBlock {
    let spec = spec();
    let payload = VariableList::new(vec![1, 2, 3]).unwrap();
    let header = Header { height, chain_id: spec.chain_id, ..Header::default() };
    let block = Block::new(header, Body::empty(Certificate::default(), payload));
    let hash = spec.domain().block_hash(&block.header);
    let validator = spec.validators[0];
    let vote = Vote { kind: VoteKind::Precommit.code(), height, round: 0, block: hash, validator };
    let signature = key().sign(spec.domain().vote_root(&vote).as_slice()).to_bytes().into();
    let signatures = VariableList::new(vec![CommitSignature { validator, signature }]).unwrap();
    let certificate = Certificate { height, round: 0, block: hash, signatures };
    CommittedBlock { height, hash: hash.to_vec(), block: block.encode(), certificate: certificate.encode(), burns: Vec::new() }
}

/// Something that the validator says.
pub(crate) fn spoken(height: u64, message: &[u8]) -> Spoken {
    Spoken::sign(&spec().domain(), &key(), height, message.to_vec())
}
