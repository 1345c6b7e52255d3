//! A federation of three, threshold two, for the tests of the core.
#![allow(clippy::unwrap_used, clippy::panic)]

use alloy_primitives::B256;
use alys_blocks::ChainSpec;
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec};
use alys_proto::common::{OutPoint, PegInProof};
use alys_proto::governance::{FromMember, Register, ToMember, from_member, to_member};
use alys_proto::storage::PayoutRecorded;
use alys_proto::stream::RequestFederationSignatures;

use super::*;

pub(super) const NAMES: [&str; 3] = ["ada", "bob", "cyd"];

pub(super) fn key(name: &str) -> [u8; 32] {
    [name.as_bytes()[0]; 32]
}

pub(super) fn spec() -> ChainSpec {
    let member = |name: &str| FederationMember { name: name.to_owned(), public_key: B256::from(key(name)) };
    ChainSpec {
        name: "test".into(),
        chain_id: 212_121,
        genesis_time: 0,
        slot_millis: 2_000,
        validators: vec![B256::repeat_byte(1)],
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 6, start_height: 0 },
        federation: FederationSpec { threshold: 2, members: NAMES.map(member).to_vec() },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: None,
    }
}

pub(super) fn timing() -> Timing {
    Timing {
        heartbeat: Millis(3_000),
        silence: Millis(15_000),
        retry: Millis(1_000),
        ask_again: Millis(60_000),
        forget: Millis(300_000),
    }
}

pub(super) fn state() -> State {
    State::new(&spec(), timing(), 1)
}

pub(super) fn register(name: &str, incarnation: u64) -> Register {
    Register {
        member: name.into(),
        public_key: key(name).to_vec(),
        chain_id: 212_121,
        genesis_hash: spec().genesis_hash().to_vec(),
        incarnation,
    }
}

pub(super) fn connect(
    state: &mut State,
    at: u64,
    connection: u64,
    name: &str,
    incarnation: u64,
    acknowledged: u64,
) -> Vec<Effect> {
    let registration = Registration { register: register(name, incarnation), acknowledged };
    state.step(Millis(at), Input::Connected { connection: ConnectionId(connection), certificate_name: name.into(), registration })
}

pub(super) fn outpoint(id: u8) -> OutPoint {
    OutPoint { txid: vec![id; 32], vout: 0 }
}

pub(super) fn deposit(id: u8) -> PegInProof {
    PegInProof { outpoint: Some(outpoint(id)), value_sats: 100_000, recipient: vec![7; 20], ..PegInProof::default() }
}

pub(super) fn payout(id: u8) -> RequestFederationSignatures {
    let payout = PayoutRecorded { txid: vec![id; 32], ..PayoutRecorded::default() };
    RequestFederationSignatures { payout: Some(payout), height: 5, psbt: vec![id] }
}

pub(super) fn from_member(connection: u64, sequence: u64, payload: from_member::Payload) -> Input {
    let message = FromMember { sequence, acknowledged: 0, payload: Some(payload) };
    Input::Received { connection: ConnectionId(connection), message }
}

/// Numbered messages in `effects` as (connection, message).
pub(super) fn numbered(effects: &[Effect]) -> Vec<(u64, &ToMember)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { connection, message } if message.sequence > 0 => Some((connection.0, message)),
            _ => None,
        })
        .collect()
}

pub(super) fn asked(effects: &[Effect]) -> Vec<u64> {
    numbered(effects).into_iter().map(|(connection, _)| connection).collect()
}

pub(super) fn closed(effects: &[Effect]) -> Option<&CloseReason> {
    effects.iter().find_map(|effect| match effect {
        Effect::Close { reason, .. } => Some(reason),
        _ => None,
    })
}

pub(super) fn validations(effects: &[Effect]) -> Vec<Vec<String>> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::ValidatePegIn { request, .. } => Some(request.approved_by.clone()),
            _ => None,
        })
        .collect()
}

pub(super) fn deliveries(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::DeliverSignatures { member, .. } => Some(member.0.clone()),
            _ => None,
        })
        .collect()
}

pub(super) fn registered(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { message: ToMember { payload: Some(to_member::Payload::Registered(registered)), .. }, .. } => {
            Some(registered.resume_after)
        }
        _ => None,
    })
}
