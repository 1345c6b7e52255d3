//! Bridge, as chain needs it: what Bitcoin says. Nobody home is an answer too: "lagging", never "invalid".

use std::time::Duration;

use alloy_primitives::B256;
use alys_blocks::BitcoinView;
use alys_cluster::Remote;
use alys_proto::bridge::peg_operations_verdict::Verdict;
use alys_proto::{bridge, common};

use crate::core::{PegCheck, PegVerdict};

/// Asks whether claims hold.
pub(crate) async fn validate(bridge: &Remote<bridge::Inbox>, check: PegCheck) -> PegVerdict {
    let request = bridge::ValidatePegOperations {
        bitcoin_view: Some(common::BitcoinBlock { hash: check.view.hash.to_vec(), height: check.view.height }),
        peg_ins: check.peg_ins.iter().map(peg_in).collect(),
        settlements: check.settlements.iter().map(settlement).collect(),
    };
    match bridge.ask_within(Duration::from_millis(check.deadline_millis), request).await {
        Ok(answer) => match answer.verdict() {
            Verdict::Valid => PegVerdict::Valid,
            Verdict::Invalid => PegVerdict::Invalid(answer.reason),
            Verdict::Lagging | Verdict::Unspecified => PegVerdict::Lagging(answer.reason),
        },
        Err(refused) => PegVerdict::Lagging(refused.to_string()),
    }
}

/// Asks for the best chain; `None` when nobody knows.
pub(crate) async fn view(bridge: &Remote<bridge::Inbox>) -> Option<BitcoinView> {
    let answer = bridge.ask(bridge::GetBitcoinView {}).await.ok().filter(|answer| answer.available)?;
    tip(&answer.tip?)
}

/// A Bitcoin block as others name it.
pub(crate) fn tip(message: &common::BitcoinBlock) -> Option<BitcoinView> {
    let hash = B256::try_from(message.hash.as_slice()).ok()?;
    Some(BitcoinView { hash, height: message.height })
}

fn peg_in(claim: &alys_blocks::PegIn) -> common::PegInProof {
    common::PegInProof {
        outpoint: Some(common::OutPoint { txid: claim.txid.to_vec(), vout: claim.vout }),
        value_sats: claim.value,
        recipient: claim.recipient.to_vec(),
        transaction: claim.transaction.to_vec(),
        merkle_proof: claim.merkle_proof.to_vec(),
        bitcoin_height: claim.bitcoin_height,
    }
}

fn settlement(claim: &alys_blocks::Settlement) -> bridge::PayoutProof {
    bridge::PayoutProof {
        txid: claim.txid.to_vec(),
        merkle_proof: claim.merkle_proof.to_vec(),
        bitcoin_block: Some(common::BitcoinBlock { hash: claim.bitcoin_hash.to_vec(), height: claim.bitcoin_height }),
    }
}
