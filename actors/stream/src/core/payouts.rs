//! Payouts that wait for signatures. A member's signatures are kept until bridge says that it has enough, so a bridge that
//! restarts gets them again when it repeats its request.

use std::collections::BTreeMap;

use alys_proto::bridge::{FederationSignatures, InputSignature, SignatureVerdict};
use alys_proto::governance::{Refusal, Signatures, refusal};
use alys_proto::storage::BurnId;
use alys_proto::stream::RequestFederationSignatures;

use super::deposits::display_id;
use super::effect::Effect;
use super::input::{Answered, MemberName, Millis};
use super::turn::Turn;
use super::{Counters, bounded};

/// Payouts open at once. A request has at most ~64 KiB of transaction and ~200 KiB of PSBT: 9 MiB.
pub const MAX_PAYOUTS: usize = 32;

/// Signatures that one member may send for one payout: one per input, and 64 KiB of transaction hold at most 1,598 inputs.
pub const MAX_SIGNATURES: usize = 1_600;

/// Signatures of one member, on their way to bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    key: [u8; 32],
    signatures: Vec<SignatureOf>,
    state: DeliveryState,
}

/// One input's signature, checked for its shape.
type SignatureOf = (u32, [u8; 64]);

#[derive(Clone, Debug, PartialEq, Eq)]
enum DeliveryState {
    Due { at: Millis },
    Asking,
    Done,
}

#[derive(Debug)]
struct Payout {
    request: RequestFederationSignatures,
    repeated: Millis,
    /// Bridge said that it has enough: nobody is asked any more.
    complete: bool,
    turns: BTreeMap<MemberName, Turn<Delivery>>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Payouts {
    open: BTreeMap<[u8; 32], Payout>,
}

impl Payouts {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn burns_of(&self, txid: &[u8; 32]) -> &[BurnId] {
        let recorded = self.open.get(txid).and_then(|payout| payout.request.payout.as_ref());
        recorded.map(|recorded| recorded.burns.as_slice()).unwrap_or_default()
    }

    pub(super) fn requested(&mut self, now: Millis, request: RequestFederationSignatures, counters: &mut Counters) {
        let txid: Option<[u8; 32]> = request.payout.as_ref().and_then(|payout| payout.txid.as_slice().try_into().ok());
        let Some(txid) = txid else {
            counters.role_faults = counters.role_faults.saturating_add(1);
            return;
        };
        if let Some(known) = self.open.get_mut(&txid) {
            known.repeated = now;
            known.request = request;
            if known.complete {
                known.deliver_again(now);
            }
            return;
        }
        if self.open.len() >= MAX_PAYOUTS {
            counters.payouts_dropped = counters.payouts_dropped.saturating_add(1);
            return;
        }
        self.open.insert(txid, Payout { request, repeated: now, complete: false, turns: BTreeMap::new() });
    }

    pub(super) fn finished(&mut self, txid: &[u8]) {
        if let Ok(txid) = <[u8; 32]>::try_from(txid) {
            self.open.remove(&txid);
        }
    }

    pub(super) fn forget(&mut self, now: Millis, after: Millis) {
        self.open.retain(|_, payout| now.since(payout.repeated) < after);
    }

    /// What this member is to be asked now.
    pub(super) fn due(
        &mut self,
        now: Millis,
        member: &MemberName,
        ask_again: Millis,
    ) -> impl Iterator<Item = (&mut Turn<Delivery>, RequestFederationSignatures)> {
        self.open.values_mut().filter(|payout| !payout.complete).filter_map(move |payout| {
            let turn = payout.turns.entry(member.clone()).or_default();
            turn.due(now, ask_again).then(|| (turn, payout.request.clone()))
        })
    }

    /// `false`: not asked for, not of the right shape, or not with the member's own key.
    pub(super) fn signed(&mut self, member: &MemberName, key: &[u8; 32], signatures: Signatures) -> bool {
        let Ok(txid) = <[u8; 32]>::try_from(signatures.payout_txid.as_slice()) else { return false };
        let Some(payout) = self.open.get_mut(&txid) else { return false };
        let Some(signatures) = well_formed(key, &signatures.signatures) else { return false };
        let delivery = Delivery { key: *key, signatures, state: DeliveryState::Due { at: Millis(0) } };
        payout.turns.insert(member.clone(), Turn::Answered(delivery));
        true
    }

