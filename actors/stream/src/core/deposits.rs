//! Deposits that wait for a quorum of governance.
//!
//! | stage | leaves it when | to |
//! |---|---|---|
//! | collecting | as many members as the threshold approved | asking chain |
//! | asking chain | chain accepts | accepted |
//! | | chain refuses, or is away | later |
//! | later | its time comes | asking chain |
//! | accepted | bridge still repeats it after a while (chain may have lost it in a restart) | asking chain |
//! | any | bridge stopped repeating it: it is minted, or Bitcoin dropped it | forgotten |

use std::collections::BTreeMap;

use alys_proto::chain::{PegInValidationRequest, PegInVerdict};
use alys_proto::common::{OutPoint, PegInProof};
use alys_proto::governance::{GovernanceApprovalRequest, Refusal, refusal};

use super::effect::Effect;
use super::input::{Answered, MemberName, Millis};
use super::turn::Turn;
use super::{Counters, bounded};

/// Deposits open at once. A proof has at most ~37 KiB, so the table has at most 37 MiB.
pub const MAX_DEPOSITS: usize = 1_024;

/// Chain is asked about an accepted deposit again after this many retry intervals, while bridge repeats it.
const ACCEPTED_RETRIES: u64 = 10;

/// A Bitcoin outpoint, internal byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutPointKey {
    /// Transaction id.
    pub txid: [u8; 32],
    /// Output index.
    pub vout: u32,
}

impl OutPointKey {
    /// From the wire. `None`: not 32 bytes.
    pub fn from_wire(outpoint: Option<&OutPoint>) -> Option<Self> {
        let OutPoint { txid, vout } = outpoint?;
        Some(Self { txid: txid.as_slice().try_into().ok()?, vout: *vout })
    }
}

/// How far a deposit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DepositStage {
    /// Not enough approvals.
    Collecting,
    /// Chain was asked.
    Asking,
    /// Chain could not or would not.
    Later {
        /// Ask again then.
        at: Millis,
        /// What it said.
        reason: String,
    },
    /// Chain has it.
    Accepted {
        /// Since.
        at: Millis,
    },
}

#[derive(Debug)]
struct Deposit {
    proof: PegInProof,
    repeated: Millis,
    stage: DepositStage,
    turns: BTreeMap<MemberName, Turn<()>>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Deposits {
    open: BTreeMap<OutPointKey, Deposit>,
}

impl Deposits {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_open(&self, outpoint: &OutPointKey) -> bool {
        self.open.contains_key(outpoint)
    }

    pub(super) fn detected(&mut self, now: Millis, proof: PegInProof, counters: &mut Counters) {
        let Some(outpoint) = OutPointKey::from_wire(proof.outpoint.as_ref()) else {
            counters.role_faults = counters.role_faults.saturating_add(1);
            return;
        };
        if let Some(known) = self.open.get_mut(&outpoint) {
            known.repeated = now;
            if !same_claim(&known.proof, &proof) {
                known.turns.clear();
                known.stage = DepositStage::Collecting;
            }
            // After a reorganisation the same deposit has another merkle path: chain gets the newest.
            known.proof = proof;
            return;
        }
        if self.open.len() >= MAX_DEPOSITS {
            counters.deposits_dropped = counters.deposits_dropped.saturating_add(1);
            return;
        }
        self.open.insert(outpoint, Deposit { proof, repeated: now, stage: DepositStage::Collecting, turns: BTreeMap::new() });
    }

    pub(super) fn forget(&mut self, now: Millis, after: Millis) {
        self.open.retain(|_, deposit| now.since(deposit.repeated) < after);
    }

    /// What this member is to be asked now.
    pub(super) fn due(
        &mut self,
        now: Millis,
        member: &MemberName,
        ask_again: Millis,
    ) -> impl Iterator<Item = (&mut Turn<()>, GovernanceApprovalRequest)> {
        self.open.values_mut().filter_map(move |deposit| {
            let turn = deposit.turns.entry(member.clone()).or_default();
            turn.due(now, ask_again).then(|| (turn, GovernanceApprovalRequest { deposit: Some(deposit.proof.clone()) }))
        })
    }

