//! Scripts of inputs against the core, one rule each.

use alys_blocks::{CommittedFault, CommittedRules, SpokenFault};
use alys_proto::network::peer_response::Response;
use alys_proto::network::{Handshake, PeerResponse};
use alys_proto::storage::GetBlocks;
use libp2p::{Multiaddr, PeerId};

use super::kit;
use crate::core::bootnodes::Backoff;
use crate::core::gossip::{check_block, encode_block};
use crate::core::handshake::Us;
use crate::core::input::Pooling;
use crate::core::limits::{
    BAN_MILLIS, FAR_HEIGHTS, HANDSHAKE_AGAIN_MILLIS, MAX_DOWNLOADS, MAX_HEADS, MAX_HEARING, MAX_SERVING, MAX_SERVING_EACH,
    MAX_VALIDATING,
};
use crate::core::{Effect, GossipId, Input, Settings, State, Token, Topic, Verdict, Way};

pub(super) fn state() -> State {
    state_with(true)
}

fn state_with(discovery: bool) -> State {
    let backoff = Backoff { shortest: 1_000, longest: 60_000 };
    let settings = Settings { local: PeerId::random(), bootnodes: Vec::new(), backoff, handshake_timeout: 10_000, discovery };
    State::new(settings, Us::new(&kit::spec()))
}

pub(super) fn address() -> Multiaddr {
    "/ip4/127.0.0.1/tcp/1".parse().unwrap()
}

fn handshake(head_height: u64) -> Handshake {
    let head_hash = if head_height == 0 { Vec::new() } else { vec![1; 32] };
    Handshake { head_height, head_hash, ..Us::new(&kit::spec()).handshake() }
}

pub(super) fn connect(state: &mut State) -> PeerId {
    let peer = PeerId::random();
    let effects = state.step(Input::Connected { peer, address: address(), outbound: true });
    assert!(matches!(effects.as_slice(), [Effect::Handshake { .. }]));
    peer
}

pub(super) fn greet(state: &mut State, head: u64) -> PeerId {
    let peer = connect(state);
    let effects = state.step(Input::HandshakeAnswered { peer, handshake: handshake(head) });
    let expected = usize::from(head > 0);
    assert_eq!(effects.len(), expected, "a head that we do not have is asked for: {effects:?}");
    if expected > 0 {
        state.step(Input::DownloadFailed { token: Token::Head(peer), reason: "not now".into(), at: 0 });
    }
    peer
}

fn id(number: u8) -> GossipId {
    GossipId(vec![number])
}

fn gossip(state: &mut State, peer: PeerId, topic: Topic, data: Vec<u8>) -> Vec<Effect> {
    state.step(Input::Gossip { peer, id: id(1), topic, data })
}

fn verdicts(effects: &[Effect]) -> Vec<Verdict> {
    effects.iter().filter_map(|effect| if let Effect::Judge { verdict, .. } = effect { Some(*verdict) } else { None }).collect()
}

pub(super) fn disconnects(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Disconnect { .. }))
}

pub(super) fn is_refused(effects: &[Effect]) -> bool {
    let refused = |effect: &Effect| {
        matches!(effect, Effect::Answer { response: PeerResponse { response: Some(Response::Refused(_)) }, .. })
    };
    effects.len() == 1 && effects.iter().all(refused)
}

#[test]
fn nothing_counts_before_the_handshake() {
    let mut state = state();
    let peer = connect(&mut state);
    assert!(state.peers().peers.is_empty());
    let effects = gossip(&mut state, peer, Topic::Blocks, encode_block(kit::block(1)));
    assert_eq!(verdicts(&effects), [Verdict::Ignore]);
    let effects = state.step(Input::BlocksAsked { peer, request: GetBlocks::default(), answer: 1 });
    assert!(matches!(
        effects.as_slice(),
        [Effect::Answer { response: PeerResponse { response: Some(Response::Refused(_)) }, .. }]
    ));
    assert!(!disconnects(&state.step(Input::Tick { now: 9_999, random: 0 })));
    assert!(disconnects(&state.step(Input::Tick { now: 10_000, random: 0 })));
}

