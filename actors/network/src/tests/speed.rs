//! Which peer is asked for a range, against peers of known speed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use alys_proto::common::CommittedBlock;
use libp2p::PeerId;
use proptest::prelude::*;

use super::core::{greet, state};
use crate::core::limits::MEASURE_AGAIN_MILLIS;
use crate::core::{Effect, Input, Millis, State, Token};

const BLOCKS: u32 = 8;

fn range() -> Vec<CommittedBlock> {
    (1..=u64::from(BLOCKS)).map(|height| CommittedBlock { height, block: vec![0; 1_000], ..CommittedBlock::default() }).collect()
}

/// Whom a range is asked of: exactly one.
fn ask(state: &mut State, number: u64, at: Millis) -> PeerId {
    let effects = state.step(Input::Download { number, from_height: 1, count: BLOCKS, at });
    let [Effect::RequestBlocks { peer, token, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(*token, Token::Range(number));
    *peer
}

fn answer(state: &mut State, number: u64, at: Millis) {
    let effects = state.step(Input::BlocksAnswered { token: Token::Range(number), blocks: range(), at });
    assert!(matches!(&effects[..], [Effect::Downloaded { outcome: Ok(_), .. }]), "{effects:?}");
}

fn fail(state: &mut State, number: u64, at: Millis) {
    state.step(Input::DownloadFailed { token: Token::Range(number), reason: "timed out".into(), at });
}

fn shown(state: &State, peer: PeerId) -> Option<u64> {
    let peers = state.peers().peers;
    peers.iter().find(|shown| shown.peer_id == peer.to_string()).and_then(|shown| shown.bytes_per_second)
}

/// Two peers that were measured: the first took one second for a range, the second a tenth.
fn slow_and_fast(state: &mut State) -> (PeerId, PeerId) {
    greet(state, 99);
    greet(state, 99);
    let (slow, fast) = (ask(state, 1, 0), ask(state, 2, 0));
    assert_ne!(slow, fast, "each is tried");
    answer(state, 2, 100);
    answer(state, 1, 1_000);
    (slow, fast)
}

#[test]
fn the_peer_that_is_expected_to_finish_first_is_asked() {
    let mut state = state();
    let (slow, fast) = slow_and_fast(&mut state);
    let speeds = (shown(&state, slow).unwrap(), shown(&state, fast).unwrap());
    assert!((8_000..8_500).contains(&speeds.0) && (80_000..85_000).contains(&speeds.1), "{speeds:?}");
    let asked: Vec<_> = (10..21).map(|number| ask(&mut state, number, 1_000)).collect();
    assert_eq!(asked.iter().filter(|peer| **peer == fast).count(), 10, "as much as it does while the other does one");
    assert_eq!(asked.iter().position(|peer| *peer == slow), Some(9), "and ten are equally soon done by whoever has less");
}

#[test]
fn a_newcomer_is_tried_once_and_then_judged_by_what_it_did() {
    let mut state = state();
    let (_, fast) = slow_and_fast(&mut state);
    let newcomer = greet(&mut state, 99);
    assert_eq!(shown(&state, newcomer), None);
    assert_eq!(ask(&mut state, 3, 1_000), newcomer);
    assert_eq!([4, 5].map(|number| ask(&mut state, number, 1_000)), [fast, fast], "it is on trial");
    answer(&mut state, 3, 1_010);
    assert_eq!(ask(&mut state, 6, 1_010), newcomer, "the fastest of all");
}

#[test]
fn who_fails_loses_to_who_answers_until_it_is_tried_again() {
    let mut state = state();
    let (slow, fast) = slow_and_fast(&mut state);
    for (number, seconds) in [(3, 1), (4, 1), (5, 1), (6, 1)] {
        assert_eq!(ask(&mut state, number, seconds * 1_000), fast, "{number}");
        fail(&mut state, number, seconds * 1_000);
    }
    let timed_out = 27_000;
    assert_eq!(ask(&mut state, 7, 1_000), slow, "refused four times, it is below the slow one");
    answer(&mut state, 7, 2_000);
    let left = MEASURE_AGAIN_MILLIS + 999;
    for number in 8..20 {
        assert_eq!(ask(&mut state, number, timed_out), slow);
        answer(&mut state, number, timed_out + 500);
    }
    assert_eq!(ask(&mut state, 20, left), slow, "not yet");
    assert_eq!(ask(&mut state, 21, left + 1), fast, "a minute after it was asked last");
    answer(&mut state, 21, left + 50);
    answer(&mut state, 20, left + 501);
    assert_eq!(ask(&mut state, 22, left + 501), fast, "it has recovered at once");
}

#[test]
fn a_timeout_and_a_bad_range_cost_speed_like_a_refusal() {
    let bad = |token| Input::BlocksAnswered { token, blocks: Vec::new(), at: 2_000 };
    let late = |token| Input::DownloadFailed { token, reason: "timed out".into(), at: 27_000 };
    let fates: [&dyn Fn(Token) -> Input; 2] = [&bad, &late];
    for fate in fates {
        let mut state = state();
        let (slow, fast) = slow_and_fast(&mut state);
        let before = shown(&state, fast).unwrap();
        assert_eq!(ask(&mut state, 3, 1_000), fast);
        let input = fate(Token::Range(3));
        state.step(input);
        assert!(shown(&state, fast).unwrap() < before / 10, "{before}");
        assert_eq!(ask(&mut state, 4, 27_000), slow);
    }
}

#[test]
fn a_head_says_nothing_of_speed() {
    let mut state = state();
    let peer = greet(&mut state, 99);
    let head = crate::tests::kit::block(99);
    let handshake = alys_proto::network::Handshake {
        head_height: 99,
        head_hash: vec![1; 32],
        ..crate::core::handshake::Us::new(&crate::tests::kit::spec()).handshake()
    };
    state.step(Input::HandshakeAnswered { peer, handshake });
    state.step(Input::BlocksAnswered { token: Token::Head(peer), blocks: vec![head], at: 5 });
    assert_eq!(shown(&state, peer), None);
}

/// Sync with some workers, and peers each with a line that carries so many bytes a millisecond, one range after the other.
/// Returns how many ranges each line carried when `ranges` were done, without the first few, when nobody knew them.
fn synchronise(lines: &[u64], workers: u64, ranges: u64) -> Vec<u64> {
    let mut state = state();
    let peers: Vec<_> = lines.iter().map(|_| greet(&mut state, 99)).collect();
    let mut free_at = vec![0; lines.len()];
    let mut carried = vec![0; lines.len()];
    let mut coming = BinaryHeap::new();
    let mut asked_of = BTreeMap::new();
    let mut begin = |state: &mut State, coming: &mut BinaryHeap<_>, asked_of: &mut BTreeMap<u64, PeerId>, number, at: Millis| {
        let peer = ask(state, number, at);
        assert!(asked_of.insert(number, peer).is_none(), "a range is asked of one peer");
        let line = peers.iter().position(|known| *known == peer).unwrap();
        free_at[line] = at.max(free_at[line]) + 8_000 / lines[line];
        coming.push(Reverse((free_at[line], number, line)));
    };
    for number in 0..workers {
        begin(&mut state, &mut coming, &mut asked_of, number, 0);
    }
    for number in workers..workers + ranges {
        let Reverse((at, done, line)) = coming.pop().unwrap();
        answer(&mut state, done, at);
        assert!(asked_of.remove(&done).is_some() && asked_of.len() as u64 == workers - 1);
        if number >= 4 * workers {
            carried[line] += 1;
        }
        begin(&mut state, &mut coming, &mut asked_of, number, at);
    }
    carried
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// At least half of what its speed would be worth: the slow one is measured again each minute.
    #[test]
    fn a_fast_peer_carries_more_in_proportion(slow in 1u64..20, times in 2u64..10, workers in 1u64..7, first in any::<bool>()) {
        let fast = slow * times;
        let lines = if first { [fast, slow] } else { [slow, fast] };
        let carried = synchronise(&lines, workers, 200);
        let (by_fast, by_slow) = if first { (carried[0], carried[1]) } else { (carried[1], carried[0]) };
        prop_assert!(by_fast * 2 >= by_slow * times, "{by_fast} and {by_slow}, {times} times as fast");
    }
}
