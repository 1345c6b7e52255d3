//! What a gossiped message must be before anybody else gets it from us.

use alys_blocks::committed::MAX_CERTIFICATE_BYTES;
use alys_blocks::{Block, Committed, CommittedFault, CommittedRules};
use alys_proto::Message as _;
use alys_proto::common::CommittedBlock;
use alys_proto::network::BlockPropagation;

use super::limits::{MAX_BLOCK_MESSAGE_BYTES, MAX_TRANSACTION_BYTES};

/// Why a gossiped block is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GossipFault {
    /// Not a `BlockPropagation`, or one without a block.
    #[error("not a block message: {0}")]
    Malformed(String),
    /// More bytes than a block message can have.
    #[error("{0} bytes are more than a block message can have")]
    TooLong(usize),
    /// Burns follow from execution; no certificate covers them, so they may not come from a stranger.
    #[error("it carries burns")]
    Burns,
    /// It does not prove itself.
    #[error(transparent)]
    Unproven(#[from] CommittedFault),
}

/// Checks that a block's certificate proves it.
pub fn check_block(rules: &CommittedRules, block: &CommittedBlock) -> Result<Block, GossipFault> {
    let CommittedBlock { height, hash, block, certificate, .. } = block;
    Ok(rules.check(Committed { height: *height, hash, block, certificate })?)
}

/// The bytes that go over gossip for a block.
pub fn encode_block(mut block: CommittedBlock) -> Vec<u8> {
    block.burns.clear();
    BlockPropagation { block: Some(block) }.encode_to_vec()
}

/// The block of a message, unchecked.
pub fn decode_block(data: &[u8]) -> Result<CommittedBlock, GossipFault> {
    if data.len() > MAX_BLOCK_MESSAGE_BYTES {
        return Err(GossipFault::TooLong(data.len()));
    }
    let message = BlockPropagation::decode(data).map_err(|cause| GossipFault::Malformed(cause.to_string()))?;
    let block = message.block.ok_or_else(|| GossipFault::Malformed("it holds no block".into()))?;
    if block.hash.len() != 32 {
        return Err(GossipFault::Malformed(format!("its hash has {} bytes", block.hash.len())));
    }
    if block.certificate.len() > MAX_CERTIFICATE_BYTES {
        return Err(GossipFault::TooLong(block.certificate.len()));
    }
    if !block.burns.is_empty() {
        return Err(GossipFault::Burns);
    }
    Ok(block)
}

/// Whether bytes can be an EIP-2718 envelope: a type byte below 0x80 or an RLP list, within the size.
pub fn may_be_transaction(data: &[u8]) -> bool {
    let begins_well = data.first().is_some_and(|first| (1..0x80).contains(first) || *first >= 0xc0);
    begins_well && data.len() > 1 && data.len() <= MAX_TRANSACTION_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alys_proto::common::Burn;
    use proptest::prelude::*;

    use super::*;
    use crate::tests::kit;

    #[test]
    fn burns_do_not_travel() {
        let mut block = kit::block(1);
        block.burns = vec![Burn::default()];
        assert!(decode_block(&encode_block(block.clone())).unwrap().burns.is_empty());
        let smuggled = BlockPropagation { block: Some(block) }.encode_to_vec();
        assert_eq!(decode_block(&smuggled), Err(GossipFault::Burns));
    }

    #[test]
    fn transactions_begin_as_envelopes_do() {
        let table: [(&[u8], bool); 6] =
            [(&[], false), (&[2], false), (&[2, 1], true), (&[0xf8, 1], true), (&[0x80, 1], false), (&[0, 1], false)];
        for (data, expected) in table {
            assert_eq!(may_be_transaction(data), expected, "{data:?}");
        }
        assert!(!may_be_transaction(&vec![2; MAX_TRANSACTION_BYTES + 1]));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            if let Ok(block) = decode_block(&data) {
                prop_assert!(check_block(&CommittedRules::of(&kit::spec()), &block).is_err());
            }
        }
    }
}
