//! Tables of the core.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

use alys_proto::bridge::{InputSignature, SignatureVerdict};
use alys_proto::chain::PegInVerdict;
use alys_proto::governance::{Approval, Heartbeat, Refusal, Signatures, from_member::Payload, refusal};

use super::fixture::*;
use super::*;

fn approval(id: u8) -> Payload {
    Payload::Approval(Approval { outpoint: Some(outpoint(id)) })
}

fn signatures(member: &str, id: u8) -> Payload {
    let signature = InputSignature { input: 0, public_key: key(member).to_vec(), signature: vec![9; 64] };
    Payload::Signatures(Signatures { payout_txid: vec![id; 32], signatures: vec![signature] })
}

fn refuse(id: u8, retry: bool) -> Payload {
    Payload::Refusal(Refusal { what: Some(refusal::What::Outpoint(outpoint(id))), reason: "why".into(), retry })
}

fn all_connected() -> State {
    let mut state = state();
    for (connection, name) in (1..).zip(NAMES) {
        assert!(closed(&connect(&mut state, 0, connection, name, 1, 0)).is_none());
    }
    state
}

fn key_of(id: u8) -> OutPointKey {
    OutPointKey { txid: [id; 32], vout: 0 }
}

fn accepted(accepted: bool) -> Answered<PegInVerdict> {
    Answered::Reply(PegInVerdict { accepted, reason: "said no".into() })
}

#[test]
fn a_registration_must_be_right_in_everything() {
    type Breaks = fn(&mut Registration, &mut String);
    let table: [(&str, Breaks); 5] = [
        ("stranger", |_, name| *name = "eve".into()),
        ("other name", |r, _| r.register.member = "bob".into()),
        ("other key", |r, _| r.register.public_key = key("bob").to_vec()),
        ("other chain id", |r, _| r.register.chain_id = 1),
        ("other genesis", |r, _| r.register.genesis_hash = vec![0; 32]),
    ];
    for (what, breaks) in table {
        let mut registration = Registration { register: register("ada", 1), acknowledged: 0 };
        let mut certificate_name = "ada".to_owned();
        breaks(&mut registration, &mut certificate_name);
        let mut state = state();
        let effects = state.step(Millis(0), Input::Connected { connection: ConnectionId(1), certificate_name, registration });
        assert!(closed(&effects).is_some(), "{what}");
        assert_eq!(state.connected_members(), (0, 3), "{what}");
    }
    assert_eq!(registered(&connect(&mut state(), 0, 1, "ada", 1, 0)), Some(0));
}

#[test]
fn every_member_is_asked_once_and_two_different_approvals_reach_chain() {
    let mut state = all_connected();
    assert_eq!(asked(&state.step(Millis(0), Input::DepositDetected(deposit(1)))), [1, 2, 3]);
    assert!(asked(&state.step(Millis(1), Input::DepositDetected(deposit(1)))).is_empty(), "repeated by bridge, asked once");
    assert_eq!(validations(&state.step(Millis(2), from_member(1, 1, approval(1)))).len(), 0);
    assert_eq!(validations(&state.step(Millis(3), from_member(1, 2, approval(1)))).len(), 0, "one member counts once");
    let effects = state.step(Millis(4), from_member(2, 1, approval(1)));
    assert_eq!(validations(&effects), [vec!["ada".to_owned(), "bob".to_owned()]]);
    assert_eq!(validations(&state.step(Millis(5), from_member(3, 1, approval(1)))).len(), 0, "chain is being asked");
}

#[test]
fn an_unknown_connection_or_an_unasked_outpoint_counts_for_nothing() {
    let mut state = all_connected();
    state.step(Millis(0), Input::DepositDetected(deposit(1)));
    assert_eq!(state.step(Millis(1), from_member(9, 1, approval(1))), []);
    state.step(Millis(2), from_member(1, 1, approval(2)));
    assert_eq!(state.counters().member_faults, 1);
    assert_eq!(validations(&state.step(Millis(3), from_member(2, 1, approval(1)))).len(), 0);
}

