//! Well-formed bytes for each target: without them a search would take long to find its way past the first check.

use alloy_primitives::{B256, Bloom, FixedBytes, Signature, U256, address, bytes};
use alys_blocks::testing::{self, key};
use alys_blocks::{Block, Body, Certificate, Header, Spoken, Vote, VoteKind};
use alys_proto::common::CommittedBlock;
use alys_proto::network::{self, Handshake};
use alys_proto::storage::{Blocks, GetBlocks};
use alys_proto::{Inbox, bridge, chain, cluster, common, engine, storage, stream, supervisor, sync};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, MerkleBlock, OutPoint, ScriptBuf, Transaction, TxIn, TxMerkleNode, TxOut, absolute, transaction};
use prost::Message;

use crate::fixture::spec;

/// Those of a target; none for a name that is none.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "auxpow" => proofs(),
        "block" => {
            let block = block();
            vec![block.encode(), certificate(&block).encode(), block.body.payload.to_vec()]
        }
        "consensus_message" => spoken(),
        "gossip_block" => vec![alys_network::core::gossip::encode_block(committed())],
        "mesh" => crate::mesh::seeds(),
        "mining_rpc" => calls(),
        "peer_message" => courses(),
        "peg_proof" => vec![deposit().encode_to_vec()],
        "role_message" => role_messages(),
        "transaction" => transactions(),
        _ => Vec::new(),
    }
}

/// Real proofs; where they are from is in `actors/pow/tests/vectors/README.md`.
fn proofs() -> Vec<Vec<u8>> {
    let texts = [
        include_str!("../../../actors/pow/tests/vectors/namecoin-19414.hex"),
        include_str!("../../../actors/pow/tests/vectors/namecoin-37174.hex"),
        include_str!("../../../actors/pow/tests/vectors/crown-1671882.hex"),
        include_str!("../../../actors/pow/tests/vectors/dogecoin-1000000.hex"),
    ];
    let proofs: Vec<Vec<u8>> =
        texts.iter().map(|text| hex::decode(text.split_whitespace().collect::<String>()).unwrap()).collect();
    let bundle = alys_pow::Bundle { claim: alys_pow::Claim::default(), proof: alys_pow::AuxPow::decode(&proofs[1]).unwrap() };
    let bundle = bundle.encode().unwrap().to_vec();
    proofs.into_iter().chain([bundle]).collect()
}

fn block() -> Block {
    let spec = spec();
    let payload = alloy_rpc_types_engine::ExecutionPayloadV3 {
        payload_inner: alloy_rpc_types_engine::ExecutionPayloadV2 {
            payload_inner: alloy_rpc_types_engine::ExecutionPayloadV1 {
                parent_hash: B256::ZERO,
                fee_recipient: alys_blocks::FEE_SINK,
                state_root: B256::repeat_byte(2),
                receipts_root: B256::repeat_byte(3),
                logs_bloom: Bloom::ZERO,
                prev_randao: B256::ZERO,
                block_number: 1,
                gas_limit: 30_000_000,
                gas_used: 72_000,
                timestamp: spec.genesis_time + 2,
                extra_data: bytes!("616c7973"),
                base_fee_per_gas: U256::from(7),
                block_hash: B256::repeat_byte(4),
                transactions: transactions().into_iter().map(Into::into).collect(),
            },
            withdrawals: vec![alloy_eips::eip4895::Withdrawal { amount: 1, ..Default::default() }],
        },
        blob_gas_used: 0,
        excess_blob_gas: 0,
    };
    let payload = alys_blocks::encode_payload(&payload).try_into().unwrap();
    let header = Header {
        version: alys_blocks::BLOCK_VERSION,
        chain_id: spec.chain_id,
        height: 1,
        slot: 1,
        time: spec.genesis_time + 2,
        proposer: spec.validators[0],
        parent: spec.genesis_hash(),
        ..Header::default()
    };
    let mut body = Body::empty(Certificate::default(), payload);
    let deposit = deposit();
    let peg_in = alys_blocks::PegIn {
        txid: B256::repeat_byte(1),
        vout: 0,
        value: deposit.value_sats,
        recipient: address!("0x1111111111111111111111111111111111111111"),
        transaction: deposit.transaction.try_into().unwrap(),
        merkle_proof: deposit.merkle_proof.try_into().unwrap(),
        bitcoin_height: deposit.bitcoin_height,
    };
    body.peg_ins = vec![peg_in].try_into().unwrap();
    body.bundle = vec![proofs().pop().unwrap().try_into().unwrap()].try_into().unwrap();
    Block::new(header, body)
}