#[test]
fn a_peer_of_another_chain_is_told_and_left_alone_for_a_while() {
    let mut state = state();
    let peer = connect(&mut state);
    let other = Handshake { chain_id: 1, ..handshake(0) };
    let effects = state.step(Input::HandshakeAsked { peer, handshake: other, answer: 1 });
    let told = |effect: &Effect| {
        matches!(effect, Effect::Answer { response: PeerResponse { response: Some(Response::Handshake(_)) }, .. })
    };
    assert!(told(&effects[0]) && disconnects(&effects));
    assert!(effects.contains(&Effect::Ban { peer, banned: true }));
    state.step(Input::Disconnected { peer });
    assert!(disconnects(&state.step(Input::Connected { peer, address: address(), outbound: false })));
    assert!(state.step(Input::Tick { now: 60_000, random: 0 }).contains(&Effect::Ban { peer, banned: false }));
}

#[test]
fn a_proven_block_is_forwarded_and_told_once() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    let effects = gossip(&mut state, peer, Topic::Blocks, encode_block(kit::block(1)));
    let [Effect::CheckBlock { block, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(check_block(&CommittedRules::of(&kit::spec()), block).is_ok());
    let outcome = Ok(block.clone());
    let effects = state.step(Input::BlockChecked { peer, way: Way::Gossip(id(1)), outcome: outcome.clone() });
    assert_eq!(verdicts(&effects), [Verdict::Accept]);
    assert!(matches!(&effects[1], Effect::BlockReceived { block, peer: from } if block.height == 1 && *from == peer));
    assert_eq!(state.peers().peers[0].head_height, 1);
    let again = gossip(&mut state, peer, Topic::Blocks, encode_block(kit::block(1)));
    assert_eq!(verdicts(&again), [Verdict::Ignore], "known by its hash, not checked again");
    let raced = state.step(Input::BlockChecked { peer, way: Way::Gossip(id(2)), outcome });
    assert_eq!(verdicts(&raced), [Verdict::Ignore], "checked at the same time");
    assert!(state.step(Input::Finalized(kit::block(1))).is_empty(), "it went round already");
    assert_eq!(state.counters().blocks_received, 1);
}

#[test]
fn garbage_is_refused_counted_and_ends_in_a_ban_that_ends() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    for round in 1..=4u64 {
        let effects = gossip(&mut state, peer, Topic::Blocks, vec![0xff; 100]);
        assert_eq!(verdicts(&effects), [Verdict::Reject]);
        assert_eq!(disconnects(&effects), round == 4, "round {round}");
        assert_eq!(state.counters().rejected, round);
    }
    assert_eq!(state.banned(), 1);
    state.step(Input::Tick { now: BAN_MILLIS, random: 0 });
    assert_eq!(state.banned(), 0);
}

#[test]
fn an_unproven_block_and_bad_consensus_and_transactions_are_garbage() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    let effects =
        state.step(Input::BlockChecked { peer, way: Way::Gossip(id(1)), outcome: Err(CommittedFault::OtherBlock.into()) });
    assert_eq!(verdicts(&effects), [Verdict::Reject]);
    assert_eq!(verdicts(&gossip(&mut state, peer, Topic::Consensus, Vec::new())), [Verdict::Reject]);
    assert_eq!(verdicts(&gossip(&mut state, peer, Topic::Transactions, vec![0x80])), [Verdict::Reject]);
}

#[test]
fn consensus_goes_to_chain_and_transactions_to_the_engine_first() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    let effects = gossip(&mut state, peer, Topic::Consensus, kit::spoken(1, b"vote").encode());
    assert!(matches!(&effects[..], [Effect::CheckSpoken { .. }]));
    let effects = state.step(Input::SpokenChecked { peer, id: id(1), outcome: Ok(b"vote".to_vec()) });
    assert!(matches!(&effects[..], [Effect::Judge { verdict: Verdict::Accept, .. }, Effect::ConsensusReceived { .. }]));
    let effects = gossip(&mut state, peer, Topic::Transactions, vec![2, 1]);
    assert!(matches!(&effects[..], [Effect::OfferTransaction { .. }]));
    for (outcome, verdict) in
        [(Pooling::Pooled, Verdict::Accept), (Pooling::Refused, Verdict::Ignore), (Pooling::Unknown, Verdict::Ignore)]
    {
        assert_eq!(verdicts(&state.step(Input::TransactionOffered { peer, id: id(1), outcome })), [verdict]);
    }
}