#[test]
fn chain_is_asked_until_it_accepts_and_again_while_bridge_repeats() {
    let mut state = all_connected();
    state.step(Millis(0), Input::DepositDetected(deposit(1)));
    state.step(Millis(0), from_member(1, 1, approval(1)));
    state.step(Millis(0), from_member(2, 1, approval(1)));
    for (at, answer) in [(0, Answered::Passing("away".into())), (1_000, accepted(false)), (2_000, accepted(true))] {
        state.step(Millis(at), Input::ChainAnswered { outpoint: key_of(1), answer });
        assert_eq!(validations(&state.step(Millis(at + 500), Input::Tick)).len(), 0, "at {at}");
        let again = validations(&state.step(Millis(at + 1_000), Input::Tick)).len();
        assert_eq!(again, usize::from(at < 2_000), "at {at}");
    }
    state.step(Millis(11_000), Input::DepositDetected(deposit(1)));
    assert_eq!(validations(&state.step(Millis(12_000), Input::Tick)).len(), 1, "still repeated: chain may have forgotten");
    state.step(Millis(311_001), Input::Tick);
    assert_eq!(state.open().0, 0, "minted: bridge no longer repeats it");
}

#[test]
fn another_claim_for_the_same_outpoint_needs_new_approvals_but_another_merkle_path_does_not() {
    let mut state = all_connected();
    state.step(Millis(0), Input::DepositDetected(deposit(1)));
    state.step(Millis(0), from_member(1, 1, approval(1)));
    let moved = alys_proto::common::PegInProof { bitcoin_height: 9, merkle_proof: vec![1], ..deposit(1) };
    assert!(asked(&state.step(Millis(0), Input::DepositDetected(moved))).is_empty());
    let other = alys_proto::common::PegInProof { value_sats: 1, ..deposit(1) };
    assert_eq!(asked(&state.step(Millis(0), Input::DepositDetected(other))), [1, 2, 3]);
    assert_eq!(validations(&state.step(Millis(0), from_member(2, 1, approval(1)))).len(), 0);
}

#[test]
fn who_cannot_yet_is_asked_again_and_who_will_not_is_recorded() {
    let mut state = all_connected();
    state.step(Millis(0), Input::DepositDetected(deposit(1)));
    state.step(Millis(0), from_member(1, 1, refuse(1, true)));
    state.step(Millis(0), from_member(2, 1, refuse(1, false)));
    assert!(asked(&state.step(Millis(999), Input::Tick)).is_empty());
    assert_eq!(asked(&state.step(Millis(1_000), Input::Tick)), [1]);
    assert!(state.refusals(9).iter().any(|line| line.contains("bob refused: why")));
    // bob's operator repairs and restarts it: it is asked again.
    assert_eq!(asked(&connect(&mut state, 1_500, 5, "bob", 2, 0)), [5]);
}

#[test]
fn who_does_not_answer_at_all_is_asked_again() {
    let mut state = all_connected();
    state.step(Millis(0), Input::DepositDetected(deposit(1)));
    for connection in 1..=3 {
        state.step(Millis(59_000), from_member(connection, 0, Payload::Heartbeat(Heartbeat::default())));
    }
    assert_eq!(asked(&state.step(Millis(60_000), Input::Tick)), [1, 2, 3]);
}

#[test]
fn a_dropped_session_resumes_without_loss_or_repetition() {
    let mut state = state();
    connect(&mut state, 0, 1, "ada", 7, 0);
    for id in 1..=3 {
        state.step(Millis(0), Input::DepositDetected(deposit(id)));
    }
    state.step(Millis(1), from_member(1, 1, approval(1)));
    state.step(Millis(2), Input::Disconnected { connection: ConnectionId(1) });
    // It acted on our first two before the drop, and its approval reached us.
    let effects = connect(&mut state, 3, 2, "ada", 7, 2);
    assert_eq!(registered(&effects), Some(1));
    let again: Vec<u64> = numbered(&effects).iter().map(|(_, message)| message.sequence).collect();
    assert_eq!(again, [3]);
    assert_eq!(state.step(Millis(4), from_member(2, 1, approval(1))), [], "a repeated number is not acted on");
    assert_eq!(state.counters().member_faults, 0);
}

