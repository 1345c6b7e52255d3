//! The peg records of a block, as facts for the ledger.

use alys_blocks::Block;
use alys_peg::{
    Fact, InclusionProof, Ledger, Minted, PayoutRecorded, PayoutSettled, PegInProof, Refunded, payout, proof, record, refund,
};

use super::{BlockRefusal, ChainRules, Head, makes_bitcoin_claims};

/// Checks all claims and returns what they state, in the order of the body. Duplicates and clashes between the claims of
/// one block show when the ledger would apply them together.
pub(super) fn check(rules: &ChainRules, block: &Block, parent: &Head, ledger: &Ledger) -> Result<Vec<Fact>, BlockRefusal> {
    check_view(block, parent)?;
    let records = block.body.governance.iter().map(|bytes| &bytes[..]);
    let decided = record::check(records, &rules.domain, ledger).map_err(BlockRefusal::Governance)?;
    let mut facts = Vec::new();
    let view = &block.header.bitcoin_view;
    for (index, claim) in block.body.peg_ins.iter().enumerate() {
        let refused = |cause| BlockRefusal::PegIn { index, cause };
        let claimed = PegInProof::try_from(claim).map_err(refused)?;
        proof::verify(&claimed, view, &rules.federation, &rules.peg).map_err(refused)?;
        facts.push(Fact::Minted(Minted::from(claim)));
    }
    for (index, claim) in block.body.refunds.iter().enumerate() {
        let refunded = Refunded::try_from(claim).map_err(|cause| BlockRefusal::RefundForm { index, cause })?;
        refund::check(&refunded, ledger).map_err(|cause| BlockRefusal::Refund { index, cause })?;
        facts.push(Fact::Refunded(refunded));
    }
    let mut payouts = Vec::with_capacity(block.body.payouts.len());
    for claim in &block.body.payouts {
        payouts.push(PayoutRecorded::try_from(claim).map_err(BlockRefusal::PayoutForm)?);
    }
    payout::check_all(&payouts, ledger).map_err(BlockRefusal::Payout)?;
    facts.extend(payouts.into_iter().map(Fact::PayoutRecorded));
    for (index, claim) in block.body.settlements.iter().enumerate() {
        let refused = |cause| BlockRefusal::Settlement { index, cause };
        let claimed = InclusionProof::try_from(claim).map_err(refused)?;
        proof::verify_inclusion(&claimed, claim.bitcoin_hash, view, &rules.peg).map_err(refused)?;
        facts.push(Fact::PayoutSettled(PayoutSettled::from(claim)));
    }
    facts.extend(decided.map(Fact::Decided));
    Ok(facts)
}

/// A view that moves without need would let one proposer put a view far ahead of Bitcoin into an empty block, which nobody
/// asks a bitcoind about, and so block all later claims.
fn check_view(block: &Block, parent: &Head) -> Result<(), BlockRefusal> {
    let view = block.header.bitcoin_view;
    if view.height < parent.view.height {
        return Err(BlockRefusal::ViewWentBack { parent: parent.view.height, found: view.height });
    }
    if view != parent.view && !makes_bitcoin_claims(block) {
        return Err(BlockRefusal::ViewWithoutClaims);
    }
    Ok(())
}
