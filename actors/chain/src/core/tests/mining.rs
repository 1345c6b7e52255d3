//! Merged mining: bundles, halt and resume, each broken rule with its reason.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use alys_blocks::Block;
use alys_peg::Ledger;
use alys_pow::{
    AuxPow, Bits, Bundle, BundleRefusal, Claim, MergedTree, MinedHash, ProofRefusal, SettlementRefusal, Target, WorkRules,
};
use alys_proto::Height;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Witness};

use super::fixtures::mined_rules;
use super::simulation::Simulation;
use crate::core::rules::{BlockRefusal, ChainRules, Head};
use crate::core::{Answer, AuxBlock, Input, Note, Ticket};

const OURS: u32 = 1_337;

/// A Bitcoin block that commits to `hash`, with the work or without it.
fn solved(hash: MinedHash, target: Target, with_work: bool) -> AuxPow {
    let tree = MergedTree::new(&[(OURS, hash.0)]).unwrap();
    let coinbase = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: ScriptBuf::from(tree.commitment().to_bytes().to_vec()),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::from_sat(50), script_pubkey: ScriptBuf::new() }],
    };
    let header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: bitcoin::BlockHash::all_zeros(),
        merkle_root: TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash()),
        time: 0,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut block = bitcoin::Block { header, txdata: vec![coinbase] };
    while target.is_met_by(block.header.block_hash()) != with_work {
        block.header.nonce += 1;
    }
    AuxPow::from_block(&block, tree.branch(OURS)).unwrap()
}

impl Simulation {
    fn work_of(&self, node: usize) -> crate::core::WorkStatus {
        self.state(node).status().work.unwrap()
    }

    fn wanted(&mut self, node: usize) -> Answer {
        self.step(node, Input::AuxBlockWanted { ticket: Ticket(3), fee_recipient: Address::repeat_byte(9) });
        self.nodes[node].answers.pop().unwrap().1
    }

    fn submit(&mut self, node: usize, hash: MinedHash, proof: &AuxPow) -> Answer {
        self.step(node, Input::AuxBlockSolved { ticket: Ticket(4), hash, proof: proof.encode() });
        self.nodes[node].answers.pop().unwrap().1
    }

    fn handed_out(&mut self, node: usize) -> AuxBlock {
        match self.wanted(node) {
            Answer::AuxBlock(block) => block,
            other => panic!("nothing to mine: {other:?}"),
        }
    }

    fn mine(&mut self, node: usize) {
        let block = self.handed_out(node);
        let proof = solved(block.hash, Target(block.target), true);
        assert_eq!(self.submit(node, block.hash, &proof), Answer::Accepted);
    }

    fn all_at(&self, height: u64) -> bool {
        (0..self.nodes.len()).all(|node| self.height(node) >= height)
    }
}

#[test]
fn a_bundle_lands_in_a_block_of_the_validator_that_has_it_and_settles_for_all() {
    let mut world = Simulation::of(mined_rules(4, 50), 1, 3);
    world.run_until(30, |world| world.all_at(3));
    world.mine(2);
    let settled = world.height(2);
    assert!(matches!(world.wanted(2), Answer::Busy(_)), "its work would be for nothing");
    world.run_until(60, |world| (0..5).all(|node| world.work_of(node).bundles == 1));
    for node in 0..5 {
        let work = world.work_of(node);
        assert_eq!((work.settled_height, work.pending, work.wanted), (settled, false, false), "node {node}");
    }
    let holder =
        (1..=world.height(0) as usize).map(|height| world.nodes[0].disk.block(height)).find(|b| !b.body.bundle.is_empty());
    assert_eq!(holder.unwrap().header.proposer, world.rules.spec.validators[2]);
    // The next window: the target moves after three bundles.
    for node in [0, 1] {
        world.mine(node);
        let bundles = world.work_of(node).bundles;
        world.run_until(60, |world| (0..5).all(|other| world.work_of(other).bundles > bundles));
    }
    let moved: Vec<u32> = (0..5).map(|node| world.work_of(node).bits).collect();
    assert!(moved.iter().all(|bits| *bits == moved[0]), "{moved:?}");
    world.assert_one_chain();
}

#[test]
fn without_work_the_chain_halts_and_a_bundle_lets_it_go_on() {
    for validators in [1, 4] {
        let mut world = Simulation::of(mined_rules(validators, 3), 1, 5);
        world.run_until(60, |world| world.all_at(3));
        world.run_for(30_000);
        assert!(world.heights().iter().all(|height| *height == 3), "{:?}", world.heights());
        assert!(world.work_of(0).wanted);
        assert!(world.nodes[0].notes.iter().any(|note| matches!(note, Note::WantsWork(_))));
        world.mine(0);
        world.run_until(60, |world| world.all_at(4));
        assert!(!world.nodes[0].disk.block(4).body.bundle.is_empty());
        assert_eq!(world.work_of(0).settled_height, 3);
        // Three more: block 4 counts as the first of them.
        world.run_until(60, |world| world.all_at(6));
        world.run_for(20_000);
        assert!(world.heights().iter().all(|height| *height == 6), "{:?}", world.heights());
        world.assert_one_chain();
    }
}

