//! From and to the peg records of a block (`alys_blocks`).

use alys_blocks as blocks;
use alys_proto::Sats;
use bitcoin::{OutPoint, consensus};
use ssz_types::VariableList;

use crate::bytes::{txid_from_bytes, txid_to_bytes};
use crate::proof::{ProofRefusal, decode_merkle, decode_transaction};
use crate::{FeeRate, InclusionProof, Minted, PayoutRecorded, PayoutSettled, PegInProof, Refunded, WireError};

/// A record is too large for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is too large for a block")]
pub struct ClaimTooLarge(pub &'static str);

impl TryFrom<&blocks::PegIn> for PegInProof {
    type Error = ProofRefusal;

    fn try_from(claim: &blocks::PegIn) -> Result<Self, ProofRefusal> {
        Ok(Self {
            outpoint: OutPoint { txid: txid_from_bytes(claim.txid), vout: claim.vout },
            value: Sats(claim.value),
            recipient: claim.recipient,
            transaction: decode_transaction(&claim.transaction)?,
            merkle: decode_merkle(&claim.merkle_proof)?,
            bitcoin_height: claim.bitcoin_height,
        })
    }
}

impl TryFrom<&PegInProof> for blocks::PegIn {
    type Error = ClaimTooLarge;

    fn try_from(proof: &PegInProof) -> Result<Self, ClaimTooLarge> {
        Ok(Self {
            txid: txid_to_bytes(proof.outpoint.txid),
            vout: proof.outpoint.vout,
            value: proof.value.0,
            recipient: proof.recipient,
            transaction: VariableList::new(consensus::serialize(&proof.transaction)).map_err(|_| ClaimTooLarge("transaction"))?,
            merkle_proof: VariableList::new(consensus::serialize(&proof.merkle)).map_err(|_| ClaimTooLarge("merkle proof"))?,
            bitcoin_height: proof.bitcoin_height,
        })
    }
}

impl From<&blocks::PegIn> for Minted {
    fn from(claim: &blocks::PegIn) -> Self {
        Self {
            outpoint: OutPoint { txid: txid_from_bytes(claim.txid), vout: claim.vout },
            value: Sats(claim.value),
            recipient: claim.recipient,
        }
    }
}

impl TryFrom<&blocks::Payout> for PayoutRecorded {
    type Error = ProofRefusal;

    fn try_from(claim: &blocks::Payout) -> Result<Self, ProofRefusal> {
        Ok(Self {
            transaction: decode_transaction(&claim.transaction)?,
            fee_rate: FeeRate(claim.fee_rate),
            burns: claim.burns.iter().copied().collect(),
        })
    }
}

impl TryFrom<&PayoutRecorded> for blocks::Payout {
    type Error = ClaimTooLarge;

    fn try_from(recorded: &PayoutRecorded) -> Result<Self, ClaimTooLarge> {
        Ok(Self {
            transaction: VariableList::new(consensus::serialize(&recorded.transaction))
                .map_err(|_| ClaimTooLarge("transaction"))?,
            fee_rate: recorded.fee_rate.0,
            burns: VariableList::new(recorded.burns.clone()).map_err(|_| ClaimTooLarge("list of burns"))?,
        })
    }
}

impl TryFrom<&blocks::Settlement> for InclusionProof {
    type Error = ProofRefusal;

    fn try_from(claim: &blocks::Settlement) -> Result<Self, ProofRefusal> {
        Ok(Self {
            txid: txid_from_bytes(claim.txid),
            merkle: decode_merkle(&claim.merkle_proof)?,
            bitcoin_height: claim.bitcoin_height,
        })
    }
}

impl TryFrom<&InclusionProof> for blocks::Settlement {
    type Error = ClaimTooLarge;

    fn try_from(proof: &InclusionProof) -> Result<Self, ClaimTooLarge> {
        Ok(Self {
            txid: proof.txid_bytes(),
            merkle_proof: VariableList::new(consensus::serialize(&proof.merkle)).map_err(|_| ClaimTooLarge("merkle proof"))?,
            bitcoin_hash: proof.block_hash(),
            bitcoin_height: proof.bitcoin_height,
        })
    }
}

impl From<&blocks::Settlement> for PayoutSettled {
    fn from(claim: &blocks::Settlement) -> Self {
        let bitcoin_block = blocks::BitcoinView { hash: claim.bitcoin_hash, height: claim.bitcoin_height };
        Self { txid: txid_from_bytes(claim.txid), bitcoin_block }
    }
}

impl TryFrom<&blocks::Refund> for Refunded {
    type Error = WireError;

    fn try_from(claim: &blocks::Refund) -> Result<Self, WireError> {
        let text = std::str::from_utf8(&claim.reason).map_err(|_| WireError::Malformed("reason"))?;
        Ok(Self { burn: claim.burn, reason: text.parse()? })
    }
}

impl From<&Refunded> for blocks::Refund {
    fn from(refunded: &Refunded) -> Self {
        let reason = VariableList::new(refunded.reason.to_string().into_bytes())
            .expect("the longest reason is its prefix and 20 digits, below the 64 bytes there are");
        Self { burn: refunded.burn, reason }
    }
}
