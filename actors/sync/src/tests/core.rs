//! Scripts of inputs against the core.

use super::kit;
use crate::core::{Effect, Input, Phase, RangeFault, Settings, State, Tip};

fn state() -> State {
    State::new(Settings { batch: 10, retry_min: 500, retry_max: 4_000 })
}

fn at(height: u64) -> Input {
    Input::Head(Ok(Tip { height, hash: vec![1; 32] }))
}

#[test]
fn a_cluster_that_is_behind_catches_up_range_by_range() {
    let mut state = state();
    assert_eq!(state.step(Input::Required { local: 0, target: 15 }), [Effect::ReadHead]);
    for (head, from, count) in [(0, 1, 10), (10, 11, 5)] {
        assert_eq!(state.step(at(head)), [Effect::Fetch { from, count }]);
        let blocks = kit::chain(1);
        let effects = state.step(Input::Fetched(Ok((blocks.clone(), "peer".into()))));
        assert!(matches!(&effects[..], [Effect::Check { tip, .. }] if tip.height == head));
        let effects = state.step(Input::Checked { peer: "peer".into(), outcome: Ok(blocks.clone()) });
        assert_eq!(effects, [Effect::Import(blocks)]);
        assert_eq!(state.step(Input::Imported(Ok(head + u64::from(count)))), [Effect::ReadHead]);
    }
    assert!(state.is_syncing());
    assert!(state.step(at(15)).is_empty());
    assert_eq!((state.phase(), state.local(), state.target(), state.counted().0), (Phase::Idle, 15, 15, 15));
}

#[test]
fn what_is_no_news_starts_nothing_and_a_higher_target_is_remembered() {
    let mut state = state();
    assert!(state.step(Input::Required { local: 5, target: 5 }).is_empty());
    state.step(Input::Required { local: 5, target: 6 });
    assert!(state.step(Input::Required { local: 5, target: 9 }).is_empty(), "one at a time");
    assert_eq!(state.step(at(5)), [Effect::Fetch { from: 6, count: 4 }]);
    assert!(state.step(Input::Required { local: 5, target: 3 }).is_empty());
    assert_eq!(state.target(), 9);
}

#[test]
fn failures_are_retried_with_growing_waits_until_something_works() {
    let mut state = state();
    state.step(Input::Required { local: 0, target: 5 });
    for wait in [500, 1_000, 2_000, 4_000, 4_000] {
        state.step(at(0));
        assert_eq!(state.step(Input::Fetched(Err("no peer".into()))), [Effect::Wait(wait)]);
        assert_eq!(state.step(Input::Woken), [Effect::ReadHead]);
    }
    assert_eq!(state.failures(), (5, "no peer"));
    state.step(at(0));
    state.step(Input::Fetched(Ok((kit::chain(1), "peer".into()))));
    state.step(Input::Checked { peer: "peer".into(), outcome: Ok(kit::chain(1)) });
    state.step(Input::Imported(Ok(1)));
    assert_eq!(state.failures().0, 0);
}

#[test]
fn a_bad_range_is_blamed_and_a_chain_that_takes_nothing_is_a_failure() {
    let mut state = state();
    state.step(Input::Required { local: 0, target: 5 });
    state.step(at(0));
    state.step(Input::Fetched(Ok((Vec::new(), "liar".into()))));
    let effects = state.step(Input::Checked { peer: "liar".into(), outcome: Err(RangeFault::Empty) });
    assert!(matches!(&effects[..], [Effect::Wait(500), Effect::Blame { peer, .. }] if peer == "liar"));
    state.step(Input::Woken);
    state.step(at(0));
    state.step(Input::Fetched(Ok((kit::chain(1), "peer".into()))));
    state.step(Input::Checked { peer: "peer".into(), outcome: Ok(kit::chain(1)) });
    assert_eq!(state.step(Input::Imported(Ok(0))), [Effect::Wait(1_000)]);
}

#[test]
fn a_fork_stops_sync_for_good() {
    let mut state = state();
    state.step(Input::Required { local: 2, target: 5 });
    state.step(at(2));
    state.step(Input::Fetched(Ok((kit::chain(1), "peer".into()))));
    let fork = RangeFault::Fork { height: 3, parent: "aa".into(), below: 2, ours: "bb".into() };
    assert!(state.step(Input::Checked { peer: "peer".into(), outcome: Err(fork) }).is_empty());
    assert!(state.step(Input::Required { local: 2, target: 9 }).is_empty());
    assert_eq!(state.phase(), Phase::Forked);
    assert!(state.failures().1.contains("FORK"));
}

#[test]
fn answers_that_nobody_waits_for_are_dropped() {
    let mut state = state();
    for input in [Input::Woken, at(3), Input::Imported(Ok(9)), Input::Fetched(Err("late".into()))] {
        assert!(state.step(input).is_empty());
    }
    assert_eq!((state.phase(), state.failures().0), (Phase::Idle, 0));
    state.step(Input::Served(7));
    assert_eq!(state.counted(), (0, 7));
}
