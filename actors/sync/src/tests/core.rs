//! Scripts of inputs against the leader's core.

use alys_proto::common::CommittedBlock;

use super::kit;
use crate::core::{Cut, Effect, ImportFault, Input, Phase, Piece, Settings, State, Tip};

const OWN: &str = "sync";

fn state() -> State {
    let cut = Cut { batch: 10, window: 2, patience: 60_000 };
    State::new(Settings { cut, retry_min: 500, retry_max: 4_000 })
}

fn at(height: u64) -> Input {
    Input::Head(Ok(Tip { height, hash: vec![1; 32] }))
}

fn blocks(count: usize) -> Vec<CommittedBlock> {
    vec![CommittedBlock::default(); count]
}

/// Pulls the next piece and brings it.
fn bring(state: &mut State, from: u64, count: u32) -> Vec<Effect> {
    assert_eq!(state.pull(OWN, None, 0), Some(Piece { from, count }));
    state.step(Input::Delivered { worker: OWN.into(), from, blocks: blocks(count as usize) })
}

#[test]
fn a_cluster_that_is_behind_catches_up_piece_by_piece() {
    let mut state = state();
    assert_eq!(state.pull(OWN, None, 0), None, "nothing is missing");
    assert_eq!(state.step(Input::Required { local: 0, target: 15 }), [Effect::ReadHead]);
    assert_eq!(state.pull(OWN, None, 0), None, "where we are is not known yet");
    for (head, from, count) in [(0, 1, 10), (10, 11, 5)] {
        assert_eq!(state.step(at(head)), [Effect::WakeWorker]);
        let effects = bring(&mut state, from, count);
        assert!(matches!(&effects[..], [Effect::Import { tip, worker, .. }] if tip.height == head && worker == OWN));
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
    state.step(at(5));
    assert_eq!(state.pull(OWN, None, 0), Some(Piece { from: 6, count: 4 }));
    assert!(state.step(Input::Required { local: 5, target: 3 }).is_empty());
    assert_eq!(state.target(), 9);
}

#[test]
fn pieces_come_while_chain_imports_and_wait_for_their_turn() {
    let mut state = state();
    state.step(Input::Required { local: 0, target: 20 });
    state.step(at(0));
    assert_eq!(state.pull("sync-2", None, 0), Some(Piece { from: 1, count: 10 }));
    assert!(bring(&mut state, 11, 10).is_empty(), "1 is missing");
    let first = Input::Delivered { worker: "sync-2".into(), from: 1, blocks: blocks(10) };
    assert!(matches!(&state.step(first)[..], [Effect::Import { .. }]));
    state.step(Input::Imported(Ok(10)));
    assert!(matches!(&state.step(at(10))[..], [Effect::Import { .. }, Effect::WakeWorker]));
}

#[test]
fn failures_are_retried_with_growing_waits_until_something_works() {
    let mut state = state();
    state.step(Input::Required { local: 0, target: 5 });
    for wait in [500, 1_000, 2_000, 4_000, 4_000] {
        assert_eq!(state.step(Input::Head(Err("storage is away".into()))), [Effect::Wait(wait)]);
        assert_eq!(state.step(Input::Woken), [Effect::ReadHead]);
    }
    assert_eq!(state.failures(), (5, "storage is away"));
    state.step(at(0));
    bring(&mut state, 1, 5);
    state.step(Input::Imported(Ok(5)));
    assert_eq!(state.failures().0, 0);
}

#[test]
fn a_chain_that_takes_nothing_is_a_failure_and_the_piece_is_fetched_again() {
    let mut state = state();
    state.step(Input::Required { local: 0, target: 5 });
    for (outcome, wait) in [(Ok(0), 500), (Err(ImportFault::Failed("busy".into())), 1_000)] {
        state.step(at(0));
        bring(&mut state, 1, 5);
        assert_eq!(state.step(Input::Imported(outcome)), [Effect::Wait(wait)]);
        state.step(Input::Woken);
    }
}

#[test]
fn a_fork_stops_sync_for_good() {
    let mut state = state();
    state.step(Input::Required { local: 2, target: 5 });
    state.step(at(2));
    bring(&mut state, 3, 3);
    assert!(state.step(Input::Imported(Err(ImportFault::Fork("FORK: block 3".into())))).is_empty());
    assert!(state.step(Input::Required { local: 2, target: 9 }).is_empty());
    assert_eq!((state.phase(), state.pull(OWN, None, 0)), (Phase::Forked, None));
    assert!(state.failures().1.contains("FORK"));
}

#[test]
fn a_deposed_leader_lets_go_and_can_lead_again() {
    let mut state = state();
    state.step(Input::Required { local: 0, target: 5 });
    state.step(at(0));
    state.pull(OWN, None, 0);
    assert!(state.step(Input::Deposed).is_empty());
    assert_eq!((state.phase(), state.pull(OWN, None, 0)), (Phase::Idle, None));
    let late = Input::Delivered { worker: OWN.into(), from: 1, blocks: kit::chain(5) };
    assert!(state.step(late).is_empty());
    assert_eq!(state.step(Input::Required { local: 0, target: 5 }), [Effect::ReadHead]);
}

#[test]
fn answers_that_nobody_waits_for_are_dropped() {
    let mut state = state();
    for input in [Input::Woken, at(3), Input::Imported(Ok(9)), Input::Head(Err("late".into()))] {
        assert!(state.step(input).is_empty());
    }
    assert_eq!((state.phase(), state.failures().0), (Phase::Idle, 0));
    state.step(Input::Served(7));
    assert_eq!(state.counted(), (0, 7));
}