#[test]
fn a_restarted_member_starts_at_one_and_is_asked_what_is_open() {
    let mut state = state();
    connect(&mut state, 0, 1, "ada", 7, 0);
    state.step(Millis(0), Input::DepositDetected(deposit(1)));
    state.step(Millis(0), Input::DepositDetected(deposit(2)));
    state.step(Millis(0), from_member(1, 1, approval(1)));
    let effects = connect(&mut state, 3, 2, "ada", 8, 0);
    assert_eq!(closed(&effects), Some(&CloseReason::Displaced));
    assert_eq!(registered(&effects), Some(0));
    let again: Vec<u64> = numbered(&effects).iter().map(|(_, message)| message.sequence).collect();
    assert_eq!(again, [1], "only the deposit that it has not approved");
}

#[test]
fn broken_protocol_ends_the_connection_and_nothing_is_counted() {
    let heartbeat = Payload::Heartbeat(Heartbeat::default());
    let table = [
        ("gap", from_member(1, 2, approval(1)), true),
        ("approval without number", from_member(1, 0, approval(1)), true),
        ("numbered heartbeat", from_member(1, 1, heartbeat), true),
        ("second registration", from_member(1, 0, Payload::Register(register("ada", 1))), true),
        ("fine", from_member(1, 1, approval(1)), false),
    ];
    for (what, input, closes) in table {
        let mut state = state();
        connect(&mut state, 0, 1, "ada", 1, 0);
        state.step(Millis(0), Input::DepositDetected(deposit(1)));
        assert_eq!(closed(&state.step(Millis(1), input)).is_some(), closes, "{what}");
        assert_eq!(state.connected_members().0, usize::from(!closes), "{what}");
    }
    let mut state = state();
    connect(&mut state, 0, 1, "ada", 1, 0);
    let message = alys_proto::governance::FromMember { sequence: 1, acknowledged: 5, payload: Some(approval(1)) };
    let effects = state.step(Millis(1), Input::Received { connection: ConnectionId(1), message });
    assert!(matches!(closed(&effects), Some(CloseReason::ForgedAcknowledgement(_))));
}

#[test]
fn a_silent_member_is_dropped_and_a_talking_one_is_not() {
    let mut state = all_connected();
    state.step(
        Millis(14_000),
        from_member(1, 0, Payload::Heartbeat(Heartbeat { chain_height: 4, bitcoin_height: 5, unix_millis: 0 })),
    );
    let effects = state.step(Millis(15_000), Input::Tick);
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Close { reason: CloseReason::Silent, .. })).count(), 2);
    assert_eq!(state.connected_members(), (1, 3));
    let ada = state.members().members.into_iter().find(|member| member.name == "ada").unwrap();
    assert_eq!((ada.connected, ada.chain_height, ada.bitcoin_height, ada.last_heard_unix_millis), (true, 4, 5, 14_000));
}

#[test]
fn signatures_reach_bridge_each_until_it_has_enough() {
    let mut state = all_connected();
    assert_eq!(asked(&state.step(Millis(0), Input::SignaturesRequested(payout(1)))), [1, 2, 3]);
    assert_eq!(deliveries(&state.step(Millis(1), from_member(1, 1, signatures("ada", 1)))), ["ada"]);
    let verdict = |accepted, complete| Answered::Reply(SignatureVerdict { accepted, complete, reason: "bad".into() });
    let member = |name: &str| MemberName(name.into());
    let answer = |name: &str, answer| Input::BridgeAnswered { member: member(name), txid: [1; 32], answer };
    state.step(Millis(2), answer("ada", Answered::Passing("restarting".into())));
    assert_eq!(deliveries(&state.step(Millis(1_002), Input::Tick)), ["ada"]);
    state.step(Millis(1_003), answer("ada", verdict(true, false)));
    state.step(Millis(1_004), from_member(2, 1, signatures("bob", 1)));
    state.step(Millis(1_005), answer("bob", verdict(true, true)));
    assert!(asked(&state.step(Millis(61_000), Input::Tick)).is_empty(), "complete: cyd is asked no more");
    // Bridge lost its partial signatures and asks again: it gets what we have, and cyd is asked too.
    let effects = state.step(Millis(61_001), Input::SignaturesRequested(payout(1)));
    assert_eq!(deliveries(&effects), ["ada", "bob"]);
    state.step(Millis(61_002), Input::SigningFinished { txid: vec![1; 32] });
    assert_eq!(state.open().1, 0);
}

