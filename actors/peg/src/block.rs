//! The peg part of a whole block, judged against the parent's ledger: what chain checks before a vote and what a
//! governance node checks again when it replays the chain.

use alys_blocks::{BitcoinView, Body, ChainDomain};
use alys_proto::common;

use crate::ledger::Violation;
use crate::payout::{self, PayoutRefusal};
use crate::proof::{self, Included, ProofRefusal, VerifiedDeposit};
use crate::record;
use crate::refund::{self, RefundRefusal};
use crate::withdrawals::{self, Withdrawal};
use crate::{Burn, Fact, InclusionProof, Ledger, Minted, PayoutRecorded, PegInProof, Record, RecordRefusal, Refunded, WireError};

/// What a block claims about the peg, found right as far as the ledger and the proofs can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the block states, without the burns of its own payload.
    pub facts: Vec<Fact>,
    /// Deposits whose block and number of transactions only a bitcoind can confirm.
    pub deposits: Vec<VerifiedDeposit>,
    /// Settled payouts, likewise.
    pub settlements: Vec<Included>,
    /// The withdrawals that the payload must have, exactly [PEG-5].
    pub withdrawals: Vec<Withdrawal>,
}

/// Why a block's claims are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockRefusal {
    /// A record does not decode.
    #[error("a peg record is malformed")]
    Wire(#[from] WireError),
    /// A deposit's proof does not hold.
    #[error("deposit {0} refused")]
    Deposit(bitcoin::OutPoint, #[source] ProofRefusal),
    /// A settlement's proof does not hold.
    #[error("settlement of {0} refused")]
    Settlement(bitcoin::Txid, #[source] ProofRefusal),
    /// The payout is not the one that follows from the ledger.
    #[error("payout refused")]
    Payout(#[from] PayoutRefusal),
    /// A refund is not due.
    #[error("refund refused")]
    Refund(#[from] RefundRefusal),
    /// The federation does not stand behind a record.
    #[error("governance record refused")]
    Record(#[from] RecordRefusal),
    /// The facts break a rule of the ledger.
    #[error("the ledger refuses the block")]
    Ledger(#[from] Violation),
}

/// Judges a block's claims against the ledger of its parent and the Bitcoin view of its header. The ledger is left as it was.
pub fn judge(body: &Body, view: &BitcoinView, domain: &ChainDomain, parent: &mut Ledger) -> Result<Judged, BlockRefusal> {
    record::check(body.governance.iter().map(|bytes| &bytes[..]), domain, parent)?;
    let facts = facts(body, &[])?;
    // First the cheap refusals, so that a proof is verified once per deposit that can be minted at all.
    parent.would_apply(parent.height().next(), &facts)?;
    let deposits = body.peg_ins.iter().map(|claim| judge_deposit(claim, view, parent)).collect::<Result<_, _>>()?;
    let settlements = body.settlements.iter().map(|claim| judge_settlement(claim, view, parent)).collect::<Result<_, _>>()?;

    let (mut minted, mut payouts, mut refunds) = (Vec::<Minted>::new(), Vec::<PayoutRecorded>::new(), Vec::<Refunded>::new());
    for fact in &facts {
        match fact {
            Fact::Minted(fact) => minted.push(*fact),
            Fact::PayoutRecorded(fact) => payouts.push(fact.clone()),
            Fact::Refunded(fact) => refunds.push(*fact),
            Fact::PayoutSettled(_) | Fact::Burned(_) | Fact::WorkSettled(_) | Fact::Decided(_) => {}
        }
    }
    payout::check_all(&payouts, parent)?;
    refund::check_all(&refunds, parent)?;
    let withdrawals = withdrawals::justified(parent, &minted, &refunds)?;
    Ok(Judged { facts, deposits, settlements, withdrawals })
}

/// All facts of a block: what its body states, and the burns of its payload.
pub fn facts(body: &Body, burns: &[common::Burn]) -> Result<Vec<Fact>, WireError> {
    let mut facts: Vec<Fact> = body.peg_ins.iter().map(|claim| Fact::Minted(claim.into())).collect();
    for claim in &body.refunds {
        facts.push(Fact::Refunded(claim.try_into()?));
    }
    for claim in &body.payouts {
        facts.push(Fact::PayoutRecorded(claim.try_into()?));
    }
    facts.extend(body.settlements.iter().map(|claim| Fact::PayoutSettled(claim.into())));
    for bytes in &body.governance {
        facts.push(Fact::Decided(Record::decode(bytes)?.decision()?));
    }
    for burn in burns {
        facts.push(Fact::Burned(Burn::try_from(burn)?));
    }
    Ok(facts)
}

fn judge_deposit(claim: &alys_blocks::PegIn, view: &BitcoinView, parent: &Ledger) -> Result<VerifiedDeposit, BlockRefusal> {
    let outpoint = Minted::from(claim).outpoint;
    PegInProof::try_from(claim)
        .and_then(|proof| proof::verify(&proof, view, parent.federation(), parent.rules()))
        .map_err(|refusal| BlockRefusal::Deposit(outpoint, refusal))
}

fn judge_settlement(claim: &alys_blocks::Settlement, view: &BitcoinView, parent: &Ledger) -> Result<Included, BlockRefusal> {
    InclusionProof::try_from(claim)
        .and_then(|proof| proof::verify_inclusion(&proof, claim.bitcoin_hash, view, parent.rules()))
        .map_err(|refusal| BlockRefusal::Settlement(crate::txid_from_bytes(claim.txid), refusal))
}
