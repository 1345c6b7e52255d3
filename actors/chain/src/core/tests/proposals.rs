//! Proposals that no honest node makes.

use alloy_primitives::B256;
use alys_blocks::{Block, ValidatorId};
use malachite_types::Round;

use super::fixtures::{EL_GENESIS, build, key};
use super::simulation::Simulation;
use crate::core::consensus::Gossip;
use crate::core::consensus::codec::BlockProposal;
use crate::core::consensus::context::{Address, BlockHeight, BlockId, Proposal};
use crate::core::consensus::verify::sign_proposal;
use crate::core::{Input, Note, TemplateRequest};

/// A block for slot 1 + round, made by hand.
fn block(world: &Simulation, proposer: u8, slot: u64, time: u64) -> Block {
    let head = world.nodes[0].disk.head(&world.rules);
    let wanted = TemplateRequest {
        height: 1,
        round: 0,
        parent_el_hash: EL_GENESIS,
        parent_hash: head.hash,
        timestamp: time,
        withdrawals: Vec::new(),
        causes: Vec::new(),
        time_budget_millis: 0,
    };
    let payload = build(&wanted, world.rules.spec.execution.gas_limit).payload;
    let header = alys_blocks::Header {
        version: alys_blocks::BLOCK_VERSION,
        chain_id: world.rules.spec.chain_id,
        height: 1,
        slot,
        time,
        proposer: ValidatorId::from(*key(proposer).public_key().as_bytes()),
        parent: head.hash,
        ..alys_blocks::Header::default()
    };
    Block::new(header, alys_blocks::Body::empty(alys_blocks::Certificate::default(), payload.try_into().unwrap()))
}

fn proposal(world: &Simulation, signer: u8, block: &Block, round: u32) -> Input {
    let proposal = Proposal {
        height: BlockHeight(1),
        round: Round::new(round),
        value: BlockId(world.rules.domain.block_hash(&block.header)),
        pol_round: Round::Nil,
        proposer: Address(B256::from(*key(signer).public_key().as_bytes())),
    };
    let signed = sign_proposal(&world.rules.domain, &key(signer), proposal);
    let message = BlockProposal { proposal: (&signed).into(), block: block.encode() };
    Input::ConsensusMessage(Gossip::Proposal(message).encode())
}

/// Four validators at the start of height 1, whose round 0 (slot 1) is the turn of validator 1. Node 0 alone hears.
fn world() -> (Simulation, u64) {
    let mut world = Simulation::new(4, 0, 1);
    world.cut_off = vec![1, 2, 3];
    world.run_for(1_600);
    let time = super::fixtures::GENESIS_TIME + 2;
    (world, time)
}

fn prevoted_for(world: &mut Simulation, hash: B256) -> bool {
    world.run_for(10);
    world.nodes[0].disk.wal.iter().any(|entry| {
        let crate::core::consensus::WalEntry::Vote(vote) = crate::core::consensus::WalEntry::decode(entry).unwrap() else {
            return false;
        };
        let vote = malachite_types::SignedVote::<crate::core::consensus::Aura>::try_from(&vote).unwrap();
        vote.value == malachite_types::NilOrVal::Val(BlockId(hash))
    })
}

#[test]
fn the_right_proposal_is_voted_for() {
    let (mut world, time) = world();
    let good = block(&world, 1, 1, time);
    let input = proposal(&world, 1, &good, 0);
    world.step(0, input);
    let hash = world.rules.domain.block_hash(&good.header);
    assert!(prevoted_for(&mut world, hash));
}

#[test]
fn wrong_proposer_slot_or_time_is_not_voted_for() {
    type Case = (&'static str, u8, u8, u64, i64);
    let cases: [Case; 5] = [
        ("signed by somebody whose turn it is not", 2, 2, 1, 0),
        ("block names another author", 1, 2, 1, 0),
        ("slot of a later round", 1, 1, 2, 0),
        ("off the grid", 1, 1, 1, 1),
        ("two slots ahead of our clock", 1, 1, 1, 4),
    ];
    for (name, signer, author, slot, shift) in cases {
        let (mut world, time) = world();
        let bad = block(&world, author, slot, time.checked_add_signed(shift).unwrap());
        let input = proposal(&world, signer, &bad, 0);
        world.step(0, input);
        let hash = world.rules.domain.block_hash(&bad.header);
        assert!(!prevoted_for(&mut world, hash), "{name}");
        assert_eq!(world.nodes[0].halted, None, "{name}");
    }
}

#[test]
fn a_signature_of_a_stranger_or_foreign_bytes_cost_nothing() {
    let (mut world, time) = world();
    let good = block(&world, 1, 1, time);
    let Input::ConsensusMessage(mut bytes) = proposal(&world, 1, &good, 0) else { panic!("not a message") };
    bytes[200] ^= 1;
    world.step(0, Input::ConsensusMessage(bytes));
    for junk in [vec![], vec![0], vec![9; 40], vec![1; 5_000]] {
        world.step(0, Input::ConsensusMessage(junk));
    }
    assert!(world.nodes[0].notes.iter().filter(|note| matches!(note, Note::MessageRefused(_))).count() >= 4);
    assert_eq!(world.nodes[0].halted, None);
}
