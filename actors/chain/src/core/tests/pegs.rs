//! Claims on their way into blocks: once, confirmed, and never in the way of empty blocks.

use alloy_primitives::Address;
use alys_peg::{Action, BurnRef, Decision, FeeRate, payout};
use alys_proto::Sats;
use bitcoin::secp256k1::SecretKey;

use super::fixtures::{approvers, burn, deposit_proof, view};
use super::simulation::Simulation;
use crate::core::{Answer, Claim, Input, Note, PegVerdict};

const RECIPIENT: Address = Address::repeat_byte(0x22);

fn deposit(world: &Simulation, height: u32) -> Claim {
    let proof = deposit_proof(&world.rules, 100_000_000, RECIPIENT, height);
    Claim::PegIn { proof: Box::new(proof), approved_by: approvers() }
}

/// Node 0 mints one deposit.
pub(super) fn mint_one(world: &mut Simulation) {
    world.step(0, Input::BitcoinView(view(20)));
    let claim = deposit(world, 10);
    assert_eq!(world.claim(0, claim), Answer::Accepted);
    world.run_until(20, |world| world.state(0).ledger().supply().to_sats() == Some(Sats(100_000_000)));
}

impl Simulation {
    /// The same deposit again and again, by whoever is asked.
    pub(crate) fn claim_deposit(&mut self, node: usize) {
        let claim = deposit(self, 10);
        self.step(node, Input::ClaimArrived { ticket: crate::core::Ticket(9), claim });
    }
}

#[test]
fn a_deposit_is_minted_once_however_often_it_comes() {
    let mut world = Simulation::new(1, 0, 1);
    mint_one(&mut world);
    let minted = world.height(0) as usize;
    let block = world.nodes[0].disk.block(minted);
    assert_eq!((block.body.peg_ins.len(), block.header.bitcoin_view), (1, view(20)));
    for _ in 0..3 {
        let again = deposit(&world, 10);
        assert_eq!(world.claim(0, again), Answer::Accepted, "already minted is accepted");
        world.run_for(2_000);
    }
    assert_eq!(world.state(0).ledger().supply().to_sats(), Some(Sats(100_000_000)));
    assert_eq!(world.state(0).ledger().next_withdrawal_index(), 1);
}

#[test]
fn a_deposit_waits_until_it_is_deep_and_empty_blocks_go_on() {
    let mut world = Simulation::new(1, 0, 1);
    world.step(0, Input::BitcoinView(view(14)));
    let claim = deposit(&world, 10);
    assert_eq!(world.claim(0, claim), Answer::Accepted);
    world.run_until(20, |world| world.height(0) == 3);
    assert_eq!(world.state(0).ledger().next_withdrawal_index(), 0);
    world.step(0, Input::BitcoinView(view(15)));
    world.run_until(5, |world| world.state(0).ledger().next_withdrawal_index() == 1);
}

#[test]
fn too_few_approvals_or_strangers_are_refused() {
    let mut world = Simulation::new(1, 0, 1);
    for approved_by in
        [vec![], vec!["member-1".to_owned(), "member-1".to_owned()], vec!["member-1".to_owned(), "mallory".to_owned()]]
    {
        let proof = Box::new(deposit_proof(&world.rules, 100_000_000, RECIPIENT, 10));
        assert!(matches!(world.claim(0, Claim::PegIn { proof, approved_by }), Answer::Refused(_)));
    }
    let mut proof = Box::new(deposit_proof(&world.rules, 100_000_000, RECIPIENT, 10));
    proof.recipient = Address::repeat_byte(0x66);
    assert!(matches!(world.claim(0, Claim::PegIn { proof, approved_by: approvers() }), Answer::Refused(_)));
}

#[test]
fn a_claim_that_bitcoind_contradicts_is_dropped_and_blocks_go_on() {
    let mut world = Simulation::new(1, 0, 1);
    world.nodes[0].peg_verdict = PegVerdict::Invalid("not in the best chain".into());
    world.step(0, Input::BitcoinView(view(20)));
    let claim = deposit(&world, 10);
    assert_eq!(world.claim(0, claim), Answer::Accepted);
    world.run_until(20, |world| world.height(0) == 3);
    assert_eq!(world.state(0).ledger().next_withdrawal_index(), 0);
    assert_eq!(world.state(0).status().pending_claims, 0);
    assert!(world.nodes[0].notes.iter().any(|note| matches!(note, Note::ClaimDropped(_))));
}

#[test]
fn a_lagging_bitcoind_delays_the_claim_but_no_block() {
    let mut world = Simulation::new(1, 0, 1);
    world.nodes[0].peg_verdict = PegVerdict::Lagging("initial download".into());
    world.step(0, Input::BitcoinView(view(20)));
    let claim = deposit(&world, 10);
    world.claim(0, claim);
    world.run_until(20, |world| world.height(0) == 4);
    assert_eq!(world.state(0).status().pending_claims, 1);
    world.nodes[0].peg_verdict = PegVerdict::Valid;
    world.run_until(10, |world| world.state(0).ledger().next_withdrawal_index() == 1);
}