    /// `false`: the refusal is not about an open payout.
    pub(super) fn refused(&mut self, member: &MemberName, refused: &Refusal, retry_at: Option<Millis>) -> bool {
        let Some(refusal::What::PayoutTxid(txid)) = &refused.what else { return false };
        let Ok(txid) = <[u8; 32]>::try_from(txid.as_slice()) else { return false };
        let Some(payout) = self.open.get_mut(&txid) else { return false };
        payout.turns.entry(member.clone()).or_default().refuse(&refused.reason, retry_at);
        true
    }

    pub(super) fn member_restarted(&mut self, member: &MemberName) {
        for payout in self.open.values_mut() {
            if let Some(turn) = payout.turns.get_mut(member) {
                turn.member_restarted();
            }
        }
    }

    /// Hands what is due to bridge.
    pub(super) fn deliveries(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        for (txid, payout) in &mut self.open {
            for (member, turn) in &mut payout.turns {
                let Turn::Answered(delivery) = turn else { continue };
                if !matches!(delivery.state, DeliveryState::Due { at } if at <= now) {
                    continue;
                }
                delivery.state = DeliveryState::Asking;
                let request = delivery.to_wire(member, txid);
                effects.push(Effect::DeliverSignatures { member: member.clone(), txid: *txid, request });
            }
        }
    }

    pub(super) fn bridge_answered(
        &mut self,
        now: Millis,
        member: &MemberName,
        txid: &[u8; 32],
        answer: Answered<SignatureVerdict>,
        retry: Millis,
    ) {
        let Some(payout) = self.open.get_mut(txid) else { return };
        let Some(turn) = payout.turns.get_mut(member) else { return };
        let Turn::Answered(delivery) = turn else { return };
        match answer {
            Answered::Passing(_) => delivery.state = DeliveryState::Due { at: now.after(retry) },
            Answered::Reply(verdict) => {
                payout.complete |= verdict.complete;
                if verdict.accepted {
                    delivery.state = DeliveryState::Done;
                } else {
                    *turn = Turn::Refused { reason: format!("bridge refused its signatures: {}", bounded(&verdict.reason)) };
                }
            }
        }
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = String> {
        self.open.iter().flat_map(|(txid, payout)| {
            payout.turns.iter().filter_map(move |(member, turn)| match turn {
                Turn::Refused { reason } => Some(format!("payout {}: {} refused: {reason}", display_id(txid), member.0)),
                Turn::Later { reason, .. } => Some(format!("payout {}: {} not yet: {reason}", display_id(txid), member.0)),
                _ => None,
            })
        })
    }
}

impl Payout {
    fn deliver_again(&mut self, now: Millis) {
        self.complete = false;
        for turn in self.turns.values_mut() {
            if let Turn::Answered(delivery) = turn
                && delivery.state == DeliveryState::Done
            {
                delivery.state = DeliveryState::Due { at: now };
            }
        }
    }
}

impl Delivery {
    fn to_wire(&self, member: &MemberName, txid: &[u8; 32]) -> FederationSignatures {
        let signatures = self.signatures.iter().map(|(input, signature)| InputSignature {
            input: *input,
            public_key: self.key.to_vec(),
            signature: signature.to_vec(),
        });
        FederationSignatures { member: member.0.clone(), payout_txid: txid.to_vec(), signatures: signatures.collect() }
    }
}

fn well_formed(key: &[u8; 32], signatures: &[InputSignature]) -> Option<Vec<SignatureOf>> {
    if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
        return None;
    }
    let one = |signature: &InputSignature| {
        let own_key = signature.public_key == key;
        let bytes: Option<[u8; 64]> = signature.signature.as_slice().try_into().ok();
        bytes.filter(|_| own_key).map(|bytes| (signature.input, bytes))
    };
    signatures.iter().map(one).collect()
}
