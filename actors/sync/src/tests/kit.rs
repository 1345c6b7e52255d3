//! Chains of one validator, certified by its key.

use alys_blocks::testing::{certificate, committed, key};
use alys_blocks::{Block, Body, Certificate, Header};
use alys_proto::common::CommittedBlock;
use ssz_types::VariableList;

use crate::core::Tip;

pub(crate) use alys_blocks::testing::spec;

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
    let mut parent = spec.genesis_hash();
    let mut blocks = Vec::new();
    for height in 1..=length {
        let header = Header { height, slot, parent, chain_id: spec.chain_id, ..Header::default() };
        let block = Block::new(header, Body::empty(Certificate::default(), VariableList::new(vec![1, 2, 3]).unwrap()));
        let certificate = certificate(&spec, &[key()], &block);
        blocks.push(committed(&block, &certificate));
        parent = certificate.block;
    }
    blocks
}
