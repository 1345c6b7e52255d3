#![allow(clippy::unwrap_used)]

use super::super::super::sample;
use super::*;

fn later(facts: &Facts, millis: u64, more: u64) -> Look {
    let mut facts = facts.clone();
    facts.unix_millis += millis;
    for mailbox in facts.instances.iter_mut().filter_map(|instance| instance.mailbox.as_mut()) {
        mailbox.handled += more;
    }
    Look { facts, close: None }
}

fn model() -> Model {
    let mut model = Model::default();
    model.look(Look { facts: sample::facts(), close: None });
    model
}

#[test]
fn rates_come_from_two_looks_and_survive_a_restart() {
    let mut model = model();
    assert_eq!(model.rate("storage"), None, "one look is no rate");
    model.look(later(&sample::facts(), 500, 100));
    assert_eq!(model.rate("storage"), Some(200));
    assert_eq!(model.rate("chain"), None, "it is gone");
    let mut restarted = later(&sample::facts(), 1_500, 0);
    restarted.facts.instances[0].mailbox.as_mut().unwrap().handled = 30;
    model.look(restarted);
    assert_eq!(model.trend("storage", 5), [200, 30]);
    for step in 0..200 {
        model.look(later(&sample::facts(), 2_000 + step * 10, 0));
    }
    assert_eq!(model.trend("storage", 1_000).len(), TREND);
}

#[test]
fn keys_select_sort_and_turn_pages() {
    let mut model = model();
    assert_eq!(model.selected, "storage");
    for (key, selected) in [(Key::Up, "storage"), (Key::Down, "engine"), (Key::Letter('j'), "chain"), (Key::Up, "engine")] {
        assert_eq!((model.key(key), model.selected.as_str()), (Act::Nothing, selected));
    }
    for _ in 0..20 {
        model.key(Key::Down);
    }
    assert_eq!(model.selected, "governance-1", "the last one");
    model.key(Key::Letter('s'));
    assert_eq!(model.sort, Sort::Depth);
    assert_eq!(model.rows()[1].instance, "engine");
    model.key(Key::Enter);
    assert!(model.detail);
    model.key(Key::Back);
    assert!(!model.detail);
    for pane in [Pane::Waits, Pane::Log, Pane::Messages] {
        model.key(Key::Next);
        assert_eq!(model.pane, pane);
    }
    model.key(Key::Letter('?'));
    assert!(model.help);
    assert_eq!(model.key(Key::Letter('x')), Act::Nothing);
    assert!(!model.help, "any key closes the help");
    assert_eq!(model.key(Key::Letter('q')), Act::Quit);
}

#[test]
fn nothing_is_changed_without_write() {
    let mut model = model();
    assert_eq!(model.key(Key::Letter('f')), Act::Nothing);
    assert!(model.notice.as_ref().unwrap().contains("--write"));
    model.write = true;
    assert_eq!(model.key(Key::Letter('f')), Act::Change(Change::Freeze, "storage".into()));
    assert_eq!(model.key(Key::Letter('n')), Act::Change(Change::Step, "storage".into()));
    assert_eq!(model.key(Key::Letter('t')), Act::Change(Change::Thaw, "storage".into()));
    model.selected = "governance-1".into();
    assert_eq!(model.key(Key::Letter('f')), Act::Nothing);
    model.file = Some("x".into());
    assert_eq!(model.key(Key::Letter('f')), Act::Nothing);
    assert!(model.notice.as_ref().unwrap().contains("snapshot"));
}

#[test]
fn a_pause_keeps_the_picture() {
    let mut model = model();
    model.key(Key::Letter('p'));
    model.look(Look::default());
    assert_eq!(model.facts, sample::facts());
    model.key(Key::Letter('p'));
    model.look(Look::default());
    assert!(model.facts.instances.is_empty() && model.selected.is_empty());
}