#[test]
fn settlement_survives_a_restart_and_what_was_only_in_memory_is_mined_again() {
    let mut world = Simulation::of(mined_rules(1, 3), 0, 5);
    world.run_until(60, |world| world.all_at(2));
    world.mine(0);
    world.run_until(60, |world| world.all_at(3));
    let before = world.work_of(0);
    assert_eq!(before.bundles, 1);
    world.start(0);
    assert_eq!(world.work_of(0), before);
    world.run_until(60, |world| world.all_at(5));
    let lost = world.handed_out(0);
    world.start(0);
    let proof = solved(lost.hash, Target(lost.target), true);
    assert!(matches!(world.submit(0, lost.hash, &proof), Answer::Refused(reason) if reason.contains("unknown hash")));
    world.mine(0);
    world.run_until(60, |world| world.all_at(6));
}

#[test]
fn a_crash_at_any_effect_around_a_bundle_loses_at_most_its_work() {
    for dies_after in 0..20 {
        let mut world = Simulation::of(mined_rules(1, 3), 0, 5);
        world.run_until(60, |world| world.all_at(3));
        world.mine(0);
        world.nodes[0].dies_after = Some(dies_after);
        world.run_until(600, |world| world.nodes[0].state.is_none() || world.all_at(6));
        world.start(0);
        if world.work_of(0).wanted {
            world.mine(0);
        }
        world.run_until(60, |world| world.all_at(5));
        assert!(world.work_of(0).bundles >= 1, "after {dies_after} effects");
        assert_eq!(world.nodes[0].halted, None);
    }
}

#[test]
fn a_follower_syncs_a_chain_with_bundles_and_stands_where_the_others_do() {
    let mut world = Simulation::of(mined_rules(1, 3), 1, 5);
    world.cut_off = vec![1];
    for height in [2, 4, 6, 8] {
        world.run_until(60, |world| world.height(0) >= height);
        world.mine(0);
    }
    world.run_until(60, |world| world.height(0) >= 9);
    world.cut_off = vec![0, 1];
    world.catch_up(1);
    world.run_for(1_000);
    assert_eq!(world.height(1), world.height(0));
    assert_eq!(world.work_of(1).settled_height, world.work_of(0).settled_height);
    assert_eq!(world.work_of(1).bits, world.work_of(0).bits);
    assert!(matches!(world.wanted(1), Answer::Refused(_)), "it makes no blocks");
}

#[test]
fn a_claim_stays_good_while_the_head_moves_and_a_bad_proof_is_refused_with_its_reason() {
    let mut world = Simulation::of(mined_rules(1, 50), 0, 5);
    assert!(matches!(world.wanted(0), Answer::Busy(_)), "no block yet");
    world.run_until(60, |world| world.all_at(2));
    let old = world.handed_out(0);
    assert_eq!(world.handed_out(0), old, "the same question at the same head");
    world.run_until(60, |world| world.all_at(4));
    assert_ne!(world.handed_out(0).hash, old.hash);
    let lazy = solved(old.hash, Target(old.target), false);
    assert!(matches!(world.submit(0, old.hash, &lazy), Answer::Refused(reason) if reason.contains("does not meet our target")));
    world.step(0, Input::AuxBlockSolved { ticket: Ticket(4), hash: old.hash, proof: vec![1, 2, 3] });
    assert!(matches!(world.nodes[0].answers.pop().unwrap().1, Answer::Refused(_)));
    assert_eq!(world.work_of(0).refused_proofs, 2);
    let proof = solved(old.hash, Target(old.target), true);
    assert_eq!(world.submit(0, old.hash, &proof), Answer::Accepted);
    world.run_until(60, |world| world.work_of(0).bundles == 1);
    assert_eq!(world.work_of(0).settled_height, 2);
    assert!(matches!(world.submit(0, old.hash, &proof), Answer::Refused(reason) if reason.contains("unknown hash")), "PEG-15");
}

#[test]
fn a_chain_without_merged_mining_has_nothing_to_mine() {
    let mut world = Simulation::new(1, 0, 1);
    world.run_until(60, |world| world.all_at(1));
    assert!(matches!(world.wanted(0), Answer::Refused(_)));
    assert_eq!(world.state(0).status().work, None);
}

/// A committed block that holds a bundle, and what stood before it.
struct Case {
    rules: std::sync::Arc<ChainRules>,
    parent: Head,
    ledger: Ledger,
    hashes: BTreeMap<u64, B256>,
    block: Block,
}

