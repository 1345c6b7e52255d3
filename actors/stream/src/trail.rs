//! What passes through the shell, as steps in the traces of deposits and burns.
//!
//! | trace | step | when |
//! |---|---|---|
//! | deposit | asked | the first member is asked |
//! | | approval | a member approves; once for each |
//! | | quorum | chain is asked |
//! | burn | signatures asked | the first member is asked |
//! | | signature passed on | a member's signatures go to bridge; once for each |
//!
//! Each is told once, however often it is repeated.

use alys_cluster::telemetry::Steps;
use alys_proto::Cause;
use alys_proto::governance::{from_member, to_member};

use crate::core::{Effect, Input, OutPointKey, State};

/// Which steps were told.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    steps: Steps,
}

impl Trail {
    /// Before the core takes it in: a member approves. Only what somebody asked for counts, so no member can fill the log.
    pub(crate) fn entering(&mut self, input: &Input, state: &State) {
        let Input::Received { connection, message } = input else { return };
        let Some(from_member::Payload::Approval(approval)) = &message.payload else { return };
        let Some(outpoint) = OutPointKey::from_wire(approval.outpoint.as_ref()) else { return };
        if let Some(member) = state.member(*connection)
            && state.is_open(&outpoint)
        {
            let (member, cause) = (&member.0, Cause::deposit(&outpoint.txid, outpoint.vout));
            self.step("approval", member, &cause, || tracing::info!(member, "deposit approved"));
        }
    }

    /// On its way out.
    pub(crate) fn leaving(&mut self, effect: &Effect, state: &State) {
        match effect {
            Effect::Send { message, .. } => self.asking(message.payload.as_ref()),
            Effect::ValidatePegIn { outpoint, request } => {
                let (approved_by, cause) = (request.approved_by.join(" "), Cause::deposit(&outpoint.txid, outpoint.vout));
                self.step("quorum", "", &cause, || tracing::info!(approved_by, "deposit has a quorum: chain is asked"));
            }
            Effect::DeliverSignatures { member, txid, request } => {
                for burn in state.burns_of(txid) {
                    let (member, count) = (&member.0, request.signatures.len());
                    self.step("signature passed on", member, &burn.into(), || {
                        tracing::info!(member, count, "signatures passed on")
                    });
                }
            }
            Effect::Close { .. } | Effect::Route { .. } => {}
        }
    }

    fn asking(&mut self, payload: Option<&to_member::Payload>) {
        match payload {
            Some(to_member::Payload::ApprovalRequest(request)) => {
                let outpoint = request.deposit.as_ref().and_then(|deposit| deposit.outpoint.as_ref());
                if let Some(outpoint) = outpoint {
                    self.step("asked", "", &outpoint.into(), || tracing::info!("governance is asked to approve"));
                }
            }
            Some(to_member::Payload::SignatureRequest(request)) => {
                for burn in request.payout.iter().flat_map(|payout| &payout.burns) {
                    self.step("signatures asked", "", &burn.into(), || tracing::info!("governance is asked to sign"));
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, step: &'static str, by: &str, cause: &Cause, tell: impl FnOnce()) {
        if let Some(span) = self.steps.first(step, by, cause) {
            span.in_scope(tell);
        }
    }
}
