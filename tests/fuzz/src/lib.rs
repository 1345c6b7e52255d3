//! Everything here that decodes bytes of a stranger, each as a function that takes any bytes and panics when a promise is
//! broken: never a panic of the decoder, and what is hashed or signed has one form of bytes only.
//!
//! cargo-fuzz searches with them (`make fuzz`); `make test` runs each over the committed corpus and over [`seeds`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken promise is a panic")]

mod fixture;
#[path = "../../../cluster/src/mesh/frame.rs"]
#[allow(dead_code, reason = "taken in as it is, used in part")]
mod frame;
#[path = "../../../cluster/src/header.rs"]
#[allow(dead_code, unreachable_pub, reason = "taken in as it is, used in part")]
mod header;
mod mesh;
mod peers;
pub mod seeds;

use alloy_primitives::Address;
use alys_blocks::{Block, Certificate, CommittedRules, Spoken, decode_payload, encode_payload};
use alys_chain::core::consensus::codec;
use alys_chain::core::consensus::context::Aura;
use alys_network::core::gossip;
use alys_peg::{Fact, PegInProof};
use alys_pow::{AuxPow, Bundle};
use alys_proto::{Inbox, bridge, chain, cluster, common, engine, network, storage, stream, supervisor, sync};
use bitcoin::consensus::deserialize;
use malachite_types::SignedVote;
use prost::Message;

use fixture::{expected_work, spec};

/// What the files of alys-cluster look for in their own crate.
mod identity {
    pub(crate) use alys_cluster::{Identity, Incarnation};
}

/// A promise over any bytes.
pub type Target = fn(&[u8]);

/// All of them, by the names of their programs and of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 10] = [
    ("auxpow", auxpow),
    ("block", block),
    ("consensus_message", consensus_message),
    ("gossip_block", gossip_block),
    ("mesh", mesh),
    ("mining_rpc", mining_rpc),
    ("peer_message", peer_message),
    ("peg_proof", peg_proof),
    ("role_message", role_message),
    ("transaction", transaction),
];

/// A block on the blocks topic, up to its certificate.
pub fn gossip_block(bytes: &[u8]) {
    let Ok(message) = gossip::decode_block(bytes) else { return };
    if let Ok(block) = gossip::check_block(&CommittedRules::of(&spec()), &message) {
        assert_eq!(block.encode(), message.block, "a proven block has one form");
    }
}

/// SSZ of a block, a certificate and an execution payload.
pub fn block(bytes: &[u8]) {
    if let Ok(block) = Block::decode(bytes) {
        assert_eq!(block.encode(), bytes);
        let _payload = decode_payload(&block.body.payload);
        let _bundles: Vec<_> = block.body.bundle.iter().map(|bundle| Bundle::decode(bundle)).collect();
    }
    if let Ok(certificate) = Certificate::decode(bytes) {
        assert_eq!(certificate.encode(), bytes);
        let spec = spec();
        let _verdict = certificate.verify(&spec.domain(), &spec.validators);
    }
    if let Ok(payload) = decode_payload(bytes) {
        assert_eq!(encode_payload(&payload), bytes);
    }
}

/// What validators say over gossip, and the log of consensus.
pub fn consensus_message(bytes: &[u8]) {
    if let Ok(spoken) = Spoken::decode(bytes) {
        assert_eq!(spoken.encode(), bytes);
        let _verdict = CommittedRules::of(&spec()).check_spoken(&spoken);
        inner_message(&spoken.message);
    }
    inner_message(bytes);
    if let Ok(entry) = codec::WalEntry::decode(bytes) {
        assert_eq!(entry.encode(), bytes);
        let _input = entry.to_input();
    }
}

fn inner_message(bytes: &[u8]) {
    if let Ok(message) = codec::Gossip::decode(bytes) {
        assert_eq!(message.encode(), bytes);
        match message {
            codec::Gossip::Vote(vote) => drop(SignedVote::<Aura>::try_from(&vote)),
            codec::Gossip::Proposal(proposal) => drop(Block::decode(&proposal.block)),
            codec::Gossip::Polka(certificate) => drop(codec::to_polka(&certificate)),
            codec::Gossip::RoundChange(change) => drop(change.to_certificate()),
        }
    }
}