    /// `false`: nobody asked about such an outpoint.
    pub(super) fn approved(&mut self, member: &MemberName, outpoint: Option<&OutPoint>) -> bool {
        let Some(deposit) = OutPointKey::from_wire(outpoint).and_then(|key| self.open.get_mut(&key)) else { return false };
        deposit.turns.insert(member.clone(), Turn::Answered(()));
        true
    }

    /// `false`: the refusal is not about an open deposit.
    pub(super) fn refused(&mut self, member: &MemberName, refused: &Refusal, retry_at: Option<Millis>) -> bool {
        let Some(refusal::What::Outpoint(outpoint)) = &refused.what else { return false };
        let Some(deposit) = OutPointKey::from_wire(Some(outpoint)).and_then(|key| self.open.get_mut(&key)) else { return false };
        deposit.turns.entry(member.clone()).or_default().refuse(&refused.reason, retry_at);
        true
    }

    pub(super) fn member_restarted(&mut self, member: &MemberName) {
        for deposit in self.open.values_mut() {
            if let Some(turn) = deposit.turns.get_mut(member) {
                turn.member_restarted();
            }
        }
    }

    /// Asks chain about every deposit whose time has come.
    pub(super) fn quorums(&mut self, now: Millis, threshold: usize, retry: Millis, effects: &mut Vec<Effect>) {
        let accepted_again = Millis(retry.0.saturating_mul(ACCEPTED_RETRIES));
        for (outpoint, deposit) in &mut self.open {
            let approved_by = deposit.approved_by();
            let due = match &deposit.stage {
                DepositStage::Collecting => approved_by.len() >= threshold,
                DepositStage::Asking => false,
                DepositStage::Later { at, .. } => *at <= now,
                DepositStage::Accepted { at } => now.since(*at) >= accepted_again,
            };
            if due {
                deposit.stage = DepositStage::Asking;
                let request = PegInValidationRequest { deposit: Some(deposit.proof.clone()), approved_by };
                effects.push(Effect::ValidatePegIn { outpoint: *outpoint, request });
            }
        }
    }

    pub(super) fn chain_answered(&mut self, now: Millis, outpoint: &OutPointKey, answer: Answered<PegInVerdict>, retry: Millis) {
        let Some(deposit) = self.open.get_mut(outpoint) else { return };
        // An answer to a question about a claim that has changed meanwhile says nothing.
        if deposit.stage != DepositStage::Asking {
            return;
        }
        let at = now.after(retry);
        deposit.stage = match answer {
            Answered::Reply(verdict) if verdict.accepted => DepositStage::Accepted { at: now },
            Answered::Reply(verdict) => DepositStage::Later { at, reason: bounded(&verdict.reason) },
            Answered::Passing(reason) => DepositStage::Later { at, reason: bounded(&reason) },
        };
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = String> {
        self.open.iter().flat_map(|(outpoint, deposit)| {
            let what = format!("deposit {}:{}", display_id(&outpoint.txid), outpoint.vout);
            let by_chain = match &deposit.stage {
                DepositStage::Later { reason, .. } => Some(format!("{what}: chain: {reason}")),
                _ => None,
            };
            let by_members = deposit.turns.iter().filter_map(move |(member, turn)| match turn {
                Turn::Refused { reason } => Some(format!("{what}: {} refused: {reason}", member.0)),
                Turn::Later { reason, .. } => Some(format!("{what}: {} not yet: {reason}", member.0)),
                _ => None,
            });
            by_chain.into_iter().chain(by_members)
        })
    }
}

impl Deposit {
    fn approved_by(&self) -> Vec<String> {
        let approved = self.turns.iter().filter(|(_, turn)| matches!(turn, Turn::Answered(())));
        approved.map(|(member, _)| member.0.clone()).collect()
    }
}

/// Whether two proofs claim the same mint; approvals hold for the claim, not for its merkle path.
fn same_claim(one: &PegInProof, other: &PegInProof) -> bool {
    one.value_sats == other.value_sats && one.recipient == other.recipient && one.transaction == other.transaction
}

/// A Bitcoin id as people write it: reversed.
pub(super) fn display_id(id: &[u8; 32]) -> String {
    let mut reversed = *id;
    reversed.reverse();
    hex::encode(reversed)
}
