//! What passes through the shell, as steps in the traces of deposits and burns.
//!
//! | trace | step | when |
//! |---|---|---|
//! | deposit | detected | it is in the mempool, or in a block |
//! | | confirmed | it is deep enough to be announced |
//! | | announced | stream is told |
//! | burn | seen | a committed block states it |
//! | | proposed, refund proposed | chain is asked to record its payout or refund |
//! | | recorded | a committed block states its payout |
//! | | signatures requested | stream is asked for them |
//! | | complete | there are enough |
//! | | broadcast | bitcoind has the payout |
//! | | confirmed | the payout is deep enough |
//!
//! Each is told once, however often it is repeated. A restart may tell the step again that it repeats.

use alys_cluster::telemetry::Steps;
use alys_peg::{Ledger, deposit};
use alys_proto::Cause;
use alys_proto::storage::{LedgerFact, ledger_fact::Fact};
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};

use crate::core::documents::{Document, Stored};
use crate::core::sightings::Judged;
use crate::core::{Effect, Input, State};

/// Which steps were told.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    steps: Steps,
}

impl Trail {
    /// Before the core takes it in.
    pub(crate) fn entering(&mut self, input: &Input, state: &State) {
        match input {
            Input::Unconfirmed(transaction) => {
                let rules = state.rules();
                for found in deposit::find(transaction, &rules.federation, &rules.peg).into_iter().flatten() {
                    self.detected(&found.outpoint, 0);
                }
            }
            Input::Finalized { height, facts } if *height > state.ledger().height().0 => {
                for fact in facts {
                    self.stated(fact);
                }
            }
            Input::Broadcast { txid, outcome: Ok(()) } => {
                for cause in causes(state.ledger(), txid) {
                    self.step("broadcast", &cause, || tracing::info!(%txid, "payout is with bitcoin"));
                }
            }
            _ => {}
        }
    }

    /// On its way out.
    pub(crate) fn leaving(&mut self, effect: &Effect, state: &State) {
        match effect {
            Effect::Persist(documents) => self.found(documents),
            Effect::BitcoinTransactionDetected(proof) => {
                let Some(cause) = proof.outpoint.as_ref().map(Cause::from) else { return };
                self.step("confirmed", &cause, || {
                    tracing::info!(bitcoin_height = proof.bitcoin_height, "deposit is deep enough")
                });
                self.step("announced", &cause, || tracing::info!("deposit announced to governance"));
            }
            Effect::ProposePayout(payout) => {
                let txid = payout.txid();
                for burn in &payout.burns {
                    let cause = Cause::burn(burn.height, burn.log_index);
                    self.step("proposed", &cause, || tracing::info!(%txid, fee_rate = payout.fee_rate.0, "payout proposed"));
                }
            }
            Effect::ProposeRefund(refunded) => {
                let cause = Cause::burn(refunded.burn.height, refunded.burn.log_index);
                self.step("refund proposed", &cause, || tracing::info!(reason = %refunded.reason, "refund proposed"));
            }
            Effect::RequestFederationSignatures(payout) => {
                let txid = payout.recorded.txid();
                for cause in causes(state.ledger(), &txid) {
                    self.step("signatures requested", &cause, || tracing::info!(%txid, "signatures requested"));
                }
            }
            Effect::SigningFinished(txid) => {
                for cause in causes(state.ledger(), txid) {
                    self.step("complete", &cause, || tracing::info!(%txid, "payout has enough signatures"));
                }
            }
            Effect::PayoutConfirmed { txid, block, .. } => {
                for cause in causes(state.ledger(), txid) {
                    self.step(
                        "confirmed",
                        &cause,
                        || tracing::info!(%txid, bitcoin_height = block.height, "payout is deep enough"),
                    );
                }
            }
            _ => {}
        }
    }

    /// Outputs that pay the federation and are new in a block.
    fn found(&mut self, documents: &[Document]) {
        for Document { key, value } in documents {
            let Some(value) = value else { continue };
            if let Ok(Some(Stored::Coin(outpoint, coin))) = Stored::read(key, value)
                && matches!(coin.judged, Judged::Valid(_))
                && coin.spent_by.is_none()
                && coin.evidence.is_some()
            {
                self.detected(&outpoint, coin.block.height);
            }
        }
    }

    fn detected(&mut self, outpoint: &OutPoint, bitcoin_height: u32) {
        let cause = Cause::deposit(outpoint.txid.as_byte_array(), outpoint.vout);
        self.step("detected", &cause, || tracing::info!(%outpoint, bitcoin_height, "deposit detected"));
    }

    fn stated(&mut self, fact: &LedgerFact) {
        match &fact.fact {
            Some(Fact::Burned(burn)) => {
                let transaction = hex::encode(&burn.transaction_hash);
                self.step("seen", &burn.into(), || tracing::info!(transaction, height = burn.height, "burn seen"));
            }
            Some(Fact::PayoutRecorded(payout)) => {
                for burn in &payout.burns {
                    self.step("recorded", &burn.into(), || tracing::info!(height = fact.height, "payout is recorded"));
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, step: &'static str, cause: &Cause, tell: impl FnOnce()) {
        if let Some(span) = self.steps.first(step, "", cause) {
            span.in_scope(tell);
        }
    }
}

/// The burns that a recorded payout pays.
fn causes(ledger: &Ledger, txid: &Txid) -> Vec<Cause> {
    let burns = ledger.payout(txid).map(|payout| payout.recorded.burns.as_slice()).unwrap_or_default();
    burns.iter().map(|burn| Cause::burn(burn.height, burn.log_index)).collect()
}
