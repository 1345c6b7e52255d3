//! Whatever members send: never a panic, never more memory than the bounds say, never a quorum without the members.
#![allow(clippy::unwrap_used, clippy::panic)]

use alys_proto::bridge::InputSignature;
use alys_proto::governance::{Approval, FromMember, Heartbeat, Refusal, Signatures, from_member::Payload, refusal};
use alys_proto::link::MAX_UNACKNOWLEDGED;
use proptest::prelude::*;

use super::fixture::*;
use super::*;

fn payload() -> impl Strategy<Value = Option<Payload>> {
    let id = || prop_oneof![Just(1_u8), Just(2), any::<u8>()];
    let bytes = || prop_oneof![Just(vec![1_u8; 32]), proptest::collection::vec(any::<u8>(), 0..40)];
    prop_oneof![
        Just(None),
        id().prop_map(|id| Some(Payload::Approval(Approval { outpoint: Some(outpoint(id)) }))),
        Just(Some(Payload::Approval(Approval { outpoint: None }))),
        any::<u64>().prop_map(|chain_height| Some(Payload::Heartbeat(Heartbeat { chain_height, ..Heartbeat::default() }))),
        (0..3_usize).prop_map(|member| Some(Payload::Register(register(NAMES[member], 1)))),
        (bytes(), any::<bool>()).prop_map(|(txid, retry)| {
            Some(Payload::Refusal(Refusal { what: Some(refusal::What::PayoutTxid(txid)), reason: "r".repeat(300), retry }))
        }),
        (bytes(), bytes(), bytes()).prop_map(|(payout_txid, public_key, signature)| {
            let signatures = vec![InputSignature { input: 0, public_key, signature }];
            Some(Payload::Signatures(Signatures { payout_txid, signatures }))
        }),
        bytes().prop_map(|record| Some(Payload::BlockProposal(record))),
        bytes().prop_map(|record| Some(Payload::FederationUpdate(record))),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let number = || prop_oneof![0..6_u64, any::<u64>()];
    let message = (1..5_u64, number(), number(), payload()).prop_map(|(connection, sequence, acknowledged, payload)| {
        Input::Received { connection: ConnectionId(connection), message: FromMember { sequence, acknowledged, payload } }
    });
    let connected =
        (1..5_u64, 0..3_usize, 0..3_u64, number()).prop_map(|(connection, member, incarnation, acknowledged)| Input::Connected {
            connection: ConnectionId(connection),
            certificate_name: NAMES[member].into(),
            registration: Registration { register: register(NAMES[member], incarnation), acknowledged },
        });
    prop_oneof![
        6 => message,
        2 => connected,
        1 => (1..5_u64).prop_map(|connection| Input::Disconnected { connection: ConnectionId(connection) }),
        1 => any::<u8>().prop_map(|id| Input::DepositDetected(deposit(id))),
        1 => any::<u8>().prop_map(|id| Input::SignaturesRequested(payout(id))),
        1 => Just(Input::Tick),
    ]
}

proptest! {
    #[test]
    fn arbitrary_members_never_panic_and_memory_stays_bounded(inputs in proptest::collection::vec((0..20_000_u64, input()), 0..200)) {
        let mut state = state();
        let mut now = 0;
        for (passed, input) in inputs {
            now += passed;
            let effects = state.step(Millis(now), input);
            for approved_by in validations(&effects) {
                prop_assert!(approved_by.len() >= 2 && approved_by.iter().all(|name| NAMES.contains(&name.as_str())));
            }
            let (deposits, payouts, routed) = state.open();
            prop_assert!(deposits <= MAX_DEPOSITS && payouts <= MAX_PAYOUTS && routed <= MAX_ROUTED);
            prop_assert!(state.connections.len() <= 3);
            for member in state.members.values() {
                prop_assert!(member.link.unacknowledged().count() <= MAX_UNACKNOWLEDGED);
            }
        }
    }
}
