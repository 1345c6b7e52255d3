//! The replay: every rule of a block, broken once.

use alloy_primitives::B256;
use alys_blocks::{Body, Certificate, Header};
use alys_peg::{Action, Decision, RefundReason, Refunded};
use alys_proto::common::CommittedBlock;
use ssz_types::VariableList;

use crate::core::replay::{Replay, ReplayFault};
use crate::core::support::{BTC, Statement, World, certify};

fn replayed(world: &World) -> Replay {
    let mut replay = Replay::new(world.spec.clone()).unwrap();
    for block in &world.blocks {
        replay.apply(block).unwrap();
    }
    replay
}

#[test]
fn an_honest_chain_gives_the_ledger_of_the_chain() {
    let mut world = World::new();
    let request = world.ready_to_sign();
    let replay = replayed(&world);
    assert_eq!(replay.ledger(), &world.ledger);
    assert_eq!(replay.head().height, request.height);
    assert_eq!(replay.ledger().payouts_in_flight().count(), 1);
}

#[test]
fn a_header_that_must_not_come_next_is_refused() {
    type Breaks = fn(&mut Header, &mut Body);
    let table: [(&str, Breaks); 9] = [
        ("height", |h, _| h.height += 1),
        ("version", |h, _| h.version += 1),
        ("chain id", |h, _| h.chain_id += 1),
        ("slot", |h, _| h.slot = 1),
        ("author", |h, _| h.proposer = B256::repeat_byte(5)),
        ("time", |h, _| h.time = 0),
        ("bitcoin view", |h, _| h.bitcoin_view.height = 0),
        ("parent certificate's block", |_, b| b.parent_certificate.height = 7),
        ("payload's number", |_, b| {
            // The number is bytes 404..412 of an SSZ payload (after 3 hashes, address, bloom, randao).
            let mut bytes = b.payload.to_vec();
            bytes[404] ^= 0xff;
            b.payload = VariableList::new(bytes).unwrap();
        }),
    ];
    let mut world = World::new();
    world.commit(&Statement::default());
    for (expected, breaks) in table {
        let block = world.next_with(&Statement::default(), breaks);
        let fault = replayed(&world).apply(&block).unwrap_err();
        assert!(matches!(fault, ReplayFault::Header { what, .. } if what == expected), "{expected}: {fault}");
    }
    let mut replay = replayed(&world);
    replay.apply(&world.next(&Statement::default())).unwrap();
}

#[test]
fn only_a_certificate_of_more_than_two_thirds_for_this_block_counts() {
    type Breaks = fn(&World, &mut CommittedBlock);
    let table: [(&str, Breaks); 4] = [
        ("no signatures", |_, block| {
            let hash = B256::from_slice(&block.hash);
            block.certificate = Certificate { height: block.height, block: hash, ..Certificate::default() }.encode();
        }),
        ("of another block", |world, block| {
            block.certificate = certify(&world.spec, block.height, B256::repeat_byte(1)).encode()
        }),
        ("of another height", |world, block| block.certificate = certify(&world.spec, 9, B256::from_slice(&block.hash)).encode()),
        ("of nonsense", |_, block| block.certificate = vec![1, 2, 3]),
    ];
    let world = World::new();
    for (what, breaks) in table {
        let mut block = world.next(&Statement::default());
        breaks(&world, &mut block);
        let mut replay = Replay::new(world.spec.clone()).unwrap();
        assert!(replay.apply(&block).is_err(), "{what}");
        assert_eq!(replay.head().height, 0, "{what}");
    }
    let mut damaged = world.next(&Statement::default());
    damaged.hash = vec![7; 32];
    assert!(matches!(Replay::new(world.spec.clone()).unwrap().apply(&damaged), Err(ReplayFault::Header { what: "hash", .. })));
}

