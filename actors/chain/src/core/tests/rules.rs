//! One broken rule per line, and its reason.

use alloy_primitives::{Address, B256};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use alys_blocks::{Block, Body, BurnRef, Header, PegIn, Refund, Settlement, decode_payload, encode_payload};
use alys_peg::{Fact, Ledger, Minted, PegInProof, RecordRefusal, withdrawals};

use super::fixtures::{EL_GENESIS, build, deposit_proof, rules, view};
use super::simulation::Simulation;
use crate::core::rules::{BlockRefusal, ChainRules, Head};
use crate::core::{HaltReason, TemplateRequest};

struct Case {
    rules: std::sync::Arc<ChainRules>,
    parent: Head,
    ledger: Ledger,
    block: Block,
}

/// A block that mints one deposit on top of block 2 of a single validator.
fn case() -> Case {
    let mut world = Simulation::new(1, 0, 1);
    world.run_until(20, |world| world.height(0) == 2);
    let rules = world.rules.clone();
    let parent = world.nodes[0].disk.head(&rules);
    let ledger = Ledger::replay(&rules.spec, alys_proto::Height(2), &[]).unwrap();
    let proof = deposit_proof(&rules, 50_000, Address::repeat_byte(0x11), 10);
    let claim = PegIn::try_from(&proof).unwrap();
    let credits = withdrawals::justified(&ledger, &[Minted::from(&claim)], &[]).unwrap();
    let wanted = TemplateRequest {
        height: 3,
        round: 0,
        parent_el_hash: parent.el_hash,
        parent_hash: parent.hash,
        timestamp: parent.time + 2,
        withdrawals: credits,
        causes: Vec::new(),
        time_budget_millis: 0,
    };
    let payload = build(&wanted, rules.spec.execution.gas_limit).payload;
    let mut body = Body::empty(parent.certificate.clone(), payload.try_into().unwrap());
    body.peg_ins.push(claim).unwrap();
    let header = Header {
        version: 1,
        chain_id: rules.spec.chain_id,
        height: 3,
        slot: parent.slot + 1,
        time: parent.time + 2,
        proposer: rules.spec.validators[0],
        parent: parent.hash,
        bitcoin_view: view(15),
        body_root: B256::ZERO,
    };
    Case { block: Block::new(header, body), rules, parent, ledger }
}

impl Case {
    fn check(&mut self) -> Result<Vec<Fact>, BlockRefusal> {
        self.rules.check(&self.block, &self.parent, 0, &mut self.ledger, &Default::default()).map(|checked| checked.facts)
    }
}

fn payload(block: &mut Block, change: impl FnOnce(&mut ExecutionPayloadV3)) {
    let mut payload = decode_payload(&block.body.payload).unwrap();
    change(&mut payload);
    block.body.payload = encode_payload(&payload).try_into().unwrap();
}

#[test]
fn a_block_that_breaks_no_rule_states_its_facts_and_leaves_the_ledger() {
    let mut case = case();
    let before = case.ledger.clone();
    assert!(matches!(case.check().unwrap().as_slice(), [Fact::Minted(_)]));
    assert_eq!(case.ledger, before);
}

