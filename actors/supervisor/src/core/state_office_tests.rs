//! Two supervisors: who stands by starts and ends nothing, and what runs elsewhere is left alone.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::policy::Policy;

const SECOND: Duration = Duration::from_secs(1);

/// Storage and chain, planned and not begun.
fn planned() -> State {
    let chain = Instance::new("chain", Some(Role::Chain), &[Role::Storage], Policy::default());
    State::new(vec![Instance::new("storage", Some(Role::Storage), &[], Policy::default()), chain])
}

fn office(state: &mut State, office: Office) -> Vec<Effect> {
    state.step(SECOND, Input::Office(office))
}

fn spawned(state: &mut State, name: &str, pid: u32) {
    state.step(SECOND, Input::Spawned { name: name.into(), pid });
}

fn ended(state: &mut State, name: &str) -> Vec<Effect> {
    let ending = Ending::Code(crate::core::exit::RESTART);
    state.step(SECOND, Input::Ended { name: name.into(), ending, jitter: Jitter::default() })
}

fn looked(state: &mut State, seconds: u32, sights: &[(&str, u32, View)], foreign: &[(&str, bool)]) -> Vec<Effect> {
    let sights =
        sights.iter().map(|(name, pid, view)| Sight { name: (*name).to_owned(), pid: *pid, view: view.clone() }).collect();
    let foreign = foreign.iter().map(|(name, here)| Foreign { name: (*name).to_owned(), here: *here, works: true }).collect();
    let jitter = Jitter::default();
    state.step(seconds * SECOND, Input::Looked { sights, elsewhere: BTreeSet::new(), foreign, jitter })
}

fn due(state: &mut State, effects: &[Effect]) -> Vec<Effect> {
    let wakes = effects.iter().filter_map(|effect| match effect {
        Effect::Wake { name, turn, .. } => Some(Input::Due { name: name.clone(), turn: *turn }),
        _ => None,
    });
    wakes.collect::<Vec<_>>().into_iter().flat_map(|due| state.step(SECOND, due)).collect()
}

fn acts(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Spawn(_) | Effect::Kill { .. } | Effect::Terminate { .. }))
}

fn phases(state: &State) -> Vec<Phase> {
    state.instances().iter().map(|instance| instance.phase).collect()
}

#[test]
fn alone_at_first_it_starts_storage_which_alone_can_give_a_lease() {
    let mut state = planned();
    assert_eq!(state.step(SECOND, Input::Begin), [Effect::Spawn("storage".into())]);
}

#[test]
fn one_that_stands_by_starts_and_ends_nothing_until_it_acts() {
    let mut state = planned();
    office(&mut state, Office::StandingBy);
    assert!(!acts(&state.step(SECOND, Input::Begin)));
    assert!(!acts(&office(&mut state, Office::Alone)), "storage is away, and it is not ours to start");
    assert_eq!(office(&mut state, Office::Acting), [Effect::Spawn("storage".into())]);

    spawned(&mut state, "storage", 7);
    looked(&mut state, 2, &[("storage", 7, View::Working)], &[]);
    office(&mut state, Office::StandingBy);
    assert!(!acts(&looked(&mut state, 3, &[("storage", 7, View::Wedged("GetHead hangs".into()))], &[])));
    for seconds in 4..60 {
        assert!(!acts(&looked(&mut state, seconds, &[], &[])), "silent at {seconds} s");
    }
    let effects = ended(&mut state, "storage");
    assert!(!acts(&effects) && !acts(&due(&mut state, &effects)), "it starts its own again");
    assert_eq!(phases(&state)[0], Phase::Waiting);
    assert!(acts(&office(&mut state, Office::Acting)));
}

#[test]
fn alone_again_it_keeps_its_own_children() {
    let mut state = planned();
    state.step(SECOND, Input::Begin);
    spawned(&mut state, "storage", 7);
    office(&mut state, Office::Acting);
    office(&mut state, Office::Alone);
    let effects = ended(&mut state, "storage");
    assert!(acts(&due(&mut state, &effects)), "storage died, and nobody starts it");
}

#[test]
fn what_another_supervisor_runs_is_left_alone_and_inherited_when_it_is_gone() {
    let mut state = planned();
    office(&mut state, Office::StandingBy);
    looked(&mut state, 1, &[], &[("storage", false), ("chain", false)]);
    state.step(SECOND, Input::Begin);
    assert!(!acts(&office(&mut state, Office::Acting)), "it took over and started what runs");
    assert_eq!(phases(&state), [Phase::Elsewhere, Phase::Elsewhere]);

    // Cut off for a moment is not gone.
    assert!(!acts(&looked(&mut state, 4, &[], &[("storage", false)])));
    assert!(!acts(&looked(&mut state, 5, &[], &[("storage", false), ("chain", false)])));
    assert!(!acts(&looked(&mut state, 7, &[], &[("storage", false)])));
    let gone = looked(&mut state, 10, &[], &[("storage", false)]);
    assert_eq!(gone, [Effect::Spawn("chain".into())], "unseen for five seconds");

    for seconds in 11..60 {
        assert!(!acts(&looked(&mut state, seconds, &[], &[])), "storage's disk is on the other host");
    }
}

#[test]
fn what_the_kernel_saw_end_is_started_at_once() {
    let mut state = planned();
    looked(&mut state, 1, &[], &[("storage", true), ("chain", true)]);
    assert!(!acts(&state.step(SECOND, Input::Begin)), "it waits for what is left of a node before");
    assert_eq!(looked(&mut state, 2, &[], &[]), [Effect::Spawn("storage".into())]);
}
