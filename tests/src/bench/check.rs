//! What a stranger's blocks cost before they are imported: certificate, hashes and links, on one core, as a sync worker checks them.

use std::hint::black_box;

use alloy_primitives::{B256, Bloom, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3};
use alys_blocks::{Block, Body, Certificate, ChainSpec, CommittedRules, FEE_SINK, Header, testing};
use alys_proto::common::CommittedBlock;
use alys_sync::core::range::check_piece;
use eyre::eyre;
use malachite_ed25519::PrivateKey;

use super::micro::median_of;

/// Blocks of one range.
const BLOCKS: u32 = 256;
/// Ranges of one round.
const RANGES: u32 = 4;

/// Measures and prints blocks a second, for chains of these numbers of validators.
pub fn measure(rounds: usize) -> eyre::Result<()> {
    for validators in [1, 4, 16] {
        let (rules, blocks) = chain(validators)?;
        check_piece(&rules, 1, &blocks)?;
        let nanos = median_of(rounds, RANGES, || {
            let _holds = black_box(check_piece(&rules, 1, black_box(&blocks)));
        });
        let rate = f64::from(BLOCKS) * 1e9 / nanos;
        println!("check of empty blocks, {validators:>2} validators, blocks/s a core {rate:>10.0}");
    }
    Ok(())
}

/// Empty blocks, each with the certificate of the fewest validators that suffice.
fn chain(validators: u8) -> eyre::Result<(CommittedRules, Vec<CommittedBlock>)> {
    let keys: Vec<PrivateKey> = (1..=validators).map(|seed| PrivateKey::from([seed; 32])).collect();
    let spec = ChainSpec { validators: keys.iter().map(testing::id).collect(), ..testing::spec() };
    let signers = keys.get(..usize::from(validators) * 2 / 3 + 1).unwrap_or(&keys);
    let (mut parent, mut parent_certificate) = (spec.genesis_hash(), Certificate::default());
    let mut blocks = Vec::new();
    for height in 1..=u64::from(BLOCKS) {
        let time = spec.genesis_time + 2 * height;
        let payload = alys_blocks::encode_payload(&payload(height, time));
        let payload = payload.try_into().map_err(|cause| eyre!("{cause:?}"))?;
        let header = Header {
            version: alys_blocks::BLOCK_VERSION,
            chain_id: spec.chain_id,
            height,
            slot: height,
            time,
            proposer: spec.proposer(height).unwrap_or_default(),
            parent,
            ..Header::default()
        };
        let block = Block::new(header, Body::empty(parent_certificate, payload));
        let certificate = testing::certificate(&spec, signers, &block);
        blocks.push(testing::committed(&block, &certificate));
        (parent, parent_certificate) = (certificate.block, certificate);
    }
    Ok((CommittedRules::of(&spec), blocks))
}

fn payload(block_number: u64, timestamp: u64) -> ExecutionPayloadV3 {
    ExecutionPayloadV3 {
        payload_inner: ExecutionPayloadV2 {
            payload_inner: ExecutionPayloadV1 {
                parent_hash: B256::ZERO,
                fee_recipient: FEE_SINK,
                state_root: B256::ZERO,
                receipts_root: B256::ZERO,
                logs_bloom: Bloom::ZERO,
                prev_randao: B256::ZERO,
                block_number,
                gas_limit: 30_000_000,
                gas_used: 0,
                timestamp,
                extra_data: Default::default(),
                base_fee_per_gas: U256::from(7),
                block_hash: B256::ZERO,
                transactions: Vec::new(),
            },
            withdrawals: Vec::new(),
        },
        blob_gas_used: 0,
        excess_blob_gas: 0,
    }
}