type Rule = (&'static str, fn(&mut Case), fn(&BlockRefusal) -> bool);

const HEADER: &[Rule] = &[
    ("version", |c| c.block.header.version = 2, |r| matches!(r, BlockRefusal::Version(2))),
    ("chain id", |c| c.block.header.chain_id = 1, |r| matches!(r, BlockRefusal::ChainId(1))),
    ("height", |c| c.block.header.height = 4, |r| matches!(r, BlockRefusal::Height { expected: 3, found: 4 })),
    ("time off the grid", |c| c.block.header.time += 1, |r| matches!(r, BlockRefusal::Time { .. })),
    ("time not after the parent's", |c| c.block.header.time = c.parent.time, |r| matches!(r, BlockRefusal::Time { .. })),
    ("slot of a round not reached", |c| c.block.header.slot += 1, |r| matches!(r, BlockRefusal::Slot { .. })),
    ("slot of the parent", |c| c.block.header.slot = c.parent.slot, |r| matches!(r, BlockRefusal::Slot { .. })),
    ("proposer", |c| c.block.header.proposer = B256::repeat_byte(1), |r| matches!(r, BlockRefusal::Proposer { .. })),
    ("parent", |c| c.block.header.parent = B256::repeat_byte(1), |r| matches!(r, BlockRefusal::Parent(_))),
    (
        "certificate of another block",
        |c| c.block.body.parent_certificate.block = B256::ZERO,
        |r| matches!(r, BlockRefusal::OtherCertificate),
    ),
    (
        "certificate without signatures",
        |c| c.block.body.parent_certificate.signatures = Default::default(),
        |r| matches!(r, BlockRefusal::ParentCertificate(_)),
    ),
    (
        "certificate with a forged signature",
        |c| c.block.body.parent_certificate.signatures[0].signature.0[0] ^= 1,
        |r| matches!(r, BlockRefusal::ParentCertificate(_)),
    ),
    (
        "certificate of another round",
        |c| c.block.body.parent_certificate.round += 1,
        |r| matches!(r, BlockRefusal::ParentCertificate(_)),
    ),
];

const CLAIMS: &[Rule] = &[
    ("view goes back", |c| c.parent.view = view(16), |r| matches!(r, BlockRefusal::ViewWentBack { parent: 16, found: 15 })),
    (
        "view moves without claims",
        |c| c.block.body.peg_ins = Default::default(),
        |r| matches!(r, BlockRefusal::ViewWithoutClaims),
    ),
    (
        "bundle before activation",
        |c| c.block.body.bundle.push(Default::default()).unwrap(),
        |r| matches!(r, BlockRefusal::BundleNotActive),
    ),
    (
        "a governance record that is none",
        |c| c.block.body.governance.push(Default::default()).unwrap(),
        |r| matches!(r, BlockRefusal::Governance(RecordRefusal::Malformed)),
    ),
    (
        "deposit not deep enough",
        |c| c.block.header.bitcoin_view = view(14),
        |r| matches!(r, BlockRefusal::PegIn { index: 0, .. }),
    ),
    ("another value", |c| c.block.body.peg_ins[0].value += 1, |r| matches!(r, BlockRefusal::PegIn { .. })),
    (
        "another recipient",
        |c| c.block.body.peg_ins[0].recipient = Address::repeat_byte(2),
        |r| matches!(r, BlockRefusal::PegIn { .. }),
    ),
    ("another output", |c| c.block.body.peg_ins[0].vout = 1, |r| matches!(r, BlockRefusal::PegIn { .. })),
    ("damaged proof", |c| c.block.body.merkle_flip(), |r| matches!(r, BlockRefusal::PegIn { .. })),
    ("the same deposit twice", double_deposit, |r| matches!(r, BlockRefusal::Ledger(alys_peg::Violation::MintedTwice(_)))),
    ("a deposit minted before", mint_before, |r| matches!(r, BlockRefusal::Ledger(_) | BlockRefusal::Withdrawals(_))),
    ("a payout that does not follow", unplanned_payout, |r| matches!(r, BlockRefusal::Payout(_) | BlockRefusal::PayoutForm(_))),
    ("a settlement without proof", settlement, |r| matches!(r, BlockRefusal::Settlement { index: 0, .. })),
    ("a refund of no burn", refund, |r| matches!(r, BlockRefusal::Refund { index: 0, .. })),
];

const PAYLOAD: &[Rule] = &[
    ("not a payload", |c| c.block.body.payload = vec![1].try_into().unwrap(), |r| matches!(r, BlockRefusal::PayloadForm(_))),
    (
        "number",
        |c| payload(&mut c.block, |p| p.payload_inner.payload_inner.block_number = 4),
        |r| matches!(r, BlockRefusal::PayloadNumber(4)),
    ),
    (
        "EL parent",
        |c| payload(&mut c.block, |p| p.payload_inner.payload_inner.parent_hash = EL_GENESIS),
        |r| matches!(r, BlockRefusal::PayloadParent(_)),
    ),
    (
        "timestamp",
        |c| payload(&mut c.block, |p| p.payload_inner.payload_inner.timestamp += 2),
        |r| matches!(r, BlockRefusal::PayloadTime(_)),
    ),
    (
        "randao",
        |c| payload(&mut c.block, |p| p.payload_inner.payload_inner.prev_randao = B256::ZERO),
        |r| matches!(r, BlockRefusal::PayloadRandao(_)),
    ),
    (
        "fee recipient",
        |c| payload(&mut c.block, |p| p.payload_inner.payload_inner.fee_recipient = Address::ZERO),
        |r| matches!(r, BlockRefusal::FeeRecipient(_)),
    ),
    (
        "gas limit",
        |c| payload(&mut c.block, |p| p.payload_inner.payload_inner.gas_limit += 1),
        |r| matches!(r, BlockRefusal::GasLimit(_)),
    ),
    ("blobs", |c| payload(&mut c.block, |p| p.blob_gas_used = 131_072), |r| matches!(r, BlockRefusal::Blobs)),
    ("excess blobs", |c| payload(&mut c.block, |p| p.excess_blob_gas = 1), |r| matches!(r, BlockRefusal::Blobs)),
    (
        "withdrawal of a validator",
        |c| payload(&mut c.block, |p| p.payload_inner.withdrawals[0].validator_index = 1),
        |r| matches!(r, BlockRefusal::WithdrawalValidator),
    ),
    ("extra withdrawal by the proposer", extra_withdrawal, |r| matches!(r, BlockRefusal::Withdrawals(_))),
    (
        "missing withdrawal",
        |c| payload(&mut c.block, |p| p.payload_inner.withdrawals.clear()),
        |r| matches!(r, BlockRefusal::Withdrawals(_)),
    ),
    (
        "withdrawal of more",
        |c| payload(&mut c.block, |p| p.payload_inner.withdrawals[0].amount += 1),
        |r| matches!(r, BlockRefusal::Withdrawals(_)),
    ),
    (
        "withdrawal to another",
        |c| payload(&mut c.block, |p| p.payload_inner.withdrawals[0].address = Address::ZERO),
        |r| matches!(r, BlockRefusal::Withdrawals(_)),
    ),
    (
        "withdrawal index",
        |c| payload(&mut c.block, |p| p.payload_inner.withdrawals[0].index = 5),
        |r| matches!(r, BlockRefusal::Withdrawals(_)),
    ),
];

#[test]
fn each_broken_rule_has_its_reason() {
    for (name, break_it, expected) in HEADER.iter().chain(CLAIMS).chain(PAYLOAD) {
        let mut case = case();
        break_it(&mut case);
        let before = case.ledger.clone();
        let refused = case.check().expect_err(name);
        assert!(expected(&refused), "{name}: {refused:?}");
        assert_eq!(case.ledger, before, "{name} leaves the ledger");
    }
}

#[test]
fn block_one_carries_no_certificate() {
    let mut case = case();
    case.parent = rules(1).genesis(EL_GENESIS);
    case.block.header.height = 1;
    case.block.header.slot = 1;
    case.block.header.parent = case.parent.hash;
    assert_eq!(case.check(), Err(BlockRefusal::GenesisCertificate));
}

trait FlipMerkle {
    fn merkle_flip(&mut self);
}

impl FlipMerkle for Body {
    fn merkle_flip(&mut self) {
        self.peg_ins[0].merkle_proof[40] ^= 1;
    }
}

fn extra_withdrawal(case: &mut Case) {
    payload(&mut case.block, |payload| {
        let mut extra = payload.payload_inner.withdrawals[0];
        extra.index += 1;
        payload.payload_inner.withdrawals.push(extra);
    });
}

fn double_deposit(case: &mut Case) {
    let claim = case.block.body.peg_ins[0].clone();
    case.block.body.peg_ins.push(claim).unwrap();
    extra_withdrawal(case);
}

fn mint_before(case: &mut Case) {
    let minted = Minted::from(&case.block.body.peg_ins[0]);
    let fact = Fact::Minted(minted).at(alys_proto::Height(1));
    case.ledger = Ledger::replay(&case.rules.spec, alys_proto::Height(2), &[fact]).unwrap();
    payload(&mut case.block, |payload| payload.payload_inner.withdrawals[0].index = 1);
}

fn unplanned_payout(case: &mut Case) {
    let proof: PegInProof = deposit_proof(&case.rules, 50_000, Address::repeat_byte(0x11), 10);
    let recorded = alys_peg::PayoutRecorded {
        transaction: proof.transaction,
        fee_rate: alys_peg::FeeRate(2_000),
        burns: vec![BurnRef { height: 1, log_index: 0 }],
    };
    case.block.body.payouts.push(alys_blocks::Payout::try_from(&recorded).unwrap()).unwrap();
}

fn settlement(case: &mut Case) {
    case.block
        .body
        .settlements
        .push(Settlement {
            txid: B256::repeat_byte(1),
            merkle_proof: case.block.body.peg_ins[0].merkle_proof.clone(),
            bitcoin_hash: B256::repeat_byte(2),
            bitcoin_height: 10,
        })
        .unwrap();
}

fn refund(case: &mut Case) {
    let reason = b"not-an-address".to_vec().try_into().unwrap();
    case.block.body.refunds.push(Refund { burn: BurnRef { height: 1, log_index: 0 }, reason }).unwrap();
}

#[test]
fn what_breaks_the_peg_is_counted_under_its_invariant() {
    let of = |rules: &[Rule], name: &str| {
        let (_, break_it, _) = rules.iter().find(|(rule, ..)| *rule == name).expect("a rule of this name");
        let mut case = case();
        break_it(&mut case);
        case.check().expect_err(name).invariant().map(|invariant| invariant.name())
    };
    assert_eq!(of(CLAIMS, "the same deposit twice"), Some("PEG-2"));
    assert_eq!(of(CLAIMS, "damaged proof"), Some("PEG-4"));
    assert_eq!(of(CLAIMS, "a refund of no burn"), Some("PEG-7"));
    assert_eq!(of(CLAIMS, "a settlement without proof"), Some("PEG-14"));
    assert_eq!(of(PAYLOAD, "missing withdrawal"), Some("PEG-5"));
    assert_eq!(of(PAYLOAD, "gas limit"), None, "no rule of the peg");

    let mut world = Simulation::new(1, 0, 1);
    let mut effects = Vec::new();
    let own = BlockRefusal::Ledger(alys_peg::Violation::Books("a test"));
    world.nodes[0].state.as_mut().expect("it runs").refuse_own(own.clone(), &mut effects);
    world.nodes[0]
        .state
        .as_mut()
        .expect("it runs")
        .halt(HaltReason::InvalidCommitted { height: 1, hash: B256::ZERO, reason: Box::new(own) }, &mut effects);
    let counted: Vec<_> = world.state(0).violations().by_name().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("PEG-12", 2)]);
}