#[test]
fn a_certified_block_on_another_history_is_a_fork() {
    let mut world = World::new();
    world.commit(&Statement::default());
    let block = world.next_with(&Statement::default(), |header, _| header.parent = B256::repeat_byte(4));
    assert!(matches!(replayed(&world).apply(&block), Err(ReplayFault::Fork { .. })));

    let other = World::new().next_with(&Statement::default(), |header, _| header.time += 2);
    let replay = replayed(&world);
    assert!(matches!(replay.contradicted_by(&other), Some(ReplayFault::Fork { .. })));
    assert!(replay.contradicted_by(&world.blocks[0]).is_none());
    let unproven = CommittedBlock { certificate: Vec::new(), ..other };
    assert!(!matches!(replay.contradicted_by(&unproven), None | Some(ReplayFault::Fork { .. })));
}

#[test]
fn peg_records_that_do_not_hold_stop_the_replay_and_change_nothing() {
    let mut world = World::new();
    let proof = world.deposit(BTC, 21);
    let shallow = world.shallow_deposit(BTC, 22);
    let minted = Statement { peg_ins: vec![proof.clone()], ..Statement::default() };
    let mut lying = proof.clone();
    lying.value.0 += 1;
    let refund = Refunded { burn: alys_blocks::BurnRef { height: 1, log_index: 0 }, reason: RefundReason::NotText };
    let next = |statement: &Statement| world.next(statement);
    let table = [
        ("[PEG-4] not deep", next(&Statement { peg_ins: vec![shallow], ..Statement::default() })),
        ("[PEG-3] other amount", next(&Statement { peg_ins: vec![lying], ..Statement::default() })),
        ("[PEG-5] a withdrawal too few", world.next_with(&minted, |_, body| body.peg_ins = VariableList::default())),
        ("[PEG-2] minted twice", next(&Statement { peg_ins: vec![proof.clone(), proof.clone()], ..Statement::default() })),
        ("[PEG-1] burned more than there is", next(&Statement { burns: vec![world.burn(0, BTC)], ..Statement::default() })),
        (
            "[PEG-7] refund of nothing",
            world.next_with(&Statement::default(), |_, body| body.refunds = VariableList::new(vec![(&refund).into()]).unwrap()),
        ),
    ];
    for (what, block) in table {
        let mut replay = Replay::new(world.spec.clone()).unwrap();
        let before = replay.ledger().clone();
        assert!(replay.apply(&block).is_err(), "{what}");
        assert_eq!((replay.ledger(), replay.head().height), (&before, 0), "{what}");
    }
    Replay::new(world.spec.clone()).unwrap().apply(&world.next(&minted)).unwrap();
}

#[test]
fn restoring_stored_facts_gives_the_same_books() {
    let mut world = World::new();
    world.ready_to_sign();
    world.commit(&Statement::default());
    let mut replay = Replay::new(world.spec.clone()).unwrap();
    let mut stored = Vec::new();
    for block in &world.blocks {
        let facts = replay.apply(block).unwrap();
        if !facts.is_empty() {
            stored.push((block.height, facts));
        }
    }
    let mut restored = Replay::new(world.spec.clone()).unwrap();
    restored.restore(*replay.head(), &stored).unwrap();
    assert_eq!((restored.ledger(), restored.head()), (replay.ledger(), replay.head()));
    restored.apply(&world.next(&Statement::default())).unwrap();
}

#[test]
fn peg_18_a_decision_counts_when_enough_members_have_signed_it() {
    let mut world = World::new();
    world.commit(&Statement::default());
    let pause = Decision { number: 1, action: Action::PausePeg };
    for (what, block) in [
        ("one member", world.deciding(pause, &[1])),
        ("one member twice", world.deciding(pause, &[1, 1])),
        ("another number", world.deciding(Decision { number: 2, ..pause }, &[0, 1])),
        ("no change", world.deciding(Decision { action: Action::ResumePeg, ..pause }, &[0, 1])),
    ] {
        let mut replay = replayed(&world);
        let fault = replay.apply(&block).unwrap_err().to_string();
        assert!(fault.contains("[PEG-18]") && replay.ledger().paused().is_none(), "{what}: {fault}");
    }
    let mut replay = replayed(&world);
    let facts = replay.apply(&world.deciding(pause, &[0, 2])).unwrap();
    assert_eq!(facts, [alys_peg::Fact::Decided(pause)]);
    assert_eq!(replay.ledger().paused(), Some(alys_proto::Height(2)));
}
