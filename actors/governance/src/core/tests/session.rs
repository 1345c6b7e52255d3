//! The session: requests, answers, drops and restarts of either side.

use alys_proto::common::{OutPoint, PegInProof};
use alys_proto::governance::{
    FromMember, GovernanceApprovalRequest, HeadChanged, Heartbeat, Register, Registered, ToMember, from_member, to_member,
};
use proptest::prelude::*;

use crate::core::refusal::Refusal;
use crate::core::session::{Action, Answer, MAX_WORK, SessionCore, SessionFault, Subject};

fn core() -> SessionCore {
    SessionCore::new(Register { member: "ada".into(), incarnation: 5, ..Register::default() })
}

fn registered(incarnation: u64, resume_after: u64) -> ToMember {
    ToMember {
        sequence: 0,
        acknowledged: 0,
        payload: Some(to_member::Payload::Registered(Registered { resume_after, incarnation })),
    }
}

fn ask(sequence: u64, id: u8) -> ToMember {
    let outpoint = Some(OutPoint { txid: vec![id; 32], vout: 0 });
    let deposit = Some(PegInProof { outpoint, ..PegInProof::default() });
    ToMember {
        sequence,
        acknowledged: 0,
        payload: Some(to_member::Payload::ApprovalRequest(GovernanceApprovalRequest { deposit })),
    }
}

fn subject(id: u8) -> Subject {
    Subject::Deposit { txid: vec![id; 32], vout: 0 }
}

fn sent(actions: &[Action]) -> Vec<(u64, u64)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send(message) => Some((message.sequence, message.acknowledged)),
            _ => None,
        })
        .collect()
}

#[test]
fn an_answer_is_kept_until_it_is_acknowledged() {
    let mut core = core();
    core.connect();
    core.received(registered(1, 0)).unwrap();
    core.received(ask(1, 7)).unwrap();
    core.disconnected();
    assert_eq!(core.finished(&subject(7), Answer::Approved), None, "no connection: kept");
    assert_eq!(core.connect().acknowledged, 1);
    assert_eq!(sent(&core.received(registered(1, 0)).unwrap()), [(1, 1)], "sent after the drop");
    core.connect();
    core.disconnected();
    core.connect();
    assert!(sent(&core.received(registered(1, 1)).unwrap()).is_empty(), "acknowledged: not again");
}

#[test]
fn a_restarted_stream_gets_the_answers_from_number_one_and_may_ask_from_one() {
    let mut core = core();
    core.connect();
    core.received(registered(1, 0)).unwrap();
    for id in 1..=3 {
        core.received(ask(u64::from(id), id)).unwrap();
        core.finished(&subject(id), Answer::Approved);
    }
    core.received(ToMember { sequence: 0, acknowledged: 1, payload: Some(to_member::Payload::Heartbeat(Heartbeat::default())) })
        .unwrap();
    core.disconnected();
    core.connect();
    assert_eq!(sent(&core.received(registered(2, 0)).unwrap()), [(1, 0), (2, 0)]);
    assert!(matches!(&core.received(ask(1, 9)).unwrap()[..], [Action::Work(..)]));
}

#[test]
fn a_request_under_way_is_not_started_twice_and_too_many_are_not_yet() {
    let mut core = core();
    core.connect();
    core.received(registered(1, 0)).unwrap();
    assert_eq!(core.received(ask(1, 7)).unwrap().len(), 1);
    assert_eq!(core.received(ask(2, 7)).unwrap().len(), 0);
    for number in 0..MAX_WORK as u64 - 1 {
        let mut message = ask(number + 3, 8);
        if let Some(to_member::Payload::ApprovalRequest(request)) = &mut message.payload {
            request.deposit.as_mut().unwrap().outpoint.as_mut().unwrap().vout = number as u32;
        }
        assert!(matches!(core.received(message).unwrap()[..], [Action::Work(..)]));
    }
    let actions = core.received(ask(MAX_WORK as u64 + 2, 9)).unwrap();
    let [Action::Send(FromMember { payload: Some(from_member::Payload::Refusal(refusal)), .. })] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert!(refusal.retry);
}

#[test]
fn refusals_carry_their_reason_and_whether_to_ask_again() {
    let mut core = core();
    core.connect();
    core.received(registered(1, 0)).unwrap();
    for (refusal, retry) in [(Refusal::AlreadyMinted, false), (Refusal::BitcoinSyncing, true)] {
        let action = core.finished(&subject(1), Answer::Refused(refusal.clone())).unwrap();
        let Action::Send(FromMember { payload: Some(from_member::Payload::Refusal(said)), .. }) = action else {
            panic!("{action:?}")
        };
        assert_eq!((said.reason, said.retry), (refusal.to_string(), retry));
    }
}

#[test]
fn a_stream_that_breaks_the_protocol_is_dropped() {
    let mut fresh = core();
    fresh.connect();
    assert_eq!(fresh.received(ask(1, 1)), Err(SessionFault::NotRegistered));
    let table = [
        ("gap", ask(2, 1)),
        ("unnumbered request", ask(0, 1)),
        ("registered twice", registered(1, 0)),
        ("forged acknowledgement", ToMember { acknowledged: 9, ..ask(1, 1) }),
        (
            "numbered head",
            ToMember { sequence: 1, acknowledged: 0, payload: Some(to_member::Payload::HeadChanged(HeadChanged::default())) },
        ),
    ];
    for (what, message) in table {
        let mut core = core();
        core.connect();
        core.received(registered(1, 0)).unwrap();
        assert!(core.received(message).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn arbitrary_streams_never_panic(messages in proptest::collection::vec((0..5_u64, 0..5_u64, 0..4_u8, any::<u8>()), 0..100)) {
        let mut core = core();
        core.connect();
        for (sequence, acknowledged, kind, id) in messages {
            let message = match kind {
                0 => registered(acknowledged, sequence),
                1 => ToMember { acknowledged, ..ask(sequence, id) },
                2 => ToMember { sequence, acknowledged, payload: None },
                _ => {
                    let _action = core.finished(&subject(id), Answer::Approved);
                    continue;
                }
            };
            if core.received(message).is_err() {
                core.disconnected();
                core.connect();
            }
        }
    }
}
