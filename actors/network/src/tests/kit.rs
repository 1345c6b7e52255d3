//! A chain of one validator, with blocks that its key has certified.

use alys_blocks::testing::{certificate, committed, key};
use alys_blocks::{Block, Body, Certificate, Header, Spoken};
use alys_proto::common::CommittedBlock;
use ssz_types::VariableList;

pub(crate) use alys_blocks::testing::spec;

/// A certified block without burns.
pub(crate) fn block(height: u64) -> CommittedBlock {
    let spec = spec();
    let payload = VariableList::new(vec![1, 2, 3]).unwrap();
    let header = Header { height, chain_id: spec.chain_id, ..Header::default() };
    let block = Block::new(header, Body::empty(Certificate::default(), payload));
    committed(&block, &certificate(&spec, &[key()], &block))
}

/// Something that the validator says.
pub(crate) fn spoken(height: u64, message: &[u8]) -> Spoken {
    Spoken::sign(&spec().domain(), &key(), height, message.to_vec())
}
