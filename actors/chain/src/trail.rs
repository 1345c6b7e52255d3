//! What passes through the shell, as steps in the traces of deposits and burns.
//!
//! | trace | step | when |
//! |---|---|---|
//! | deposit | accepted | its claim waits for a block, or is in one |
//! | | minted | a committed block states it |
//! | burn | accepted, settlement accepted, refund accepted | the same for its payout, the settlement, the refund |
//! | | burned, recorded, settled, refunded | a committed block states it |
//!
//! Each is told once, however often a claim is repeated.

use alys_cluster::telemetry::Steps;
use alys_peg::Ledger;
use alys_proto::storage::{LedgerFact, ledger_fact::Fact};
use alys_proto::{Cause, storage};
use bitcoin::Txid;
use bitcoin::hashes::Hash;

use crate::core::Claim;

/// Which steps were told.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    steps: Steps,
}

/// The step that follows when a claim is accepted, for each thing that it is about.
#[derive(Debug, Default)]
pub(crate) struct Accepting {
    step: &'static str,
    causes: Vec<Cause>,
}

impl Accepting {
    pub(crate) fn of(claim: &Claim, ledger: &Ledger) -> Self {
        match claim {
            Claim::PegIn { proof, .. } => {
                let outpoint = proof.outpoint;
                Self { step: "accepted", causes: vec![Cause::deposit(outpoint.txid.as_byte_array(), outpoint.vout)] }
            }
            Claim::Payout(recorded) => {
                let causes = recorded.burns.iter().map(|burn| Cause::burn(burn.height, burn.log_index)).collect();
                Self { step: "accepted", causes }
            }
            Claim::Settlement { proof, .. } => Self { step: "settlement accepted", causes: paid_by(ledger, &proof.txid) },
            Claim::Refund { burn, .. } => {
                Self { step: "refund accepted", causes: vec![Cause::burn(burn.height, burn.log_index)] }
            }
            Claim::Record(_) => Self::default(),
        }
    }
}

impl Trail {
    /// A claim is pending or recorded.
    pub(crate) fn accepted(&mut self, accepting: &Accepting) {
        for cause in &accepting.causes {
            self.step(accepting.step, cause, || tracing::info!("claim accepted"));
        }
    }

    /// A block is stored and executed.
    pub(crate) fn committed(&mut self, facts: &[LedgerFact], ledger: &Ledger) {
        for LedgerFact { height, fact } in facts {
            match fact {
                Some(Fact::Minted(storage::Minted { outpoint: Some(outpoint), value_sats, .. })) => {
                    self.step("minted", &outpoint.into(), || tracing::info!(height, value_sats, "deposit minted"));
                }
                Some(Fact::Burned(burn)) => self.step("burned", &burn.into(), || tracing::info!(height, "burn committed")),
                Some(Fact::PayoutRecorded(payout)) => {
                    for burn in &payout.burns {
                        self.step("recorded", &burn.into(), || tracing::info!(height, "payout recorded"));
                    }
                }
                Some(Fact::PayoutSettled(settled)) => {
                    let txid = Txid::from_slice(&settled.txid).ok();
                    for cause in txid.map(|txid| paid_by(ledger, &txid)).unwrap_or_default() {
                        self.step("settled", &cause, || tracing::info!(height, "payout settled"));
                    }
                }
                Some(Fact::Refunded(storage::Refunded { burn: Some(burn), reason })) => {
                    self.step("refunded", &burn.into(), || tracing::info!(height, reason, "burn refunded"));
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, step: &'static str, cause: &Cause, tell: impl FnOnce()) {
        if let Some(span) = self.steps.first(step, "", cause) {
            span.in_scope(tell);
        }
    }
}

/// The burns that a recorded payout pays.
fn paid_by(ledger: &Ledger, txid: &Txid) -> Vec<Cause> {
    let burns = ledger.payout(txid).map(|payout| payout.recorded.burns.as_slice()).unwrap_or_default();
    burns.iter().map(|burn| Cause::burn(burn.height, burn.log_index)).collect()
}