fn vote(block: &Block, kind: VoteKind) -> Vote {
    let spec = spec();
    let hash = spec.domain().block_hash(&block.header);
    Vote { kind: kind.code(), height: block.header.height, round: 0, block: hash, validator: spec.validators[0] }
}

fn signature(vote: &Vote) -> FixedBytes<64> {
    key().sign(spec().domain().vote_root(vote).as_slice()).to_bytes().into()
}

fn certificate(block: &Block) -> Certificate {
    testing::certificate(&spec(), &[key()], block)
}

fn committed() -> CommittedBlock {
    let block = block();
    testing::committed(&block, &certificate(&block))
}

/// A vote, a proposal with its block, a certificate of prevotes and a change of round: as SSZ unions, each also as said by the
/// validator.
fn spoken() -> Vec<Vec<u8>> {
    let block = block();
    let prevote = vote(&block, VoteKind::Prevote);
    let signed_vote = [ssz::Encode::as_ssz_bytes(&prevote).as_slice(), signature(&prevote).as_slice()].concat();
    let proposal =
        alys_blocks::Proposal { height: 1, round: 0, lock_round_plus_one: 0, block: prevote.block, validator: prevote.validator };
    let proposal = [ssz::Encode::as_ssz_bytes(&proposal).as_slice(), [0; 64].as_slice()].concat();
    let offset = u32::try_from(proposal.len() + 4).unwrap().to_le_bytes();
    let with_block = [proposal.as_slice(), &offset, &block.encode()].concat();
    let votes_at = (8_u32 + 4 + 1 + 4).to_le_bytes();
    let change = [1_u64.to_le_bytes().as_slice(), &1_u32.to_le_bytes(), &[1], &votes_at, &signed_vote].concat();
    let union = |number: u8, value: &[u8]| [&[number], value].concat();
    let messages = [union(0, &signed_vote), union(1, &with_block), union(2, &certificate(&block).encode()), union(3, &change)];
    let said = messages.iter().map(|message| Spoken::sign(&spec().domain(), &key(), 1, message.clone()).encode());
    messages.iter().cloned().chain(said).collect()
}

fn calls() -> Vec<Vec<u8>> {
    let hash = "11".repeat(32);
    let proof = hex::encode(&proofs()[1]);
    [
        r#"{"jsonrpc":"2.0","id":1,"method":"createauxblock","params":["0x1111111111111111111111111111111111111111"]}"#
            .to_owned(),
        r#"{"jsonrpc":"2.0","id":"a","method":"getauxblock"}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":null,"method":"submitauxblock","params":["{hash}","{proof}"]}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":2,"method":"getauxblock","params":["{hash}","{proof}"]}}"#),
    ]
    .map(String::into_bytes)
    .into()
}

/// Two peers of our chain, of which one asks, answers and gossips.
fn courses() -> Vec<Vec<u8>> {
    let event = |kind: u8, who: u8, body: &[u8]| {
        [&[kind, who], u16::try_from(body.len()).unwrap().to_le_bytes().as_slice(), body].concat()
    };
    let handshake = alys_network::core::handshake::Us::new(&spec()).handshake();
    let handshake = Handshake { head_height: 1, head_hash: committed().hash, ..handshake }.encode_to_vec();
    let gossip = alys_network::core::gossip::encode_block(committed());
    let answer = Blocks { blocks: vec![committed()] }.encode_to_vec();
    let request = GetBlocks { from_height: 1, limit: 8 }.encode_to_vec();
    let met = [event(1, 0, &[]), event(3, 0, &handshake), event(1, 1, &[]), event(3, 3, &handshake)].concat();
    let rest = [
        [event(6, 0, &gossip), event(6, 2, &spoken()[4]), event(6, 4, &transactions()[0])].concat(),
        [event(8, 1, &[]), event(9, 0, &answer), event(5, 1, &request), event(0, 40, &[])].concat(),
        [event(10, 0, &[]), event(2, 0, &[]), event(11, 9, &[1; 32]), event(7, 1, b"alys")].concat(),
    ];
    rest.into_iter()
        .map(|rest| [met.clone(), rest].concat())
        .chain([
            network::PeerRequest {
                request: Some(network::peer_request::Request::Blocks(GetBlocks { from_height: 1, limit: 8 })),
            }
            .encode_to_vec(),
            network::PeerResponse {
                response: Some(network::peer_response::Response::Blocks(Blocks { blocks: vec![committed()] })),
            }
            .encode_to_vec(),
        ])
        .collect()
}

