#![allow(clippy::unwrap_used)]

use super::super::super::facts::Wait;
use super::super::super::peek::{Peek, Queued};
use super::super::super::sample;
use super::super::model::{Close, Key, Look};
use super::super::picture;
use super::*;

fn model() -> Model {
    let queued = |name: &str, body: &str| Queued {
        name: name.into(),
        lane: "normal".into(),
        sender: "chain".into(),
        age_millis: 2_900,
        body: body.into(),
        ..Queued::default()
    };
    let messages = vec![queued("CommitBlock", "block{height=18 hash=07…}"), queued("GetHead", "")];
    let log = vec![
        r#"{"timestamp":"2026-11-22T10:00:00.123Z","level":"INFO","message":"database open","height":17}"#.to_owned(),
        r#"{"timestamp":"2026-11-22T10:00:01.000Z","level":"WARN","message":"changed by a debugger","who":"ada"}"#.to_owned(),
    ];
    let close = Close { instance: "storage".into(), peek: Peek { messages, ..Peek::default() }, log };
    let mut model = Model::default();
    for step in 0..8u64 {
        let mut facts = sample::facts();
        facts.unix_millis += step * 500;
        for (position, mailbox) in facts.instances.iter_mut().filter_map(|one| one.mailbox.as_mut()).enumerate() {
            mailbox.handled += step * step * 10 * (u64::try_from(position).unwrap() + 1);
        }
        model.look(Look { facts, close: Some(close.clone()) });
    }
    model
}

#[test]
fn the_table_at_80_by_24() {
    sample::golden("top-80x24", &picture(&model(), 80, 24).unwrap());
}

#[test]
fn a_wide_terminal_shows_more() {
    sample::golden("top-140x30", &picture(&model(), 140, 30).unwrap());
}

#[test]
fn details_waits_and_log() {
    let mut model = model();
    model.key(Key::Enter);
    model.key(Key::Letter('3'));
    let log = picture(&model, 80, 24).unwrap();
    model.key(Key::Letter('2'));
    model.key(Key::Back);
    model.key(Key::Down);
    sample::golden("top-detail", &(log + &picture(&model, 80, 24).unwrap()));
}

#[test]
fn help_covers_the_table() {
    let mut model = model();
    model.write = true;
    model.key(Key::Letter('?'));
    sample::golden("top-help", &picture(&model, 80, 24).unwrap());
}

#[test]
fn a_deadlock_is_in_the_title() {
    let mut facts = sample::facts();
    let wait = Wait { role: "engine".into(), name: "GetHead".into(), age_millis: 9, holds_mailbox: true };
    facts.instances[0].mailbox.as_mut().unwrap().waits.push(wait);
    let mut model = Model::default();
    model.look(Look { facts, close: None });
    assert!(picture(&model, 100, 24).unwrap().lines().next().unwrap().contains("DEADLOCK engine → storage"));
}

#[test]
fn any_size_can_be_drawn() {
    for (width, height) in [(1, 1), (10, 3), (40, 10), (80, 5), (300, 100)] {
        for detail in [false, true] {
            let mut model = model();
            model.detail = detail;
            model.help = height == 10;
            assert!(picture(&model, width, height).is_ok(), "{width}x{height}");
        }
    }
    assert!(picture(&Model::default(), 80, 24).unwrap().contains("0 of 0 answer"));
}

#[test]
fn bars_are_relative_to_the_highest() {
    assert_eq!((bars(&[0, 1, 4, 8]), bars(&[0, 0]), bars(&[])), ("▁▂▅█".into(), "▁▁".into(), String::new()));
}