#[test]
fn consensus_of_strangers_is_garbage_and_that_of_other_heights_is_dropped() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    assert_eq!(verdicts(&gossip(&mut state, peer, Topic::Consensus, vec![1; 40])), [Verdict::Reject]);
    let stranger = Err(SpokenFault::Stranger([9; 32].into()));
    assert_eq!(verdicts(&state.step(Input::SpokenChecked { peer, id: id(1), outcome: stranger })), [Verdict::Reject]);
    state.step(Input::HeadKnown { height: 10, hash: vec![1; 32] });
    for (height, verdict) in [(10, Some(Verdict::Ignore)), (11, None), (10 + FAR_HEIGHTS + 1, Some(Verdict::Ignore))] {
        let effects = gossip(&mut state, peer, Topic::Consensus, kit::spoken(height, b"vote").encode());
        assert_eq!(verdicts(&effects).first().copied(), verdict, "{height}");
    }
    for _ in 1..MAX_HEARING {
        gossip(&mut state, peer, Topic::Consensus, kit::spoken(11, b"vote").encode());
    }
    let more = gossip(&mut state, peer, Topic::Consensus, kit::spoken(11, b"vote").encode());
    assert!(verdicts(&more) == [Verdict::Ignore], "more than can be checked");
}

#[test]
fn stale_blocks_and_more_than_can_be_checked_are_ignored() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    for height in 1..=MAX_VALIDATING as u64 {
        let effects = gossip(&mut state, peer, Topic::Blocks, encode_block(kit::block(height)));
        assert!(matches!(&effects[..], [Effect::CheckBlock { .. }]));
    }
    assert_eq!(verdicts(&gossip(&mut state, peer, Topic::Blocks, encode_block(kit::block(99)))), [Verdict::Ignore]);
    let mut state = self::state();
    let peer = greet(&mut state, 0);
    state.step(Input::HeadKnown { height: 100, hash: vec![1; 32] });
    assert_eq!(verdicts(&gossip(&mut state, peer, Topic::Blocks, encode_block(kit::block(35)))), [Verdict::Ignore]);
    assert!(verdicts(&gossip(&mut state, peer, Topic::Blocks, encode_block(kit::block(36)))).is_empty());
}

#[test]
fn a_flood_is_ignored_and_costs_score() {
    let mut state = state();
    let peer = greet(&mut state, 0);
    let mut banned_after = None;
    let vote = kit::spoken(1, b"vote").encode();
    for count in 0..5_000 {
        if disconnects(&gossip(&mut state, peer, Topic::Consensus, vote.clone())) {
            banned_after = Some(count);
            break;
        }
        state.step(Input::SpokenChecked { peer, id: id(1), outcome: Ok(b"vote".to_vec()) });
    }
    assert_eq!(banned_after, Some(4_096 + 99), "a burst, then a hundred more");
}

#[test]
fn finalised_blocks_are_published_without_burns_and_move_our_head() {
    let mut state = state();
    let effects = state.step(Input::Finalized(kit::block(1)));
    assert_eq!(effects, [Effect::Publish { topic: Topic::Blocks, data: encode_block(kit::block(1)) }]);
    state.step(Input::Published { topic: Topic::Blocks, sent: true });
    state.step(Input::Published { topic: Topic::Blocks, sent: false });
    assert_eq!((state.counters().blocks_published, state.counters().unpublished), (1, 1));
    let peer = PeerId::random();
    let effects = state.step(Input::Connected { peer, address: address(), outbound: false });
    assert!(matches!(&effects[..], [Effect::Handshake { handshake, .. }] if handshake.head_height == 1));
}

