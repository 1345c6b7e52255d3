#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

use alys_proto::role::ROLES;

use super::*;

fn cluster() -> State {
    let roles = ROLES.iter().filter(|role| **role != Role::Supervisor);
    let mut instances: Vec<Instance> = roles.map(|role| Instance::new(role.name(), Some(*role), role.depends_on())).collect();
    instances.push(Instance::new("governance-1", None, &[Role::Stream]));
    State::new(Policy::default(), instances)
}

fn one() -> State {
    let mut state = State::new(Policy::default(), vec![Instance::new("storage", Some(Role::Storage), &[])]);
    state.step(Duration::ZERO, Input::Begin);
    spawned(&mut state, "storage", 10);
    state
}

fn spawned(state: &mut State, name: &str, pid: u32) -> Vec<Effect> {
    state.step(Duration::ZERO, Input::Spawned { name: name.into(), pid })
}

fn seen(state: &mut State, seconds: u64, name: &str, pid: u32, view: View) -> Vec<Effect> {
    state.step(Duration::from_secs(seconds), Input::Seen { name: name.into(), pid: Some(pid), view, jitter: Jitter::default() })
}

fn ended(state: &mut State, code: u8) -> Vec<Effect> {
    state.step(Duration::ZERO, Input::Ended { name: "storage".into(), ending: Ending::Code(code), jitter: Jitter::default() })
}

fn spawns(effects: &[Effect]) -> Vec<String> {
    let name = |effect: &Effect| if let Effect::Spawn(name) = effect { Some(name.clone()) } else { None };
    effects.iter().filter_map(name).collect()
}

fn wake_of(effects: &[Effect]) -> (u64, Duration) {
    let found = effects
        .iter()
        .find_map(|effect| if let Effect::Wake { turn, after, .. } = effect { Some((*turn, *after)) } else { None });
    found.unwrap()
}

#[test]
fn roles_start_when_what_they_need_is_ready() {
    let mut state = cluster();
    let mut order = spawns(&state.step(Duration::ZERO, Input::Begin));
    assert_eq!(order, ["storage"]);
    let mut position = 0;
    let mut all_ready = false;
    while position < order.len() {
        let name = order[position].clone();
        let pid = 100 + position as u32;
        let mut effects = spawned(&mut state, &name, pid);
        if name == "governance-1" {
            let (turn, after) = wake_of(&effects);
            assert!(!state.announced(), "a plain process has to live for a moment");
            effects.extend(state.step(after, Input::Due { name: name.clone(), turn }));
        }
        effects.extend(seen(&mut state, 0, &name, pid, View::Working));
        order.extend(spawns(&effects));
        all_ready |= effects.contains(&Effect::Report(Report::AllReady));
        position += 1;
    }
    assert_eq!(order, ["storage", "engine", "network", "sync", "chain", "bridge", "stream", "governance-1"]);
    assert!(all_ready && state.announced());
}

#[test]
fn what_only_starts_holds_the_others_back() {
    let mut state = cluster();
    state.step(Duration::ZERO, Input::Begin);
    assert!(spawns(&spawned(&mut state, "storage", 7)).is_empty());
    assert!(spawns(&seen(&mut state, 0, "storage", 7, View::Starting)).is_empty());
    assert!(spawns(&seen(&mut state, 0, "storage", 6, View::Working)).is_empty(), "an old process's view");
}

#[test]
fn a_killed_role_comes_back_after_its_wait() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    let effects =
        state.step(Duration::ZERO, Input::Ended { name: "storage".into(), ending: Ending::Signal(9), jitter: Jitter::default() });
    let (turn, after) = wake_of(&effects);
    assert_eq!(after, Duration::from_millis(250));
    assert!(spawns(&effects).is_empty(), "not before the wait");
    let due = state.step(after, Input::Due { name: "storage".into(), turn });
    assert_eq!(spawns(&due), ["storage"]);
    assert!(state.step(after, Input::Due { name: "storage".into(), turn }).is_empty(), "one wait, one start");
    assert_eq!((state.instances()[0].restarts, state.instances()[0].last_exit.as_str()), (1, "signal 9"));
}

#[test]
fn quarantine_after_the_fifth_restart_and_a_person_ends_it() {
    let mut state = one();
    for round in 0..5 {
        let (turn, _) = wake_of(&ended(&mut state, 70));
        assert_eq!(spawns(&state.step(Duration::ZERO, Input::Due { name: "storage".into(), turn })), ["storage"]);
        spawned(&mut state, "storage", 20 + round);
    }
    let effects = ended(&mut state, 70);
    assert!(matches!(effects[..], [Effect::Report(Report::Quarantined { .. })]), "{effects:?}");
    assert_eq!(state.instances()[0].phase, Phase::Quarantined);
    let asked = state.step(Duration::ZERO, Input::RestartAsked { name: "storage".into() });
    assert_eq!(spawns(&asked), ["storage"]);
}

#[test]
fn a_wrong_configuration_is_never_restarted() {
    let effects = ended(&mut one(), 78);
    assert!(matches!(effects[..], [Effect::Report(Report::Quarantined { ending: Ending::Code(78), .. })]));
}

#[test]
fn a_process_that_drained_by_itself_stays_stopped() {
    let mut state = one();
    assert_eq!(ended(&mut state, 0), [Effect::Report(Report::Stopped("storage".into()))]);
    assert_eq!(state.instances()[0].phase, Phase::Stopped);
}

#[test]
fn an_asked_restart_terminates_then_kills_then_starts() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    let effects = state.step(Duration::ZERO, Input::RestartAsked { name: "storage".into() });
    assert!(effects.contains(&Effect::Terminate { name: "storage".into(), pid: 10 }));
    let (turn, grace) = wake_of(&effects);
    let late = state.step(grace, Input::Due { name: "storage".into(), turn });
    assert_eq!(late, [Effect::Kill { name: "storage".into(), pid: 10 }]);
    assert_eq!(spawns(&ended(&mut state, 0)), ["storage"], "exit 0 after an asked restart is not `stopped`");
}

#[test]
fn a_stuck_process_is_replaced_after_ten_seconds_and_progress_resets_the_clock() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    assert!(seen(&mut state, 1, "storage", 10, View::Stuck(Duration::ZERO)).is_empty());
    seen(&mut state, 9, "storage", 10, View::Working);
    assert!(seen(&mut state, 11, "storage", 10, View::Stuck(Duration::ZERO)).is_empty());
    let effects = seen(&mut state, 21, "storage", 10, View::Stuck(Duration::ZERO));
    assert!(effects.contains(&Effect::Terminate { name: "storage".into(), pid: 10 }));
}

#[test]
fn the_observers_own_clock_counts_and_silence_counts_only_for_what_was_ready() {
    let mut state = one();
    let silent = |seconds| Input::Seen {
        name: "storage".into(),
        pid: None,
        view: View::Stuck(Duration::from_secs(seconds)),
        jitter: Jitter::default(),
    };
    assert!(state.step(Duration::ZERO, silent(60)).is_empty(), "starting");
    seen(&mut state, 0, "storage", 10, View::Working);
    assert!(!state.step(Duration::ZERO, silent(10)).is_empty());
}

#[test]
fn inputs_about_strangers_change_nothing() {
    let mut state = one();
    assert!(spawned(&mut state, "nobody", 1).is_empty());
    assert!(state.step(Duration::ZERO, Input::Due { name: "storage".into(), turn: 99 }).is_empty());
}
