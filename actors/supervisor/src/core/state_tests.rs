#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

use alys_proto::role::ROLES;

use super::*;
use crate::core::policy::Policy;

fn cluster() -> State {
    let roles = ROLES.iter().filter(|role| **role != Role::Supervisor);
    let mut instances: Vec<Instance> =
        roles.map(|role| Instance::new(role.name(), Some(*role), role.depends_on(), Policy::default())).collect();
    instances.push(Instance::new("governance-1", None, &[Role::Stream], Policy::default()));
    State::new(instances)
}

fn one() -> State {
    let mut state = State::new(vec![Instance::new("storage", Some(Role::Storage), &[], Policy::default())]);
    state.step(Duration::ZERO, Input::Begin);
    spawned(&mut state, "storage", 10);
    state
}

fn spawned(state: &mut State, name: &str, pid: u32) -> Vec<Effect> {
    state.step(Duration::ZERO, Input::Spawned { name: name.into(), pid })
}

fn seen(state: &mut State, seconds: u64, name: &str, pid: u32, view: View) -> Vec<Effect> {
    looked(state, seconds, vec![Sight { name: name.into(), pid, view }])
}

fn looked(state: &mut State, seconds: u64, sights: Vec<Sight>) -> Vec<Effect> {
    state.step(
        Duration::from_secs(seconds),
        Input::Looked { sights, elsewhere: BTreeSet::new(), foreign: vec![], jitter: Jitter::default() },
    )
}

fn ask(state: &mut State, input: fn(String) -> Input) -> Vec<Effect> {
    state.step(Duration::ZERO, input("storage".into()))
}

fn drain(name: String) -> Input {
    Input::DrainAsked { name }
}

fn resume(name: String) -> Input {
    Input::ResumeAsked { name }
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

const KILL: &str = "storage";

fn kills(effects: &[Effect]) -> bool {
    effects.contains(&Effect::Kill { name: KILL.into(), pid: 10 })
}

#[test]
fn a_process_that_says_it_is_wedged_is_killed_at_once_and_started_after_its_wait() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    assert!(kills(&seen(&mut state, 1, "storage", 10, View::Wedged("GetHead".into()))));
    assert!(seen(&mut state, 2, "storage", 10, View::Wedged("GetHead".into())).is_empty(), "one kill is enough");
    let effects = ended(&mut state, 0);
    let (turn, after) = wake_of(&effects);
    assert_eq!((state.instances()[0].phase, after), (Phase::BackingOff, Duration::from_millis(250)));
    assert_eq!(spawns(&state.step(after, Input::Due { name: "storage".into(), turn })), ["storage"]);
}

#[test]
fn a_silent_process_is_replaced_after_five_seconds_and_an_answer_resets_the_clock() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    for second in 1..=4 {
        assert!(looked(&mut state, second, vec![]).is_empty());
    }
    seen(&mut state, 5, "storage", 10, View::Working);
    for second in 6..=9 {
        assert!(seen(&mut state, second, "storage", 9, View::Working).is_empty(), "an old process's answer counts for nothing");
    }
    assert!(kills(&looked(&mut state, 10, vec![])));
}

#[test]
fn a_supervisor_that_was_frozen_blames_nobody() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    assert!(looked(&mut state, 3_600, vec![]).is_empty());
    assert!(seen(&mut state, 3_601, "storage", 10, View::Working).is_empty());
}

#[test]
fn a_process_on_its_way_has_longer_and_not_for_ever() {
    let mut state = one();
    for second in 1..=29 {
        assert!(looked(&mut state, second, vec![]).is_empty(), "{second}");
    }
    assert!(kills(&looked(&mut state, 30, vec![])));
}

#[test]
fn a_process_wedged_again_and_again_is_quarantined_and_ended() {
    let mut state = one();
    for _ in 0..5 {
        seen(&mut state, 0, "storage", 10, View::Working);
        seen(&mut state, 0, "storage", 10, View::Wedged("x".into()));
        let (turn, _) = wake_of(&ended(&mut state, 0));
        state.step(Duration::ZERO, Input::Due { name: "storage".into(), turn });
        spawned(&mut state, "storage", 10);
    }
    assert!(kills(&seen(&mut state, 0, "storage", 10, View::Wedged("x".into()))));
    ended(&mut state, 0);
    assert_eq!((state.instances()[0].phase, state.instances()[0].pid), (Phase::Quarantined, None));
    assert_eq!(spawns(&ask(&mut state, resume)), ["storage"]);
}