#[test]
fn without_a_view_no_claim_and_no_halt() {
    let mut world = Simulation::new(1, 0, 1);
    let claim = deposit(&world, 10);
    world.claim(0, claim);
    world.run_until(20, |world| world.height(0) == 3);
    assert_eq!(world.nodes[0].disk.block(3).header.bitcoin_view, alys_blocks::BitcoinView::default());
    assert!(world.nodes[0].peg_checks.is_empty());
}

#[test]
fn a_burn_is_recorded_as_the_computed_payout_and_only_as_that() {
    let mut world = Simulation::new(1, 0, 1);
    mint_one(&mut world);
    burn_in_next_block(&mut world, b"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080");
    let plan = payout::plan(world.state(0).ledger(), FeeRate(2_000)).unwrap().recorded();
    let mut stolen = plan.clone();
    stolen.transaction.output[0].value += bitcoin::Amount::from_sat(1);
    assert!(matches!(world.claim(0, Claim::Payout(Box::new(stolen))), Answer::Refused(_)), "[PEG-13]");
    assert_eq!(world.claim(0, Claim::Payout(Box::new(plan.clone()))), Answer::Accepted);
    world.run_until(5, |world| world.state(0).ledger().payout(&plan.txid()).is_some());
    assert_eq!(world.claim(0, Claim::Payout(Box::new(plan))), Answer::Accepted, "recorded already");
}

#[test]
fn an_unpayable_burn_goes_back_once() {
    let mut world = Simulation::new(1, 0, 1);
    mint_one(&mut world);
    let height = burn_in_next_block(&mut world, b"nonsense");
    let id = BurnRef { height, log_index: 0 };
    let refund = |reason: &str| Claim::Refund { burn: id, reason: reason.into() };
    assert!(matches!(world.claim(0, refund("below-dust")), Answer::Refused(_)));
    for _ in 0..3 {
        assert_eq!(world.claim(0, refund("not-an-address")), Answer::Accepted);
        world.run_for(2_000);
    }
    assert_eq!(world.state(0).ledger().supply().to_sats(), Some(Sats(100_000_000)));
    assert_eq!(world.state(0).ledger().next_withdrawal_index(), 2);
}

#[test]
fn a_full_node_proposes_nothing() {
    let mut world = Simulation::new(1, 1, 1);
    let claim = deposit(&world, 10);
    assert!(matches!(world.claim(1, claim), Answer::Refused(_)));
}

fn burn_in_next_block(world: &mut Simulation, address: &[u8]) -> u64 {
    let height = world.height(0) + 1;
    world.nodes[0].burns = vec![burn(height, address, 40_000_000)];
    world.run_until(5, |world| world.height(0) == height);
    assert_eq!(world.state(0).ledger().pending_burns().count(), 1);
    height
}

/// One member's signature under the next decision, told to one validator.
fn sign(world: &mut Simulation, node: usize, action: Action, member: u8) -> Answer {
    let number = world.state(node).ledger().decisions() + 1;
    let secret = SecretKey::from_slice(&[member; 32]).unwrap();
    let record = Decision { number, action }.sign(&world.rules.domain, usize::from(member - 1), &secret);
    world.claim(node, Claim::Record(record.encode()))
}

#[test]
fn peg_18_a_paused_peg_stands_still_on_all_validators_until_it_is_resumed() {
    let mut world = Simulation::new(4, 0, 1);
    world.step(0, Input::BitcoinView(view(20)));
    assert_eq!(sign(&mut world, 0, Action::PausePeg, 1), Answer::Accepted);
    world.run_until(20, |world| world.height(0) == 6);
    assert_eq!(world.state(0).ledger().paused(), None, "one member of the two that are needed");
    assert!(matches!(sign(&mut world, 0, Action::ResumePeg, 2), Answer::Refused(_)), "it would change nothing");
    assert_eq!(sign(&mut world, 0, Action::PausePeg, 3), Answer::Accepted);
    world.run_until(20, |world| (0..4).all(|node| world.state(node).ledger().paused().is_some()));

    let claim = deposit(&world, 10);
    assert_eq!(world.claim(0, claim), Answer::Accepted, "it waits");
    let height = world.height(0);
    world.run_until(30, |world| world.height(0) >= height + 8);
    assert_eq!(world.state(0).ledger().next_withdrawal_index(), 0);
    assert_eq!(world.state(0).status().pending_claims, 1);

    for member in [2, 3] {
        assert_eq!(sign(&mut world, 0, Action::ResumePeg, member), Answer::Accepted);
    }
    world.run_until(20, |world| (0..4).all(|node| world.state(node).ledger().next_withdrawal_index() == 1));
    assert_eq!(world.state(0).ledger().decisions(), 2);
}