fn case() -> Case {
    let mut world = Simulation::of(mined_rules(1, 3), 0, 5);
    world.run_until(60, |world| world.all_at(3));
    world.mine(0);
    world.run_until(60, |world| world.all_at(4));
    let rules = world.rules.clone();
    let disk = &mut world.nodes[0].disk;
    let block = disk.block(4);
    let hashes = disk.blocks.iter().take(3).map(|block| (block.height, B256::from_slice(&block.hash))).collect();
    disk.blocks.truncate(3);
    let ledger = Ledger::replay(&rules.spec, Height(3), &[]).unwrap();
    Case { parent: disk.head(&rules), rules, ledger, hashes, block }
}

impl Case {
    fn work(&self) -> WorkRules {
        self.rules.work.unwrap().rules
    }

    fn bundle(&self) -> Bundle {
        Bundle::decode(&self.block.body.bundle[0]).unwrap()
    }

    fn put(&mut self, bundle: &Bundle) {
        self.block.body.bundle = vec![bundle.encode().unwrap()].try_into().unwrap();
    }

    /// With the work that another claim needs.
    fn mine(&mut self, change: impl Fn(&mut Claim)) {
        let mut claim = self.bundle().claim;
        change(&mut claim);
        let target = Bits::new(claim.bits).map_or(Target::MAX, Bits::target);
        let proof = solved(claim.mined_hash(&self.work().domain, self.work().chain_id), target, true);
        self.put(&Bundle { claim, proof });
    }

    fn prove(&mut self, change: impl Fn(&mut AuxPow)) {
        let mut bundle = self.bundle();
        change(&mut bundle.proof);
        self.put(&bundle);
    }

    fn refusal(&mut self) -> Option<BlockRefusal> {
        self.rules.check(&self.block, &self.parent, 9, &mut self.ledger, &self.hashes).err()
    }
}

fn range(refusal: &BlockRefusal) -> Option<&SettlementRefusal> {
    if let BlockRefusal::Bundle(BundleRefusal::Settlement(why)) = refusal { Some(why) } else { None }
}

fn proof(refusal: &BlockRefusal) -> Option<&ProofRefusal> {
    if let BlockRefusal::Bundle(BundleRefusal::Proof(why)) = refusal { Some(why) } else { None }
}

type Fault = (&'static str, fn(&mut Case), fn(&BlockRefusal) -> bool);

const FAULTS: &[Fault] = &[
    ("none, and too many wait", |c| c.block.body.bundle = Default::default(), |r| matches!(r, BlockRefusal::WantsWork(_))),
    ("no bundle", |c| c.block.body.bundle[0] = vec![7; 9].try_into().unwrap(), |r| matches!(r, BlockRefusal::BundleForm(_))),
    ("sequence", |c| c.mine(|claim| claim.sequence = 2), |r| matches!(range(r), Some(SettlementRefusal::Sequence { .. }))),
    ("start", |c| c.mine(|claim| claim.start.height = 2), |r| matches!(range(r), Some(SettlementRefusal::Start { .. }))),
    ("empty", |c| c.mine(|claim| claim.end.height = 0), |r| matches!(range(r), Some(SettlementRefusal::Empty { .. }))),
    (
        "its own block",
        |c| c.mine(|claim| claim.end.height = 4),
        |r| matches!(range(r), Some(SettlementRefusal::AboveHead { .. })),
    ),
    (
        "another chain",
        |c| c.mine(|claim| claim.end.hash = B256::ZERO),
        |r| matches!(range(r), Some(SettlementRefusal::OtherBlock(3))),
    ),
    ("bits", |c| c.mine(|claim| claim.bits = 0x207f_fffe), |r| matches!(range(r), Some(SettlementRefusal::Bits { .. }))),
    (
        "fee recipient altered after the work",
        |c| {
            let mut bundle = c.bundle();
            bundle.claim.fee_recipient = Address::repeat_byte(1);
            c.put(&bundle);
        },
        |r| matches!(proof(r), Some(ProofRefusal::OtherRoot)),
    ),
    (
        "too little work",
        |c| {
            let claim = c.bundle().claim;
            let hash = claim.mined_hash(&c.work().domain, c.work().chain_id);
            let proof = solved(hash, Bits::new(claim.bits).unwrap().target(), false);
            c.put(&Bundle { claim, proof });
        },
        |r| matches!(proof(r), Some(ProofRefusal::TooLittleWork(_))),
    ),
    (
        "coinbase of another block",
        |c| c.prove(|proof| proof.coinbase.output[0].value = Amount::from_sat(1)),
        |r| matches!(proof(r), Some(ProofRefusal::OtherMerkleRoot)),
    ),
];

#[test]
fn a_block_with_a_good_bundle_is_taken_and_each_fault_has_its_own_reason() {
    assert_eq!(case().refusal(), None);
    for (name, breaks, expected) in FAULTS {
        let mut case = case();
        breaks(&mut case);
        let refusal = case.refusal().unwrap_or_else(|| panic!("{name} is accepted"));
        assert!(expected(&refusal), "{name}: {refusal}");
    }
}
