//! Blocks that prove themselves: what a check looks into.

use alloy_primitives::{Address, B256};
use alys_blocks::testing::{certificate, committed, key};
use alys_blocks::{Block, Body, Certificate, Header, PegIn};
use alys_proto::Height;
use alys_proto::storage::{CommitBlock, LedgerDelta};
use ssz_types::VariableList;
use tempfile::TempDir;

use super::kit::{Rig, config};
use crate::core::commit::ChainId;

pub(super) use alys_blocks::testing::spec;

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
        let certificate = certificate(&spec, &[key()], &block);
        let block = committed(&block, &certificate);
        let facts = facts.iter().map(|fact| fact.at(Height(height))).collect();
        blocks.push(CommitBlock { block: Some(block), parent_hash: parent.to_vec(), ledger: Some(LedgerDelta { facts }) });
        parent = certificate.block;
    }
    blocks
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