#[test]
fn a_drained_role_stays_stopped_until_it_is_resumed() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    assert!(ask(&mut state, drain).contains(&Effect::Terminate { name: "storage".into(), pid: 10 }));
    assert_eq!(state.instances()[0].phase, Phase::Draining);
    // However it ends: it was asked to.
    assert_eq!(ended(&mut state, 75), [Effect::Report(Report::Drained("storage".into()))]);
    assert!(spawns(&ask(&mut state, |name| Input::RestartAsked { name })).is_empty());
    assert_eq!(state.instances()[0].phase, Phase::Drained);
    assert_eq!(spawns(&ask(&mut state, resume)), ["storage"]);
}

#[test]
fn a_drain_that_outlasts_its_grace_is_ended_and_one_that_is_resumed_meanwhile_starts_again() {
    let mut state = one();
    let (turn, grace) = wake_of(&ask(&mut state, drain));
    assert_eq!(grace, Duration::from_secs(6));
    ask(&mut state, resume);
    assert!(kills(&state.step(grace, Input::Due { name: "storage".into(), turn })));
    assert_eq!(spawns(&ended(&mut state, 0)), ["storage"]);
}

#[test]
fn a_drain_reaches_a_process_that_is_only_being_made() {
    let mut state = State::new(vec![Instance::new("storage", Some(Role::Storage), &[], Policy::default())]);
    state.step(Duration::ZERO, Input::Begin);
    assert!(ask(&mut state, drain).is_empty(), "there is no process yet");
    assert!(spawned(&mut state, "storage", 10).contains(&Effect::Terminate { name: "storage".into(), pid: 10 }));
    ended(&mut state, 0);
    assert_eq!(state.instances()[0].phase, Phase::Drained);
}

#[test]
fn a_scaled_instance_starts_and_is_forgotten_when_it_has_drained() {
    let mut state = one();
    seen(&mut state, 0, "storage", 10, View::Working);
    let worker = || Box::new(Instance::new("sync-2", Some(Role::Sync), &[Role::Storage], Policy::default()));
    assert_eq!(spawns(&state.step(Duration::ZERO, Input::Added(worker()))), ["sync-2"]);
    spawned(&mut state, "sync-2", 11);
    let name = || "sync-2".to_owned();
    let gone = state.step(Duration::ZERO, Input::Removed { name: name() });
    assert!(gone.contains(&Effect::Terminate { name: name(), pid: 11 }));
    let ended = |state: &mut State| {
        state.step(Duration::ZERO, Input::Ended { name: name(), ending: Ending::Code(0), jitter: Jitter::default() })
    };
    // Wanted again before it was gone: it comes back; then not wanted for good.
    state.step(Duration::ZERO, Input::Added(worker()));
    assert_eq!(spawns(&ended(&mut state)), ["sync-2"]);
    spawned(&mut state, "sync-2", 12);
    state.step(Duration::ZERO, Input::Removed { name: name() });
    assert_eq!(ended(&mut state), [Effect::Forget(name())]);
    assert_eq!(state.instances().len(), 1);
}

#[test]
fn what_another_host_or_platform_runs_lets_ours_start() {
    let mut state = State::new(vec![Instance::new("engine", Some(Role::Engine), &[Role::Storage], Policy::default())]);
    assert!(state.step(Duration::ZERO, Input::Begin).is_empty());
    let elsewhere = BTreeSet::from([Role::Storage]);
    let effects =
        state.step(Duration::ZERO, Input::Looked { sights: vec![], elsewhere, foreign: vec![], jitter: Jitter::default() });
    assert_eq!(spawns(&effects), ["engine"]);
}

#[test]
fn an_adopted_process_that_was_to_drain_is_told_again() {
    let mut state = one();
    state.instances[0].phase = Phase::Drained;
    let effects = state.step(Duration::ZERO, Input::Adopted { name: "storage".into(), pid: 11 });
    assert!(effects.contains(&Effect::Terminate { name: "storage".into(), pid: 11 }), "{effects:?}");
}

#[test]
fn an_adopted_process_is_not_started_again() {
    let mut state = State::new(vec![Instance::new("storage", Some(Role::Storage), &[], Policy::default())]);
    state.step(Duration::ZERO, Input::Adopted { name: "storage".into(), pid: 10 });
    assert!(state.step(Duration::ZERO, Input::Begin).is_empty());
    let effects = seen(&mut state, 0, "storage", 10, View::Working);
    assert_eq!(effects, [Effect::Report(Report::Ready("storage".into())), Effect::Report(Report::AllReady)]);
    let gone = Input::Ended { name: "storage".into(), ending: Ending::Unknown, jitter: Jitter::default() };
    assert_eq!(wake_of(&state.step(Duration::ZERO, gone)).1, Duration::from_millis(250), "its exit code is not known: a failure");
}

#[test]
fn inputs_about_strangers_change_nothing() {
    let mut state = one();
    assert!(spawned(&mut state, "nobody", 1).is_empty());
    assert!(state.step(Duration::ZERO, Input::Due { name: "storage".into(), turn: 99 }).is_empty());
}