#[test]
fn signatures_with_a_foreign_key_or_of_another_shape_are_not_passed_on() {
    let bad: [fn(&mut Signatures); 5] = [
        |s| s.signatures[0].public_key = key("bob").to_vec(),
        |s| s.signatures[0].signature.truncate(63),
        |s| s.signatures.clear(),
        |s| s.payout_txid = vec![2; 32],
        |s| s.signatures = vec![s.signatures[0].clone(); MAX_SIGNATURES + 1],
    ];
    for (number, breaks) in bad.into_iter().enumerate() {
        let mut state = all_connected();
        state.step(Millis(0), Input::SignaturesRequested(payout(1)));
        let Payload::Signatures(mut broken) = signatures("ada", 1) else { panic!("made above") };
        breaks(&mut broken);
        assert_eq!(deliveries(&state.step(Millis(1), from_member(1, 1, Payload::Signatures(broken)))).len(), 0, "{number}");
        assert_eq!(state.counters().member_faults, 1, "{number}");
    }
}

#[test]
fn a_signature_that_bridge_refuses_is_recorded() {
    let mut state = all_connected();
    state.step(Millis(0), Input::SignaturesRequested(payout(1)));
    state.step(Millis(1), from_member(1, 1, signatures("ada", 1)));
    let answer = Answered::Reply(SignatureVerdict { accepted: false, complete: false, reason: "wrong sighash".into() });
    state.step(Millis(2), Input::BridgeAnswered { member: MemberName("ada".into()), txid: [1; 32], answer });
    assert!(state.refusals(9)[0].contains("ada refused: bridge refused its signatures: wrong sighash"));
}

#[test]
fn records_go_to_the_role_their_payload_names_and_are_repeated_until_it_answers() {
    let mut state = all_connected();
    let effects = state.step(Millis(0), from_member(1, 1, Payload::BlockProposal(vec![1])));
    assert!(matches!(&effects[..], [Effect::Route { message: RoutedMessage::BlockProposal(record), .. }] if record == &[1]));
    let effects = state.step(Millis(0), from_member(1, 2, Payload::FederationUpdate(vec![2])));
    let [Effect::Route { route, message: RoutedMessage::FederationUpdate(_) }] = effects[..] else { panic!("{effects:?}") };
    state.step(Millis(0), Input::RouteAnswered { route, answer: Answered::Passing("away".into()) });
    assert_eq!(state.step(Millis(1_000), Input::Tick).len(), 1);
    state.step(Millis(1_000), Input::RouteAnswered { route, answer: Answered::Reply(()) });
    assert_eq!(state.open().2, 1);
}

#[test]
fn a_full_routing_table_loses_nothing() {
    let mut state = all_connected();
    for number in 1..=MAX_ROUTED as u64 {
        assert_eq!(closed(&state.step(Millis(0), from_member(1, number, Payload::BlockProposal(vec![])))), None);
    }
    let next = MAX_ROUTED as u64 + 1;
    assert_eq!(closed(&state.step(Millis(0), from_member(1, next, Payload::BlockProposal(vec![])))), Some(&CloseReason::Busy));
    assert_eq!(registered(&connect(&mut state, 1, 9, "ada", 1, 0)), Some(next - 1), "the refused one is sent again");
}

#[test]
fn tables_are_bounded() {
    let mut state = state();
    for id in 0..MAX_DEPOSITS as u32 + 5 {
        let mut proof = deposit(1);
        proof.outpoint.as_mut().unwrap().vout = id;
        state.step(Millis(0), Input::DepositDetected(proof));
    }
    for id in 0..MAX_PAYOUTS as u8 + 5 {
        state.step(Millis(0), Input::SignaturesRequested(payout(id)));
    }
    assert_eq!(state.open(), (MAX_DEPOSITS, MAX_PAYOUTS, 0));
    assert_eq!((state.counters().deposits_dropped, state.counters().payouts_dropped), (5, 5));
    // A member that connects now gets no more than the link keeps, and the rest once it acknowledges.
    let first = connect(&mut state, 1, 1, "ada", 1, 0);
    assert_eq!(numbered(&first).len(), alys_proto::link::MAX_UNACKNOWLEDGED);
}

#[test]
fn a_new_head_is_told_to_all_and_an_old_one_to_nobody() {
    let mut state = all_connected();
    assert_eq!(state.step(Millis(0), Input::Finalized { height: 5, hash: vec![5; 32] }).len(), 3);
    assert_eq!(state.step(Millis(0), Input::Finalized { height: 5, hash: vec![5; 32] }).len(), 0);
}
