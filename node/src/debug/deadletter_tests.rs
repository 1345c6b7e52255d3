use alys_proto::bridge::{FederationSignatures, InputSignature};
use alys_proto::cluster::Header;
use prost::Message as _;

use super::super::sample::{self, golden};
use super::*;
use crate::debug::args::Look;

fn dead() -> DeadLetter {
    let signature = InputSignature { input: 1, public_key: vec![2; 32], signature: vec![0xee; 64] };
    let body = FederationSignatures { member: "governance-1".into(), payout_txid: vec![9; 32], signatures: vec![signature] };
    let header = Header {
        sender: Role::Stream.into(),
        message_id: vec![0xab; 16],
        traceparent: format!("00-{}-{}-01", "a6".repeat(16), "b7".repeat(8)),
        ..Header::default()
    };
    DeadLetter {
        id: 17,
        reason: Reason::KilledItsHandler.into(),
        explanation: "panicked: index out of bounds: the len is 1 but the index is 1, while signatures were put together".into(),
        receiver: Role::Bridge.into(),
        service: "bridge".into(),
        method: "FederationSignatures".into(),
        body: body.encode_to_vec(),
        header: Some(header),
        died_unix_millis: sample::NOW,
        deaths: 3,
        requeued: 1,
        state: State::Dead.into(),
        body_bytes: 159,
        ..DeadLetter::default()
    }
}

fn letters() -> Letters {
    let refused = DeadLetter {
        id: 4,
        reason: Reason::Refused.into(),
        explanation: "unknown message BurnEventDetected".into(),
        method: "BurnEventDetected".into(),
        header: Some(Header { sender: Role::Engine.into(), ..Header::default() }),
        deaths: 0,
        state: State::Requeued.into(),
        body_bytes: 40,
        ..dead()
    };
    Letters { letters: vec![Letter::from(&dead()), Letter::from(&refused)], fallen_out: 2 }
}

#[test]
fn letters_for_people() {
    golden("deadletter-ls", &list_text(&letters()));
    assert_eq!(list_text(&Letters::default()), "no dead letters\n");
}

#[test]
fn one_letter_whole_and_no_secret_of_it() {
    let letter = Letter::whole(&dead());
    let text = show_text(&letter);
    golden("deadletter-show", &text);
    let json = serde_json::to_string(&letter).expect("plain values");
    for shown in [text, json] {
        assert!(shown.contains("signature=(redacted, 64 bytes)") && !shown.contains("eeee"), "{shown}");
    }
}

#[test]
fn a_snapshot_is_filtered_as_storage_does() {
    let filtered = |receiver, limit| {
        let args = ListLetters { receiver, limit, look: Look { from: None, output: Output::Table } };
        letters().filtered(&args).letters.len()
    };
    assert_eq!((filtered(None, 0), filtered(None, 1)), (2, 1));
    assert_eq!((filtered(Some(Role::Bridge), 0), filtered(Some(Role::Chain), 0)), (2, 0));
}
