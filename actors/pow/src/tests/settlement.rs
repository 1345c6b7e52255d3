use std::num::NonZeroU64;

use alloy_primitives::{Address, B256};
use proptest::prelude::*;

use super::support::*;
use crate::{
    AuxPow, Bits, Bundle, BundleRefusal, Claim, Committed, Halted, MergedTree, ProofRefusal, Retarget, Settled,
    SettlementRefusal, WorkRules,
};

const BEGUN: u64 = 1_700_000_000;

fn rules() -> WorkRules {
    let limit = Bits::new(0x207f_ffff).unwrap();
    WorkRules {
        domain: domain(),
        chain_id: EVM_CHAIN,
        aux_chain_id: chain_id(),
        retarget: Retarget::new(limit, 100, 3, 4).unwrap(),
        max_blocks_without_pow: NonZeroU64::new(10).unwrap(),
    }
}

/// Blocks up to 10 need no work.
fn before() -> Settled {
    Settled::start(block_ref(10), BEGUN, Bits::new(0x207f_ffff).unwrap(), &rules().retarget)
}

fn up_to(head: u64) -> Committed<'static> {
    Committed { head, hash_at: &hash_at }
}

fn mined(claim: Claim) -> Bundle {
    let hash = claim.mined_hash(&domain(), EVM_CHAIN);
    let tree = MergedTree::new(&[(OURS, hash.0)]).unwrap();
    let block = parent_block(&script_with(&tree.commitment().to_bytes()), 2);
    let mut proof = AuxPow::from_block(&block, tree.branch(OURS)).unwrap();
    solve(&mut proof, Bits::new(claim.bits).map_or(crate::Target::MAX, Bits::target));
    Bundle { claim, proof }
}

fn next(settled: &Settled, end: u64) -> Claim {
    settled.next_claim(block_ref(settled.end.height + 1).hash, block_ref(end), Address::repeat_byte(7))
}

#[test]
fn a_bundle_settles_its_range() {
    assert_eq!(next(&before(), 20), claim());
    let after = rules().judge(&before(), &mined(claim()), &up_to(20), BEGUN + 60).unwrap();
    assert_eq!(after, Settled { sequence: 1, end: block_ref(20), ..before() });
    let one_block = next(&after, 21);
    let after = rules().judge(&after, &mined(one_block), &up_to(30), BEGUN + 70).unwrap();
    assert_eq!((after.sequence, after.end), (2, block_ref(21)));
}

#[test]
fn each_false_range_is_refused_with_its_own_reason() {
    type Breach = (fn(&mut Claim), SettlementRefusal);
    let breaches: [Breach; 11] = [
        (|c| c.sequence = 0, SettlementRefusal::Sequence { found: 0, expected: 1 }),
        (|c| c.sequence = 2, SettlementRefusal::Sequence { found: 2, expected: 1 }),
        (|c| c.start = block_ref(10), SettlementRefusal::Start { found: 10, expected: 11 }),
        (|c| c.start = block_ref(12), SettlementRefusal::Start { found: 12, expected: 11 }),
        (|c| c.end = block_ref(10), SettlementRefusal::Empty { start: 11, end: 10 }),
        (|c| c.end = block_ref(21), SettlementRefusal::AboveHead { end: 21, head: 20 }),
        (|c| c.end = block_ref(u64::MAX), SettlementRefusal::AboveHead { end: u64::MAX, head: 20 }),
        (|c| c.bits = 0x2010_0000, SettlementRefusal::Bits { found: 0x2010_0000, expected: 0x207f_ffff }),
        (|c| c.bits = 0, SettlementRefusal::Bits { found: 0, expected: 0x207f_ffff }),
        (|c| c.start.hash = B256::ZERO, SettlementRefusal::OtherBlock(11)),
        (|c| c.end.hash = B256::ZERO, SettlementRefusal::OtherBlock(20)),
    ];
    for (breach, refusal) in breaches {
        let mut claim = claim();
        breach(&mut claim);
        let judged = rules().judge(&before(), &mined(claim), &up_to(20), BEGUN);
        assert_eq!(judged, Err(BundleRefusal::Settlement(refusal)));
    }
}

