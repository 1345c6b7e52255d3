//! What a peer does to the node rather than to the chain: streams, silence, slowness.

use alys_proto::storage::GetBlocks;
use libp2p::PeerId;

use super::core::{address, connect, disconnects, greet, is_refused, state};
use crate::core::{Effect, Input, State};

/// What the ban says, if there is one.
fn banned(state: &State, peer: PeerId) -> Option<String> {
    state.peers().banned.into_iter().find(|banned| banned.peer_id == peer.to_string()).map(|banned| banned.reason)
}

/// How often something can happen before the peer is disconnected.
fn times_until_cut(state: &mut State, input: impl Fn() -> Input) -> usize {
    (1..10_000).find(|_| disconnects(&state.step(input()))).unwrap()
}

#[test]
fn slow_requests_and_unread_answers_add_up_to_a_ban() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    assert_eq!(times_until_cut(&mut state, || Input::Slow { peer }), 10);
    assert!(banned(&state, peer).unwrap().contains("slow"));
    let peer = greet(&mut state, 0);
    assert_eq!(times_until_cut(&mut state, || Input::AnswerEnded { peer, answer: 1, too_slow: true }), 10);
    assert_eq!(state.counters().slow, 20);
    let peer = greet(&mut state, 0);
    assert!(
        (0..100).all(|answer| state.step(Input::AnswerEnded { peer, answer, too_slow: false }).is_empty()),
        "as it should be"
    );
}

#[test]
fn more_streams_than_anybody_needs_are_a_flood() {
    let mut state = state();
    let peer = connect(&mut state);
    assert_eq!(times_until_cut(&mut state, || Input::StreamOpened { peer }), 128 + 100, "a burst, then a hundred more");
    assert!(banned(&state, peer).unwrap().contains("too much"));
    assert!(state.step(Input::StreamOpened { peer: PeerId::random() }).is_empty(), "of a connection that is gone");
    let peer = greet(&mut state, 0);
    for second in 1..=60 {
        state.step(Input::Tick { now: second * 1_000, random: 0 });
        assert!((0..32).all(|_| state.step(Input::StreamOpened { peer }).is_empty()), "within the rate");
    }
}

#[test]
fn whom_gossip_trusts_no_more_is_banned_once() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    let effects = state.step(Input::Distrusted { peer });
    assert!(disconnects(&effects) && effects.contains(&Effect::Ban { peer, banned: true }));
    assert!(state.step(Input::Distrusted { peer }).is_empty() && state.step(Input::Malformed { peer }).is_empty());
    assert_eq!((state.counters().bans, banned(&state, peer).unwrap().contains("forged")), (1, true));
}

#[test]
fn who_comes_again_and_again_and_says_nothing_is_banned() {
    let mut state = state();
    let peer = PeerId::random();
    let mut now = 0;
    let is_let_in = |state: &mut State| !disconnects(&state.step(Input::Connected { peer, address: address(), outbound: false }));
    let mut times = 0;
    while is_let_in(&mut state) {
        now += 10_000;
        times += 1;
        assert!(disconnects(&state.step(Input::Tick { now, random: 0 })));
        state.step(Input::Disconnected { peer });
    }
    assert_eq!((times, banned(&state, peer).is_some()), (9, true));
}

#[test]
fn what_is_asked_before_the_handshake_is_refused_and_counts_as_a_flood() {
    let mut state = state();
    let peer = connect(&mut state);
    assert!(is_refused(&[state.step(Input::BlocksAsked { peer, request: GetBlocks::default(), answer: 1 }).remove(0)]));
    let asked = || Input::BlocksAsked { peer, request: GetBlocks::default(), answer: 1 };
    assert_eq!(times_until_cut(&mut state, asked), 99);
}