/// A deposit in a block of regtest that holds nothing else but a coinbase.
fn deposit() -> common::PegInProof {
    let output = |value, script_pubkey| TxOut { value: Amount::from_sat(value), script_pubkey };
    let transaction = |output: Vec<TxOut>, index| Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn { previous_output: OutPoint { vout: index, ..OutPoint::default() }, ..TxIn::default() }],
        output,
    };
    let (federation, _) = crate::fixture::peg();
    let recipient = [0x11; 20];
    let note = ScriptBuf::new_op_return(recipient);
    let pays = output(100_000_000, federation.script_pubkey().to_owned());
    let deposit = transaction(vec![pays, output(0, note)], 3);
    let coinbase = transaction(vec![output(5_000_000_000, ScriptBuf::new())], u32::MAX);
    let txids = [coinbase.compute_txid(), deposit.compute_txid()];
    let root = bitcoin::merkle_tree::calculate_root(txids.iter().map(|id| id.to_raw_hash())).unwrap();
    let header = bitcoin::block::Header {
        version: bitcoin::block::Version::TWO,
        prev_blockhash: bitcoin::BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::from_raw_hash(root),
        time: 1_700_000_000,
        bits: bitcoin::CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mined = (0..).map(|nonce| bitcoin::block::Header { nonce, ..header });
    let header = mined.into_iter().find(|header| header.validate_pow(header.target()).is_ok()).unwrap();
    let merkle = MerkleBlock::from_header_txids_with_predicate(&header, &txids, |id| *id == txids[1]);
    common::PegInProof {
        outpoint: Some(common::OutPoint { txid: txids[1].to_byte_array().to_vec(), vout: 0 }),
        value_sats: 100_000_000,
        recipient: recipient.to_vec(),
        transaction: serialize(&deposit),
        merkle_proof: serialize(&merkle),
        bitcoin_height: 200,
    }
}

/// For each method of each role one message that says nothing.
fn role_messages() -> Vec<Vec<u8>> {
    let methods = [
        bridge::Inbox::METHODS.len(),
        chain::Inbox::METHODS.len(),
        cluster::Inbox::METHODS.len(),
        engine::Inbox::METHODS.len(),
        network::Inbox::METHODS.len(),
        storage::Inbox::METHODS.len(),
        stream::Inbox::METHODS.len(),
        supervisor::Inbox::METHODS.len(),
        sync::Inbox::METHODS.len(),
    ];
    let block = storage::Blocks { blocks: vec![committed()] }.encode_to_vec();
    let count = u8::try_from(methods.iter().sum::<usize>()).unwrap();
    (0..count).map(|number| [&[number], block.as_slice()].concat()).collect()
}

/// A transfer of each kind but blobs and delegations. Nobody's key: any signature recovers to some address.
fn transactions() -> Vec<Vec<u8>> {
    use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEip2930, TxEnvelope, TxLegacy};
    use alloy_eips::Encodable2718 as _;
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let to = address!("0x2222222222222222222222222222222222222222").into();
    let chain_id = spec().chain_id;
    let legacy = TxLegacy { chain_id: Some(chain_id), gas_limit: 21_000, to, ..TxLegacy::default() };
    let listed = TxEip2930 { chain_id, gas_limit: 30_000, to, ..TxEip2930::default() };
    let dynamic = TxEip1559 { chain_id, gas_limit: 21_000, to, input: bytes!("00ff"), ..TxEip1559::default() };
    let envelopes: [TxEnvelope; 3] =
        [legacy.into_signed(signature).into(), listed.into_signed(signature).into(), dynamic.into_signed(signature).into()];
    envelopes.iter().map(|envelope| envelope.encoded_2718()).collect()
}