#[test]
fn ranges_are_served_within_bounds_and_without_burns() {
    let mut state = state();
    let peers: Vec<_> = (0..3).map(|_| greet(&mut state, 0)).collect();
    let request = GetBlocks { from_height: 1, limit: u32::MAX };
    let effects = state.step(Input::BlocksAsked { peer: peers[0], request, answer: 0 });
    assert_eq!(effects, [Effect::Serve { answer: 0, request: GetBlocks { from_height: 1, limit: 1_024 } }]);
    for answer in 1..=MAX_SERVING_EACH as u64 {
        state.step(Input::BlocksAsked { peer: peers[1], request, answer });
    }
    assert!(is_refused(&state.step(Input::BlocksAsked { peer: peers[1], request, answer: 99 })), "enough for one peer");
    for answer in 101..101 + (MAX_SERVING - MAX_SERVING_EACH - 1) as u64 {
        state.step(Input::BlocksAsked { peer: peers[0], request, answer });
    }
    assert!(is_refused(&state.step(Input::BlocksAsked { peer: peers[2], request, answer: 99 })), "enough for all");
    let mut block = kit::block(1);
    block.burns = vec![alys_proto::common::Burn::default()];
    let effects = state.step(Input::BlocksRead { answer: 0, blocks: Ok(vec![block]) });
    let [Effect::Answer { response: PeerResponse { response: Some(Response::Blocks(blocks)) }, .. }] = &effects[..] else {
        panic!()
    };
    assert_eq!(blocks.blocks, [kit::block(1)]);
    assert!(is_refused(&state.step(Input::BlocksAsked { peer: peers[2], request, answer: 99 })), "it is not read yet");
    assert!(state.step(Input::AnswerEnded { peer: peers[0], answer: 0, too_slow: false }).is_empty());
    assert!(state.step(Input::BlocksRead { answer: 0, blocks: Ok(Vec::new()) }).is_empty(), "it is over");
    let effects = state.step(Input::BlocksAsked { peer: peers[2], request, answer: 99 });
    assert!(matches!(&effects[..], [Effect::Serve { .. }]), "there is room again: {effects:?}");
}

#[test]
fn downloads_go_to_peers_that_have_the_blocks_and_bad_ranges_are_blamed() {
    let mut state = state();
    let none = state.step(Input::Download { number: 0, from_height: 1, count: 5, at: 0 });
    assert!(matches!(&none[..], [Effect::Downloaded { outcome: Err(_), .. }]));
    let _short = greet(&mut state, 3);
    let long = greet(&mut state, 9);
    for (number, blocks) in [(1, vec![kit::block(5), kit::block(7)]), (2, Vec::new())] {
        let effects = state.step(Input::Download { number, from_height: 5, count: 2, at: 0 });
        assert!(matches!(&effects[..], [Effect::RequestBlocks { peer, .. }] if *peer == long));
        let effects = state.step(Input::BlocksAnswered { token: Token::Range(number), blocks, at: 0 });
        assert!(matches!(effects.last(), Some(Effect::Downloaded { outcome: Err(_), .. })));
        assert_eq!(disconnects(&effects), number == 2);
    }
    state.step(Input::Disconnected { peer: long });
    let other = greet(&mut state, 9);
    state.step(Input::Download { number: 3, from_height: 5, count: 2, at: 0 });
    let effects = state.step(Input::BlocksAnswered { token: Token::Range(3), blocks: vec![kit::block(5), kit::block(6)], at: 0 });
    assert!(matches!(&effects[..], [Effect::Downloaded { outcome: Ok((_, peer)), .. }] if *peer == other));
    for number in 10..10 + MAX_DOWNLOADS as u64 {
        state.step(Input::Download { number, from_height: 5, count: 1, at: 0 });
    }
    let full = state.step(Input::Download { number: 99, from_height: 5, count: 1, at: 0 });
    assert!(matches!(&full[..], [Effect::Downloaded { outcome: Err(_), .. }]));
    assert!(matches!(
        &state.step(Input::DownloadFailed { token: Token::Range(10), reason: "gone".into(), at: 0 })[..],
        [Effect::Downloaded { .. }]
    ));
}

#[test]
fn ranges_are_spread_over_all_peers_that_have_them() {
    let mut state = state();
    let peers: Vec<_> = (0..3).map(|_| greet(&mut state, 9)).collect();
    let mut asked = std::collections::BTreeMap::new();
    for number in 0..9 {
        let effects = state.step(Input::Download { number, from_height: 1, count: 1, at: 0 });
        let [Effect::RequestBlocks { peer, .. }] = &effects[..] else { panic!("{effects:?}") };
        *asked.entry(*peer).or_insert(0) += 1;
        state.step(Input::BlocksAnswered { token: Token::Range(number), blocks: vec![kit::block(1)], at: 0 });
    }
    assert!(peers.iter().all(|peer| asked.get(peer) == Some(&3)), "one after the other: {asked:?}");
}

