//! Random histories, honest and not: after every block the invariants hold, and a refused block leaves no trace.

use std::collections::BTreeMap;

use alys_proto::{Sats, Wei};
use bitcoin::{OutPoint, Txid};
use proptest::prelude::*;

use super::support::*;
use crate::{BurnRef, BurnState, Fact, FeeRate, Ledger, Refunded, payout, refund};

#[derive(Clone, Debug)]
enum Step {
    Deposit {
        n: u64,
        sats: u64,
    },
    Burn {
        part: u8,
        kind: u8,
    },
    Pay {
        rate: u64,
    },
    Settle {
        which: usize,
    },
    Refund {
        rate: u64,
    },
    /// A fact from the past, again.
    Replay {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..40, 1u64..3 * BTC).prop_map(|(n, sats)| Step::Deposit { n, sats }),
        4 => (1u8..100, any::<u8>()).prop_map(|(part, kind)| Step::Burn { part, kind }),
        3 => (1_000u64..500_000).prop_map(|rate| Step::Pay { rate }),
        3 => any::<usize>().prop_map(|which| Step::Settle { which }),
        1 => (1_000u64..500_000).prop_map(|rate| Step::Refund { rate }),
        2 => any::<usize>().prop_map(|which| Step::Replay { which }),
    ]
}

fn burn_fact(ledger: &Ledger, part: u8, kind: u8, log_index: u32) -> Option<Fact> {
    let height = ledger.height().next().0;
    let sats = ledger.supply().0 / wei(1).0 * u128::from(part) / 300;
    let sats = u64::try_from(sats).ok().filter(|sats| *sats > 0)?;
    let mut burned = burn(height, log_index, sats);
    match kind % 8 {
        0 => burned.bitcoin_address = b"nonsense".to_vec(),
        1 => burned.bitcoin_address = federation().address().to_string().into_bytes(),
        2 => burned.amount = Wei(burned.amount.0 - 1),
        3 => burned.amount = wei(sats.min(10_000)),
        _ => {}
    }
    (burned.amount.0 >= 1_000_000_000).then_some(Fact::Burned(burned))
}

fn facts_of(ledger: &Ledger, history: &[Fact], steps: &[Step]) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (log_index, step) in (0..).zip(steps) {
        match step {
            Step::Deposit { n, sats } => facts.push(deposit(*n, *sats)),
            Step::Burn { part, kind } => facts.extend(burn_fact(ledger, *part, *kind, log_index)),
            Step::Pay { rate } => {
                facts.extend(payout::plan(ledger, FeeRate(*rate)).ok().map(|plan| Fact::PayoutRecorded(plan.recorded())))
            }
            Step::Settle { which } => {
                let flying: Vec<_> = ledger.payouts_in_flight().map(|(txid, _)| *txid).collect();
                facts.extend(flying.get(which % flying.len().max(1)).map(|txid| settled(*txid)));
            }
            Step::Refund { rate } => facts.extend(refund::due(ledger, Some(FeeRate(*rate))).into_iter().map(Fact::Refunded)),
            Step::Replay { which } => facts.extend(history.get(which % history.len().max(1)).cloned()),
        }
    }
    facts
}

/// Bitcoin as an outsider would see it: who was paid what by which coins, in a plain list.
#[derive(Default)]
struct Witnessed {
    paid: BTreeMap<BurnRef, Txid>,
    refunded: BTreeMap<BurnRef, Refunded>,
    spent: BTreeMap<OutPoint, Txid>,
    minted: BTreeMap<OutPoint, Sats>,
}

impl Witnessed {
    fn see(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Minted(minted) => assert!(self.minted.insert(minted.outpoint, minted.value).is_none(), "minted twice"),
                Fact::Refunded(refunded) => {
                    assert!(!self.paid.contains_key(&refunded.burn), "paid and refunded");
                    assert!(self.refunded.insert(refunded.burn, *refunded).is_none(), "refunded twice");
                }
                Fact::PayoutRecorded(recorded) => {
                    for id in &recorded.burns {
                        assert!(!self.refunded.contains_key(id), "refunded and paid");
                        assert!(self.paid.insert(*id, recorded.txid()).is_none(), "paid twice");
                    }
                    for input in &recorded.transaction.input {
                        assert!(self.spent.insert(input.previous_output, recorded.txid()).is_none(), "spent twice");
                    }
                }
                Fact::PayoutSettled(_) | Fact::Burned(_) | Fact::WorkSettled(_) | Fact::Decided(_) => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_histories_keep_the_invariants(blocks in proptest::collection::vec(proptest::collection::vec(step(), 0..4), 1..40)) {
        let mut ledger = ledger();
        let mut history = Vec::new();
        let mut witnessed = Witnessed::default();
        for steps in &blocks {
            let facts = facts_of(&ledger, &history, steps);
            let before = ledger.clone();
            let height = ledger.height().next();
            let verdict = ledger.would_apply(height, &facts);
            prop_assert_eq!(&ledger, &before);
            prop_assert_eq!(ledger.apply(height, &facts), verdict.clone());
            prop_assert_eq!(ledger.check_invariants(), Ok(()));
            if verdict.is_ok() {
                witnessed.see(&facts);
                history.extend(facts);
            } else {
                prop_assert_eq!(&ledger, &before);
                ledger.apply(height, &[]).unwrap();
            }
        }
    }

    /// Whatever was burned, and whatever the fees did meanwhile: when the chain goes on, nothing waits for ever.
    #[test]
    fn every_burn_is_paid_or_refunded_in_the_end(
        deposits in proptest::collection::vec(20_000u64..BTC, 1..12),
        burns in proptest::collection::vec((1u8..100, any::<u8>()), 1..12),
        rate in 1_000u64..100_000,
    ) {
        let mut ledger = ledger();
        let minted: Vec<Fact> = (0..).zip(&deposits).map(|(n, sats)| deposit(n, *sats)).collect();
        block(&mut ledger, &minted);
        for (part, kind) in &burns {
            let facts: Vec<Fact> = burn_fact(&ledger, *part, *kind, 0).into_iter().collect();
            block(&mut ledger, &facts);
        }
        for _ in 0..2 * burns.len() + 2 {
            let due: Vec<Fact> = refund::due(&ledger, Some(FeeRate(rate))).into_iter().map(Fact::Refunded).collect();
            block(&mut ledger, &due);
            if let Ok(plan) = payout::plan(&ledger, FeeRate(rate)) {
                block(&mut ledger, &[Fact::PayoutRecorded(plan.recorded())]);
            }
            let confirmed: Vec<Fact> = ledger.payouts_in_flight().map(|(txid, _)| settled(*txid)).collect();
            block(&mut ledger, &confirmed);
        }
        prop_assert_eq!(ledger.pending_burns().count(), 0);
        prop_assert!(ledger.burns().all(|(_, state)| matches!(state, BurnState::Paid(_) | BurnState::Refunded(_))));
        prop_assert_eq!(ledger.owed(), Wei(0));
    }
}
