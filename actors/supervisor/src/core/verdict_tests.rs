#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

use proptest::prelude::*;

use super::*;
// Not the trait of the same name in the prelude of proptest.
use super::Strategy;

const SECOND: Duration = Duration::from_secs(1);

fn ended(code: u8) -> Observation {
    Observation::Ended(Ending::Code(code))
}

fn after_restarts(count: u32, now: Moment) -> History {
    let mut history = History::default();
    for _ in 0..count {
        let verdict = Verdict { decision: Decision::Restart { after: SECOND }, strategy: None, opens_circuit: false };
        history.record(&verdict, now);
    }
    history
}

fn at_once(history: &History, observation: Observation) -> Verdict {
    decide(&Policy::default(), history, observation, SECOND, Jitter::default())
}

#[test]
fn first_failure_by_the_table() {
    let first = Decision::Restart { after: Duration::from_millis(250) };
    let table = [
        (ended(exit::DONE), Decision::Stop, None),
        (ended(exit::USAGE), Decision::Escalate, Some(Strategy::Escalation)),
        (ended(exit::CONFIGURATION), Decision::Escalate, Some(Strategy::Escalation)),
        (ended(exit::BUG), first, Some(Strategy::Backoff)),
        (ended(101), first, Some(Strategy::Backoff)),
        (ended(exit::WEDGED), first, Some(Strategy::Backoff)),
        (ended(exit::FENCED), first, Some(Strategy::Backoff)),
        (ended(exit::TEMPORARY), first, Some(Strategy::CircuitBreaker)),
        (ended(exit::RESTART), Decision::Restart { after: Duration::ZERO }, Some(Strategy::Immediate)),
        (Observation::Ended(Ending::Signal(9)), first, Some(Strategy::Backoff)),
        (Observation::Ended(Ending::NotStarted), first, Some(Strategy::Backoff)),
        (Observation::Alive, Decision::Resume, None),
        (Observation::Silent(4 * SECOND), Decision::Resume, None),
        (Observation::Silent(5 * SECOND), first, Some(Strategy::Backoff)),
        (Observation::Wedged, first, Some(Strategy::Backoff)),
    ];
    for (observation, decision, strategy) in table {
        let verdict = at_once(&History::default(), observation);
        assert_eq!((verdict.decision, verdict.strategy), (decision, strategy), "{observation:?}");
    }
}

#[test]
fn over_the_limit_by_the_table() {
    let history = after_restarts(5, SECOND);
    for code in [exit::BUG, exit::WEDGED, exit::CONFIGURATION] {
        assert_eq!(at_once(&history, ended(code)).decision, Decision::Escalate, "{code}");
    }
    for code in [exit::TEMPORARY, exit::RESTART] {
        let open = at_once(&history, ended(code));
        assert_eq!(open.decision, Decision::Restart { after: Duration::from_secs(30) });
        assert!(open.opens_circuit);
    }
}

#[test]
fn each_strategy_can_be_chosen_for_each_failure() {
    let history = after_restarts(5, SECOND);
    for strategy in [Strategy::Immediate, Strategy::Backoff, Strategy::CircuitBreaker, Strategy::Escalation] {
        let policy = Policy {
            on_restart_me: strategy,
            on_temporary: strategy,
            on_configuration: strategy,
            on_failure: strategy,
            on_wedged: strategy,
            ..Policy::default()
        };
        let failures = [ended(exit::RESTART), ended(exit::TEMPORARY), ended(exit::CONFIGURATION), ended(9), Observation::Wedged];
        for observation in failures {
            let verdict = |history| decide(&policy, history, observation, SECOND, Jitter::default());
            let expected = match strategy {
                Strategy::Immediate => {
                    (Decision::Restart { after: Duration::ZERO }, Decision::Restart { after: policy.cool_down })
                }
                Strategy::Backoff => (Decision::Restart { after: policy.first_delay }, Decision::Escalate),
                Strategy::CircuitBreaker => {
                    (Decision::Restart { after: policy.first_delay }, Decision::Restart { after: policy.cool_down })
                }
                Strategy::Escalation => (Decision::Escalate, Decision::Escalate),
            };
            let decided = (verdict(&History::default()).decision, verdict(&history).decision);
            assert_eq!(decided, expected, "{strategy:?} for {observation:?}");
        }
    }
}

#[test]
fn restarts_outside_the_window_do_not_count() {
    let mut history = after_restarts(5, Duration::ZERO);
    let later = Duration::from_secs(61);
    history.failed(&Policy::default(), later);
    let verdict = decide(&Policy::default(), &history, ended(exit::BUG), later, Jitter::default());
    assert!(matches!(verdict.decision, Decision::Restart { .. }));
}

#[test]
fn the_wait_doubles_up_to_the_longest() {
    let waits: Vec<u128> = (0..9).map(|streak| backoff(&Policy::default(), streak).as_millis()).collect();
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
}

#[test]
fn ten_healthy_minutes_forget_the_streak_and_less_does_not() {
    for (healthy, expected) in [(600, 250), (599, 1000)] {
        let mut history = after_restarts(2, SECOND);
        history.ready(SECOND);
        let now = Duration::from_secs(1 + healthy);
        history.failed(&Policy::default(), now);
        let verdict = decide(&Policy::default(), &history, ended(exit::BUG), now, Jitter::default());
        assert_eq!(verdict.decision, Decision::Restart { after: Duration::from_millis(expected) }, "{healthy} s");
    }
}

#[test]
fn a_half_open_circuit_reopens_on_failure_and_closes_on_health() {
    let policy = Policy::default();
    let mut history = after_restarts(5, SECOND);
    let open = at_once(&history, ended(exit::TEMPORARY));
    history.record(&open, SECOND);

    let later = Duration::from_secs(200);
    history.failed(&policy, later);
    let again = decide(&policy, &history, ended(exit::TEMPORARY), later, Jitter::default());
    assert!(again.opens_circuit, "the one try failed, though the window is empty");

    history.ready(later);
    let end = later + Duration::from_secs(100);
    history.failed(&policy, end);
    assert!(!decide(&policy, &history, ended(exit::TEMPORARY), end, Jitter::default()).opens_circuit);
}

proptest! {
    #[test]
    fn a_wait_stays_within_its_jitter(streak in 0u32..64, thousandths in any::<i16>()) {
        let policy = Policy::default();
        let wait = backoff(&policy, streak);
        let varied = vary(&policy, wait, Jitter::new(thousandths));
        prop_assert!(varied >= wait * 8 / 10 && varied <= wait * 12 / 10, "{varied:?} of {wait:?}");
    }

    #[test]
    fn no_storm_ever(gaps in proptest::collection::vec(0u64..5_000, 1..200), code in prop_oneof![Just(70u8), Just(80), Just(75), Just(101)]) {
        // Whatever the timing: at most the limit and what open circuits let through (two cool-downs fit in a window).
        let policy = Policy::default();
        let mut history = History::default();
        let mut now = Duration::ZERO;
        let mut restarts: Vec<Moment> = Vec::new();
        for gap in gaps {
            now += Duration::from_millis(gap);
            history.failed(&policy, now);
            let verdict = decide(&policy, &history, Observation::Ended(Ending::Code(code)), now, Jitter::default());
            history.record(&verdict, now);
            if let Decision::Restart { after } = verdict.decision {
                if !verdict.opens_circuit {
                    restarts.push(now);
                }
                now += after;
            }
            let recent = restarts.iter().filter(|at| now.saturating_sub(**at) < policy.window).count();
            prop_assert!(recent <= policy.max_restarts as usize);
        }
    }
}
