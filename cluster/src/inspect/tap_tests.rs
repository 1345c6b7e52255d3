#![allow(clippy::unwrap_used)]

use alys_proto::{Inbox as _, Message as _, Role, storage};

use super::*;

fn asked(filter: TapFilter) -> TapOpen {
    TapOpen { filter: Some(filter), ..TapOpen::default() }
}

fn open(taps: &Taps, asked: &TapOpen) -> u64 {
    taps.open(asked, storage::Inbox::describe, Instant::now()).unwrap()
}

fn send(taps: &Taps, name: &str, sender: Role, body: &[u8]) {
    let header = Header { sender, ..Header::default() };
    taps.pass(Message { method: storage::Inbox::method(name), header: &header, body }, &Passing::Arrived);
}

fn names(taps: &Taps, tap: u64) -> Vec<String> {
    taps.read(tap, 0, Instant::now()).unwrap().passed.into_iter().map(|passed| passed.name).collect()
}

#[test]
fn filters_choose_by_name_sender_and_text() {
    let taps = Taps::default();
    let document = |owner: &str| storage::GetDocuments { owner: owner.into(), prefix: String::new() }.encode_to_vec();
    let by_name = open(&taps, &asked(TapFilter { name: "GetHead".into(), ..TapFilter::default() }));
    let by_sender = open(&taps, &asked(TapFilter { sender: Role::Chain.into(), ..TapFilter::default() }));
    let by_text = open(&taps, &asked(TapFilter { text: "BRIDGE".into(), ..TapFilter::default() }));
    send(&taps, "GetHead", Role::Sync, &[]);
    send(&taps, "GetDocuments", Role::Chain, &document("chain"));
    send(&taps, "GetDocuments", Role::Bridge, &document("bridge"));
    assert_eq!(names(&taps, by_name), ["GetHead"]);
    assert_eq!(names(&taps, by_sender), ["GetDocuments"]);
    let batch = taps.read(by_text, 0, Instant::now()).unwrap();
    assert_eq!(batch.passed.iter().map(|passed| passed.body.as_str()).collect::<Vec<_>>(), ["owner=\"bridge\""]);
    assert_eq!((batch.missed, batch.passed[0].passage()), (0, Passage::Arrived));
}

#[test]
fn a_tap_expires_without_a_read_and_a_read_renews_it() {
    let (taps, now) = (Taps::default(), Instant::now());
    let tap = taps.open(&TapOpen::default(), storage::Inbox::describe, now).unwrap();
    assert!(taps.read(tap, 0, now + LEASE / 2).is_ok());
    assert!(taps.read(tap, 0, now + LEASE).is_ok(), "renewed");
    taps.expire(now + LEASE * 2);
    assert!(!taps.any(), "nobody reads it");
    assert!(matches!(taps.read(tap, 0, now + LEASE * 2), Err(Refused::Failed(_))));
}

#[test]
fn what_is_over_the_rate_or_the_buffer_is_counted() {
    let taps = Taps::default();
    let slow = open(&taps, &TapOpen { rate: 10, ..TapOpen::default() });
    let full = open(&taps, &TapOpen { rate: HIGHEST_RATE, bodies: TapBodies::None.into(), ..TapOpen::default() });
    for _ in 0..MOST_WAITING + 5 {
        send(&taps, "GetHead", Role::Sync, &[]);
    }
    let batch = taps.read(slow, 0, Instant::now()).unwrap();
    // A second may have begun anew on a slow machine.
    assert!(batch.passed.len() >= 10 && batch.missed > 0, "{} {}", batch.passed.len(), batch.missed);
    assert_eq!(taps.read(full, 1, Instant::now()).unwrap().missed, 5);
}

#[test]
fn taps_are_few_and_close() {
    let taps = Taps::default();
    let open: Vec<u64> = (0..MOST_TAPS).map(|_| open(&taps, &TapOpen::default())).collect();
    assert!(matches!(taps.open(&TapOpen::default(), storage::Inbox::describe, Instant::now()), Err(Refused::Busy(_))));
    send(&taps, "GetHead", Role::Sync, &[]);
    assert_eq!(taps.close(open[0]).passed.len(), 1, "what was not read");
    assert_eq!(taps.count(), u32::try_from(MOST_TAPS).unwrap() - 1);
}

#[test]
fn no_secret_reaches_a_tap_that_asks_for_text() {
    let taps = Taps::default();
    let tap = open(&taps, &TapOpen::default());
    let document = storage::Document { owner: "bridge".into(), key: "partial".into(), value: b"SIGNATURE".to_vec() };
    send(&taps, "PutDocuments", Role::Bridge, &storage::PutDocuments { documents: vec![document] }.encode_to_vec());
    let batch = taps.read(tap, 0, Instant::now()).unwrap();
    assert!(batch.passed[0].body.contains("redacted") && batch.passed[0].whole.is_empty());
    assert!(!format!("{batch:?}").contains(&hex::encode("SIGNATURE")));
}