/// A course of events with peers: handshakes, requests, ranges, gossip and time, as the bytes say.
pub fn peer_message(bytes: &[u8]) {
    let _request = network::PeerRequest::decode(bytes);
    let _response = network::PeerResponse::decode(bytes);
    peers::run(bytes);
}

/// A proof of merged mining and the bundle around it.
pub fn auxpow(bytes: &[u8]) {
    if let Ok(proof) = AuxPow::decode(bytes) {
        assert_eq!(proof.encode(), bytes, "two forms of one proof");
        let _verdict = proof.check(&expected_work());
    }
    if let Ok(bundle) = Bundle::decode(bytes) {
        assert_eq!(&*bundle.encode().unwrap(), bytes, "two forms of one bundle");
    }
}

/// A call of the JSON-RPC for miners. Its role is gone, so what is well formed is answered too.
pub fn mining_rpc(bytes: &[u8]) {
    let Ok(call) = std::str::from_utf8(bytes) else { return };
    let (asker, _) = tokio::sync::mpsc::channel(1);
    let methods = alys_chain::mining_methods(asker, Some(Address::ZERO)).unwrap();
    let answering = methods.raw_json_request(call, 1);
    let answer = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answering);
    if let Ok((answer, _)) = answer {
        assert!(!answer.get().contains("internal error"), "{answer}");
    }
}

/// A raw transaction, from a wallet or from gossip.
pub fn transaction(bytes: &[u8]) {
    use alloy_eips::Encodable2718 as _;
    if let Ok(transaction) = alys_engine::pool::decode(bytes) {
        assert_eq!(transaction.inner().encoded_2718(), bytes, "two forms of one transaction");
        assert!(gossip::may_be_transaction(bytes), "the pool takes what gossip refuses");
    }
}

/// A deposit's proof, as it comes from another role.
pub fn peg_proof(bytes: &[u8]) {
    if let Ok(record) = alys_peg::Record::decode(bytes) {
        assert_eq!(record.encode(), bytes, "a record has one form");
    }
    let (federation, rules) = fixture::peg();
    let Ok(message) = common::PegInProof::decode(bytes) else { return };
    let Ok(proof) = PegInProof::try_from(&message) else { return };
    assert_eq!(PegInProof::try_from(&common::PegInProof::from(&proof)), Ok(proof.clone()));
    let view = alys_blocks::BitcoinView { height: proof.bitcoin_height.saturating_add(100), ..Default::default() };
    if let Ok(verified) = alys_peg::proof::verify(&proof, &view, &federation, &rules) {
        assert_eq!(verified.deposit.value, proof.value);
    }
    // The header alone, as bitcoind gives it.
    let _header: Result<bitcoin::block::Header, _> = deserialize(&message.merkle_proof);
}

/// Frames of the mesh, from a process that has a link, and the hello before.
pub fn mesh(bytes: &[u8]) {
    mesh::run(bytes);
}

/// A message to any role, by the number of its method; and a fact of the ledger.
pub fn role_message(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let mut number = usize::from(*which);
    offer::<bridge::Inbox>(&mut number, body);
    offer::<chain::Inbox>(&mut number, body);
    offer::<cluster::Inbox>(&mut number, body);
    offer::<engine::Inbox>(&mut number, body);
    offer::<network::Inbox>(&mut number, body);
    offer::<storage::Inbox>(&mut number, body);
    offer::<stream::Inbox>(&mut number, body);
    offer::<supervisor::Inbox>(&mut number, body);
    offer::<sync::Inbox>(&mut number, body);
    if let Ok(fact) = storage::LedgerFact::decode(body) {
        let _fact = Fact::try_from(&fact);
    }
}

/// To this role, when the number is one of its methods; else the number counts on.
fn offer<I: Inbox>(number: &mut usize, body: &[u8]) {
    if let Some(method) = I::METHODS.get(*number) {
        let _text = I::describe(method.name, body);
        if let Ok(message) = I::decode(method.name, body, None) {
            assert_eq!(message.name(), method.name);
        }
    }
    *number = number.wrapping_sub(I::METHODS.len());
}