#[test]
fn a_block_that_the_chain_does_not_know_is_refused() {
    let nothing = Committed { head: 20, hash_at: &|_| None };
    let judged = rules().judge(&before(), &mined(claim()), &nothing, BEGUN);
    assert_eq!(judged, Err(SettlementRefusal::OtherBlock(11).into()));
}

#[test]
fn work_for_one_claim_settles_no_other() {
    let bundle = Bundle { claim: Claim { fee_recipient: Address::repeat_byte(8), ..claim() }, ..mined(claim()) };
    let judged = rules().judge(&before(), &bundle, &up_to(20), BEGUN);
    assert_eq!(judged, Err(BundleRefusal::Proof(ProofRefusal::OtherRoot)));
}

#[test]
fn a_bundle_settles_once() {
    let after = rules().judge(&before(), &mined(claim()), &up_to(20), BEGUN).unwrap();
    let again = rules().judge(&after, &mined(claim()), &up_to(30), BEGUN);
    assert_eq!(again, Err(SettlementRefusal::Sequence { found: 1, expected: 2 }.into()));
}

#[test]
fn the_work_is_judged_by_the_chains_bits() {
    let hard = Settled { bits: Bits::new(0x1d00_ffff).unwrap(), ..before() };
    let easy_work = Bundle { claim: next(&hard, 20), ..mined(claim()) };
    let judged = rules().judge(&hard, &easy_work, &up_to(20), BEGUN);
    assert!(matches!(judged, Err(BundleRefusal::Proof(ProofRefusal::TooLittleWork(_)))));
}

#[test]
fn the_target_moves_after_each_window() {
    let mut settled = before();
    let mut seen = Vec::new();
    // Three bundles in 150 s instead of 300 s, then three in 1,200 s.
    for (end, time) in [(11, 50), (12, 100), (13, 150), (14, 550), (15, 950), (16, 1_350)] {
        settled = rules().judge(&settled, &mined(next(&settled, end)), &up_to(end), BEGUN + time).unwrap();
        seen.push((settled.bits.to_u32(), settled.window_start - BEGUN));
    }
    let (easy, harder) = (0x207f_ffff, 0x203f_ffff);
    assert_eq!(seen, [(easy, 0), (easy, 0), (harder, 150), (harder, 150), (harder, 150), (easy, 1_350)]);
}

#[test]
fn the_first_target_is_not_easier_than_the_limit() {
    let easier = Settled::start(block_ref(0), 0, Bits::new(0x2100_ffff).unwrap(), &rules().retarget);
    assert_eq!(easier.bits.to_u32(), 0x207f_ffff);
}

#[test]
fn the_chain_halts_without_work_and_resumes_with_it() {
    let (rules, before) = (rules(), before());
    for height in 11..=20 {
        assert_eq!(rules.check_unsettled(&before, height), Ok(()));
    }
    let halted = Halted { unsettled: 11, max: NonZeroU64::new(10).unwrap() };
    assert_eq!(rules.check_unsettled(&before, 21), Err(halted));
    // Block 21 may come with any bundle, even one for a single block; the next waits again.
    let after = rules.judge(&before, &mined(next(&before, 11)), &up_to(20), BEGUN).unwrap();
    assert_eq!(rules.check_unsettled(&after, 21), Ok(()));
    assert!(rules.check_unsettled(&after, 22).is_err());
    let after = rules.judge(&before, &mined(next(&before, 20)), &up_to(20), BEGUN).unwrap();
    assert_eq!(rules.check_unsettled(&after, 30), Ok(()));
}

proptest! {
    /// Whatever is accepted, the settled ranges cover every block once, in order, and end at or below the head.
    #[test]
    fn settled_ranges_join(claims in prop::collection::vec((9_u64..14, 9_u64..20, 0_u64..4, 10_u64..20), 1..20)) {
        let mut settled = before();
        for (start, end, sequence, head) in claims {
            let next = next(&settled, end);
            let claim = Claim { start: block_ref(start), sequence, ..next };
            if settled.check_claim(&claim, &up_to(head)).is_ok() {
                prop_assert_eq!(claim.start.height, settled.end.height + 1);
                prop_assert_eq!(claim.sequence, settled.sequence + 1);
                prop_assert!(claim.start.height <= claim.end.height && claim.end.height <= head);
                settled = Settled { sequence, end: claim.end, ..settled };
            }
        }
    }
}