#[test]
fn who_sends_blocks_that_prove_nothing_is_banned_at_once() {
    let mut state = state();
    let peer = greet(&mut state, 3);
    assert!(disconnects(&state.step(Input::Reported { peer, reason: "bad".into() })));
}

#[test]
fn heads_are_exchanged_again_from_time_to_time() {
    let mut state = state();
    let peer = greet(&mut state, 3);
    let effects = state.step(Input::Tick { now: HANDSHAKE_AGAIN_MILLIS, random: 0 });
    assert!(matches!(&effects[..], [Effect::Handshake { peer: to, .. }] if *to == peer));
    assert!(state.step(Input::Tick { now: HANDSHAKE_AGAIN_MILLIS + 1_000, random: 0 }).is_empty());
}

#[test]
fn only_nodes_of_our_chain_are_told_to_others() {
    let mut state = state();
    let peer = connect(&mut state);
    let identified = || Input::Identified { peer, agent: "x".into(), addresses: vec![address()] };
    assert!(state.step(identified()).is_empty(), "before its handshake");
    let told = [Effect::Routable { peer, address: address() }];
    assert_eq!(state.step(Input::HandshakeAnswered { peer, handshake: handshake(0) }), told);
    assert!(state.step(Input::HandshakeAnswered { peer, handshake: handshake(0) }).is_empty(), "once");
    assert_eq!(state.step(identified()), told, "it may have moved");
    let mut silent = state_with(false);
    let peer = greet(&mut silent, 0);
    assert!(silent.step(Input::Identified { peer, agent: "x".into(), addresses: vec![address()] }).is_empty());
}

#[test]
fn a_higher_head_must_prove_itself_and_then_chain_learns_of_it() {
    let mut state = state();
    let claims = |state: &mut State, peer, head| state.step(Input::HandshakeAnswered { peer, handshake: handshake(head) });
    let peer = connect(&mut state);
    let asked = claims(&mut state, peer, 7);
    assert!(
        matches!(&asked[..], [Effect::RequestBlocks { peer: whom, request, .. }] if *whom == peer && (request.from_height, request.limit) == (7, 1)),
        "{asked:?}"
    );
    assert!(claims(&mut state, peer, 8).is_empty(), "one question at a time");
    let checks = state.step(Input::BlocksAnswered { token: Token::Head(peer), blocks: vec![kit::block(7)], at: 0 });
    assert!(matches!(&checks[..], [Effect::CheckBlock { way: Way::Head, .. }]), "{checks:?}");
    let told = state.step(Input::BlockChecked { peer, way: Way::Head, outcome: Ok(kit::block(7)) });
    assert!(matches!(&told[..], [Effect::BlockReceived { block, .. }] if block.height == 7), "{told:?}");
    state.step(Input::HeadKnown { height: 7, hash: vec![1; 32] });
    assert!(claims(&mut state, peer, 7).is_empty(), "we have it");
    assert!(state.step(Input::BlockChecked { peer, way: Way::Head, outcome: Ok(kit::block(7)) }).is_empty(), "too late");
}

#[test]
fn a_head_that_is_not_shown_costs_its_claimant() {
    let mut state = state();
    for _ in 0..MAX_HEADS {
        let peer = connect(&mut state);
        assert_eq!(state.step(Input::HandshakeAnswered { peer, handshake: handshake(7) }).len(), 1);
    }
    let peer = connect(&mut state);
    assert!(state.step(Input::HandshakeAnswered { peer, handshake: handshake(7) }).is_empty(), "enough are asked");
    let outcome = || Err(CommittedFault::OtherBlock.into());
    assert!(!disconnects(&state.step(Input::BlockChecked { peer, way: Way::Head, outcome: outcome() })));
    assert!(disconnects(&state.step(Input::BlockChecked { peer, way: Way::Head, outcome: outcome() })));
}
