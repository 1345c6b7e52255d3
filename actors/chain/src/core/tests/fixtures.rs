//! A specification, keys, an engine that hashes instead of executing, and deposits with real proofs.

use std::sync::Arc;

use alloy_eips::eip4895;
use alloy_primitives::{Address, B256, Bloom, Bytes, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3};
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec, WorkSpec};
use alys_blocks::{BitcoinView, ChainSpec, FEE_SINK, encode_payload};
use alys_peg::{PegInProof, deposit};
use alys_proto::common::Burn;
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::{Amount, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid, Witness};
use malachite_ed25519::PrivateKey;
use sha2::{Digest as _, Sha256};

use crate::core::rules::ChainRules;
use crate::core::{Template, TemplateRequest};

pub(crate) const GENESIS_TIME: u64 = 1_700_000_000;
pub(crate) const SLOT: u64 = 2_000;
pub(crate) const EL_GENESIS: B256 = B256::repeat_byte(0xe1);

pub(crate) fn key(number: u8) -> PrivateKey {
    PrivateKey::from([number.saturating_add(1); 32])
}

pub(crate) fn spec(validators: u8) -> ChainSpec {
    let secp = Secp256k1::new();
    let member = |number: u8| FederationMember {
        name: format!("member-{number}"),
        public_key: B256::from(Keypair::from_seckey_slice(&secp, &[number; 32]).unwrap().x_only_public_key().0.serialize()),
    };
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: GENESIS_TIME,
        slot_millis: SLOT,
        validators: (0..validators).map(|number| B256::from(*key(number).public_key().as_bytes())).collect(),
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 6, start_height: 0 },
        federation: FederationSpec { threshold: 2, members: vec![member(1), member(2), member(3)] },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

pub(crate) fn rules(validators: u8) -> Arc<ChainRules> {
    Arc::new(ChainRules::new(spec(validators)).unwrap())
}

/// A merge-mined chain with regtest's target, on which this many blocks may wait for work.
pub(crate) fn mined_rules(validators: u8, max_blocks_without_pow: u64) -> Arc<ChainRules> {
    let work = WorkSpec {
        aux_chain_id: 1_337,
        first_bits: 0x207f_ffff,
        limit_bits: 0x207f_ffff,
        spacing_seconds: 10,
        window: 3,
        factor: 4,
        max_blocks_without_pow,
        settled_peg_outs: true,
    };
    Arc::new(ChainRules::new(ChainSpec { work: Some(work), ..spec(validators) }).unwrap())
}

/// What the engine would build: everything as asked, no transactions. The block hash covers all other fields.
pub(crate) fn build(wanted: &TemplateRequest, gas_limit: u64) -> Template {
    let withdrawals = wanted
        .withdrawals
        .iter()
        .map(|credit| eip4895::Withdrawal {
            index: credit.index,
            validator_index: 0,
            address: credit.recipient,
            amount: credit.gwei,
        })
        .collect();
    let mut payload = ExecutionPayloadV3 {
        payload_inner: ExecutionPayloadV2 {
            payload_inner: ExecutionPayloadV1 {
                parent_hash: wanted.parent_el_hash,
                fee_recipient: FEE_SINK,
                state_root: B256::ZERO,
                receipts_root: B256::ZERO,
                logs_bloom: Bloom::ZERO,
                prev_randao: wanted.parent_hash,
                block_number: wanted.height,
                gas_limit,
                gas_used: 0,
                timestamp: wanted.timestamp,
                extra_data: Bytes::new(),
                base_fee_per_gas: U256::from(7),
                block_hash: B256::ZERO,
                transactions: Vec::new(),
            },
            withdrawals,
        },
        blob_gas_used: 0,
        excess_blob_gas: 0,
    };
    payload.payload_inner.payload_inner.block_hash = el_hash(&payload);
    Template { payload: encode_payload(&payload), burns: Vec::new() }
}

/// Hash of the EL block, as the pretended engine computes it.
pub(crate) fn el_hash(payload: &ExecutionPayloadV3) -> B256 {
    let mut bare = payload.clone();
    bare.payload_inner.payload_inner.block_hash = B256::ZERO;
    B256::from_slice(&Sha256::digest(encode_payload(&bare)))
}

pub(crate) fn view(height: u32) -> BitcoinView {
    BitcoinView { hash: B256::repeat_byte(0xb7), height }
}

/// A deposit in block `height` with a proof that holds.
pub(crate) fn deposit_proof(rules: &ChainRules, sats: u64, recipient: Address, height: u32) -> PegInProof {
    let pay = |value: u64, script_pubkey: ScriptBuf| TxOut { value: Amount::from_sat(value), script_pubkey };
    let transaction = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array([height as u8; 32]), vout: 0 },
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![
            pay(sats, rules.federation.script_pubkey().to_owned()),
            pay(0, ScriptBuf::new_op_return(<&bitcoin::script::PushBytes>::try_from(recipient.as_slice()).unwrap())),
        ],
    };
    let txids = [Txid::from_byte_array([9; 32]), transaction.compute_txid()];
    let root = bitcoin::merkle_tree::calculate_root(txids.iter().map(|txid| txid.to_raw_hash())).unwrap();
    let mut header = Header {
        version: Version::TWO,
        prev_blockhash: bitcoin::BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::from_raw_hash(root),
        time: 0,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    while header.validate_pow(header.target()).is_err() {
        header.nonce += 1;
    }
    let found = deposit::find(&transaction, &rules.federation, &rules.peg).remove(0).unwrap();
    PegInProof::new(&found, &transaction, &header, &txids, height).unwrap()
}

/// A burn in the block at `height`.
pub(crate) fn burn(height: u64, address: &[u8], sats: u64) -> Burn {
    let mut amount_wei = vec![0_u8; 16];
    amount_wei.extend_from_slice(&(u128::from(sats) * 10_000_000_000).to_be_bytes());
    Burn {
        height,
        log_index: 0,
        transaction_hash: vec![3; 32],
        sender: vec![0xaa; 20],
        bitcoin_address: address.to_vec(),
        amount_wei,
    }
}

pub(crate) fn approvers() -> Vec<String> {
    vec!["member-1".into(), "member-3".into()]
}
