//! What a stranger's blocks cost before they are imported: certificate, hashes and links, on one core, as a sync worker checks them.

use std::hint::black_box;
use std::time::Instant;

use alloy_primitives::{B256, Bloom, U256};
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_blocks::{Block, Body, Certificate, ChainSpec, CommitSignature, CommittedRules, FEE_SINK, Header, Vote, VoteKind};
use alys_proto::common::CommittedBlock;
use alys_sync::core::range::check_piece;
use malachite_ed25519::PrivateKey;

use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3};
use eyre::eyre;

/// Blocks of one range.
const BLOCKS: u32 = 256;
/// Ranges of one round.
const RANGES: u32 = 4;

/// Measures and prints blocks a second, for chains of these numbers of validators.
pub fn measure(rounds: usize) -> eyre::Result<()> {
    for validators in [1, 4, 16] {
        let (rules, blocks) = chain(validators)?;
        let mut rates: Vec<f64> = (0..rounds)
            .map(|_round| {
                let begin = Instant::now();
                for _range in 0..RANGES {
                    check_piece(&rules, 1, black_box(&blocks))?;
                }
                Ok(f64::from(RANGES * BLOCKS) / begin.elapsed().as_secs_f64())
            })
            .collect::<eyre::Result<_>>()?;
        rates.sort_unstable_by(f64::total_cmp);
        let median = rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN);
        println!("check of empty blocks, {validators:>2} validators, blocks/s a core {median:>10.0}");
    }
    Ok(())
}

/// Empty blocks, each with the certificate of the fewest validators that suffice.
fn chain(validators: u8) -> eyre::Result<(CommittedRules, Vec<CommittedBlock>)> {
    let keys: Vec<PrivateKey> = (1..=validators).map(|seed| PrivateKey::from([seed; 32])).collect();
    let id = |key: &PrivateKey| B256::from(*key.public_key().as_bytes());
    let spec = ChainSpec {
        name: "bench".into(),
        chain_id: 212_121,
        genesis_time: 1_700_000_000,
        slot_millis: 2_000,
        validators: keys.iter().map(id).collect(),
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 6, start_height: 0 },
        federation: FederationSpec {
            threshold: 1,
            members: vec![FederationMember { name: "ada".into(), public_key: B256::repeat_byte(3) }],
        },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    };
    let domain = spec.domain();
    let enough = usize::from(validators) * 2 / 3 + 1;
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
        let hash = domain.block_hash(&block.header);
        let sign = |key: &PrivateKey| {
            let vote = Vote { kind: VoteKind::Precommit.code(), height, round: 0, block: hash, validator: id(key) };
            let signature = key.sign(domain.vote_root(&vote).as_slice()).to_bytes().into();
            CommitSignature { validator: vote.validator, signature }
        };
        let mut signatures: Vec<_> = keys.iter().take(enough).map(sign).collect();
        signatures.sort_by_key(|commit| commit.validator);
        let signatures = signatures.try_into().map_err(|cause| eyre!("{cause:?}"))?;
        let certificate = Certificate { height, round: 0, block: hash, signatures };
        blocks.push(CommittedBlock {
            height,
            hash: hash.to_vec(),
            block: block.encode(),
            certificate: certificate.encode(),
            ..CommittedBlock::default()
        });
        (parent, parent_certificate) = (hash, certificate);
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
