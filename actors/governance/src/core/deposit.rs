//! Whether a deposit is approved.
//!
//! | rule | else |
//! |---|---|
//! | not minted on our own chain | already minted |
//! | the peg is not paused on our own chain [PEG-18] | not yet: paused |
//! | own bitcoind has its block in the best chain | not yet: block unknown |
//! | at the claimed height | other height |
//! | the proof holds and the deposit is deep enough under own bitcoind's tip | proof, or not yet: not deep |
//! | the block has as many transactions as the merkle tree claims | other block size |
//! | the transaction *that own bitcoind has in that block* makes exactly this deposit | other deposit |

use alys_blocks::BitcoinView;
use alys_peg::{Ledger, PegInProof, ProofRefusal, deposit, proof};
use bitcoin::Transaction;

use super::refusal::Refusal;

/// What own bitcoind says about the block that the proof names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepositEvidence {
    /// Height of the block.
    pub height: u32,
    /// How deep it is in the best chain; its own block counts as 1.
    pub confirmations: u32,
    /// Number of transactions in it.
    pub transactions: u32,
    /// The transaction with the deposit's id in that block.
    pub transaction: Option<Transaction>,
}

/// `Ok`: approve. `evidence` is `None` when own bitcoind does not have the block in its best chain.
pub fn check(ledger: &Ledger, claim: &PegInProof, evidence: Option<&DepositEvidence>) -> Result<(), Refusal> {
    if ledger.is_minted(&claim.outpoint) {
        return Err(Refusal::AlreadyMinted);
    }
    if ledger.paused().is_some() {
        return Err(Refusal::Paused);
    }
    let evidence = evidence.filter(|evidence| evidence.confirmations > 0).ok_or(Refusal::DepositBlockUnknown)?;
    if evidence.height != claim.bitcoin_height {
        return Err(Refusal::OtherHeight { found: evidence.height, claimed: claim.bitcoin_height });
    }
    let tip = evidence.height.saturating_add(evidence.confirmations.saturating_sub(1));
    // Only the height of the view is used: that the block is below own tip is what own bitcoind has said.
    let view = BitcoinView { height: tip, ..BitcoinView::default() };
    let verified = proof::verify(claim, &view, ledger.federation(), ledger.rules()).map_err(|refused| match refused {
        ProofRefusal::NotDeep { confirmations, needed } => Refusal::DepositNotDeep { confirmations, needed },
        other => Refusal::Proof(other),
    })?;
    if verified.included.transactions != evidence.transactions {
        return Err(Refusal::OtherBlockSize { found: evidence.transactions, claimed: verified.included.transactions });
    }
    let own = evidence.transaction.as_ref().ok_or(Refusal::OtherDeposit)?;
    let found = deposit::find(own, ledger.federation(), ledger.rules()).into_iter().flatten();
    let same = found.into_iter().any(|found| found == verified.deposit);
    if same { Ok(()) } else { Err(Refusal::OtherDeposit) }
}
