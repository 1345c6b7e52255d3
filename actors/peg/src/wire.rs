//! From and to the protobuf messages that carry facts and proofs between processes. Every byte string is checked.

use alloy_primitives::{Address, B256};
use alys_blocks::{BitcoinView, BurnRef};
use alys_pow::{Bits, BlockRef, Settled};
use alys_proto::storage::{self, ledger_fact};
use alys_proto::{Height, Sats, Wei, bridge, common};
use bitcoin::{OutPoint, XOnlyPublicKey, consensus, secp256k1::schnorr::Signature};

use crate::bytes::{txid_from_bytes, txid_to_bytes};
use crate::proof::{ProofRefusal, decode_merkle, decode_transaction};
use crate::{
    Action, Burn, Decision, Fact, FeeRate, InclusionProof, InputSignature, Minted, PayoutRecorded, PayoutSettled, PegInProof,
    RecordRefusal, Refunded,
};

/// A message that does not say what its type should say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A byte string has the wrong length or is not what it should be.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// An amount is more than can exist.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The recorded id is not that of the recorded transaction.
    #[error("the transaction id is not that of the transaction")]
    OtherTransaction,
    /// A proof's parts do not decode.
    #[error("transaction or proof refused")]
    Proof(#[from] ProofRefusal),
    /// The reason of a refund is unknown.
    #[error("refund refused")]
    Reason(#[from] crate::burn::UnknownReason),
    /// A governance record does not decode.
    #[error("governance record refused")]
    Record(#[from] RecordRefusal),
}

fn hash(bytes: &[u8], field: &'static str) -> Result<B256, WireError> {
    B256::try_from(bytes).map_err(|_| WireError::Malformed(field))
}

fn address(bytes: &[u8], field: &'static str) -> Result<Address, WireError> {
    Address::try_from(bytes).map_err(|_| WireError::Malformed(field))
}

fn outpoint(message: Option<&common::OutPoint>) -> Result<OutPoint, WireError> {
    let message = message.ok_or(WireError::Missing("outpoint"))?;
    Ok(OutPoint { txid: txid_from_bytes(hash(&message.txid, "outpoint.txid")?), vout: message.vout })
}

fn outpoint_message(outpoint: OutPoint) -> common::OutPoint {
    common::OutPoint { txid: txid_to_bytes(outpoint.txid).to_vec(), vout: outpoint.vout }
}

fn bitcoin_block(message: Option<&common::BitcoinBlock>) -> Result<BitcoinView, WireError> {
    let message = message.ok_or(WireError::Missing("bitcoin_block"))?;
    Ok(BitcoinView { hash: hash(&message.hash, "bitcoin_block.hash")?, height: message.height })
}

fn burn_ref(message: &storage::BurnId) -> BurnRef {
    BurnRef { height: message.height, log_index: message.log_index }
}

fn burn_message(id: BurnRef) -> storage::BurnId {
    storage::BurnId { height: id.height, log_index: id.log_index }
}

fn settled_work(message: &storage::WorkSettled) -> Result<Settled, WireError> {
    Ok(Settled {
        sequence: message.sequence,
        end: BlockRef { height: message.end_height, hash: hash(&message.end_hash, "end_hash")? },
        bits: Bits::new(message.next_bits).map_err(|_| WireError::Malformed("next_bits"))?,
        window_start: message.window_start,
    })
}

impl TryFrom<&common::PegInProof> for PegInProof {
    type Error = WireError;

    fn try_from(message: &common::PegInProof) -> Result<Self, WireError> {
        Ok(Self {
            outpoint: outpoint(message.outpoint.as_ref())?,
            value: Sats(message.value_sats),
            recipient: address(&message.recipient, "recipient")?,
            transaction: decode_transaction(&message.transaction)?,
            merkle: decode_merkle(&message.merkle_proof)?,
            bitcoin_height: message.bitcoin_height,
        })
    }
}

impl From<&PegInProof> for common::PegInProof {
    fn from(proof: &PegInProof) -> Self {
        Self {
            outpoint: Some(outpoint_message(proof.outpoint)),
            value_sats: proof.value.0,
            recipient: proof.recipient.to_vec(),
            transaction: consensus::serialize(&proof.transaction),
            merkle_proof: consensus::serialize(&proof.merkle),
            bitcoin_height: proof.bitcoin_height,
        }
    }
}

impl InclusionProof {
    /// From the parts that messages carry: id, `MerkleBlock` bytes, height.
    pub fn from_parts(txid: &[u8], merkle_proof: &[u8], bitcoin_height: u32) -> Result<Self, WireError> {
        Ok(Self { txid: txid_from_bytes(hash(txid, "txid")?), merkle: decode_merkle(merkle_proof)?, bitcoin_height })
    }
}

impl TryFrom<&common::Burn> for Burn {
    type Error = WireError;

    fn try_from(message: &common::Burn) -> Result<Self, WireError> {
        let wide = hash(&message.amount_wei, "amount_wei")?;
        let (high, low) = wide.split_at(16);
        if high.iter().any(|byte| *byte != 0) {
            return Err(WireError::TooLarge("amount_wei"));
        }
        let low = <[u8; 16]>::try_from(low).map_err(|_| WireError::Malformed("amount_wei"))?;
        Ok(Self {
            id: BurnRef { height: message.height, log_index: message.log_index },
            transaction_hash: hash(&message.transaction_hash, "transaction_hash")?,
            sender: address(&message.sender, "sender")?,
            bitcoin_address: message.bitcoin_address.clone(),
            amount: Wei(u128::from_be_bytes(low)),
        })
    }
}

impl From<&Burn> for common::Burn {
    fn from(burn: &Burn) -> Self {
        let mut amount_wei = vec![0_u8; 16];
        amount_wei.extend_from_slice(&burn.amount.0.to_be_bytes());
        Self {
            height: burn.id.height,
            log_index: burn.id.log_index,
            transaction_hash: burn.transaction_hash.to_vec(),
            sender: burn.sender.to_vec(),
            bitcoin_address: burn.bitcoin_address.clone(),
            amount_wei,
        }
    }
}

impl TryFrom<&storage::Minted> for Minted {
    type Error = WireError;

    fn try_from(message: &storage::Minted) -> Result<Self, WireError> {
        Ok(Self {
            outpoint: outpoint(message.outpoint.as_ref())?,
            value: Sats(message.value_sats),
            recipient: address(&message.recipient, "recipient")?,
        })
    }
}

impl TryFrom<&storage::PayoutRecorded> for PayoutRecorded {
    type Error = WireError;

    fn try_from(message: &storage::PayoutRecorded) -> Result<Self, WireError> {
        let recorded = Self {
            transaction: decode_transaction(&message.transaction)?,
            fee_rate: FeeRate(message.fee_rate),
            burns: message.burns.iter().map(burn_ref).collect(),
        };
        if txid_to_bytes(recorded.txid()).as_slice() != message.txid {
            return Err(WireError::OtherTransaction);
        }
        Ok(recorded)
    }
}

impl From<&PayoutRecorded> for storage::PayoutRecorded {
    fn from(recorded: &PayoutRecorded) -> Self {
        Self {
            txid: txid_to_bytes(recorded.txid()).to_vec(),
            transaction: consensus::serialize(&recorded.transaction),
            fee_rate: recorded.fee_rate.0,
            burns: recorded.burns.iter().copied().map(burn_message).collect(),
        }
    }
}

impl TryFrom<&storage::PayoutSettled> for PayoutSettled {
    type Error = WireError;

    fn try_from(message: &storage::PayoutSettled) -> Result<Self, WireError> {
        Ok(Self {
            txid: txid_from_bytes(hash(&message.txid, "txid")?),
            bitcoin_block: bitcoin_block(message.bitcoin_block.as_ref())?,
        })
    }
}

impl TryFrom<&storage::Refunded> for Refunded {
    type Error = WireError;

    fn try_from(message: &storage::Refunded) -> Result<Self, WireError> {
        let burn = message.burn.as_ref().ok_or(WireError::Missing("burn"))?;
        Ok(Self { burn: burn_ref(burn), reason: message.reason.parse()? })
    }
}

impl TryFrom<&storage::LedgerFact> for Fact {
    type Error = WireError;

    fn try_from(message: &storage::LedgerFact) -> Result<Self, WireError> {
        Ok(match message.fact.as_ref().ok_or(WireError::Missing("fact"))? {
            ledger_fact::Fact::Minted(minted) => Self::Minted(minted.try_into()?),
            ledger_fact::Fact::Burned(burn) => Self::Burned(burn.try_into()?),
            ledger_fact::Fact::PayoutRecorded(recorded) => Self::PayoutRecorded(recorded.try_into()?),
            ledger_fact::Fact::PayoutSettled(settled) => Self::PayoutSettled(settled.try_into()?),
            ledger_fact::Fact::Refunded(refunded) => Self::Refunded(refunded.try_into()?),
            ledger_fact::Fact::WorkSettled(settled) => Self::WorkSettled(settled_work(settled)?),
            ledger_fact::Fact::Decided(decided) => {
                let action = u8::try_from(decided.action).ok().and_then(Action::from_code);
                let action = action.ok_or(WireError::Malformed("action"))?;
                Self::Decided(Decision { number: decided.number, action })
            }
        })
    }
}

impl Fact {
    /// The message that states this fact at a height.
    pub fn at(&self, height: Height) -> storage::LedgerFact {
        let fact = match self {
            Self::Minted(minted) => ledger_fact::Fact::Minted(storage::Minted {
                outpoint: Some(outpoint_message(minted.outpoint)),
                value_sats: minted.value.0,
                recipient: minted.recipient.to_vec(),
            }),
            Self::Refunded(refunded) => ledger_fact::Fact::Refunded(storage::Refunded {
                burn: Some(burn_message(refunded.burn)),
                reason: refunded.reason.to_string(),
            }),
            Self::PayoutRecorded(recorded) => ledger_fact::Fact::PayoutRecorded(recorded.into()),
            Self::PayoutSettled(settled) => ledger_fact::Fact::PayoutSettled(storage::PayoutSettled {
                txid: txid_to_bytes(settled.txid).to_vec(),
                bitcoin_block: Some(common::BitcoinBlock {
                    hash: settled.bitcoin_block.hash.to_vec(),
                    height: settled.bitcoin_block.height,
                }),
            }),
            Self::Burned(burn) => ledger_fact::Fact::Burned(burn.into()),
            Self::WorkSettled(settled) => ledger_fact::Fact::WorkSettled(storage::WorkSettled {
                sequence: settled.sequence,
                end_height: settled.end.height,
                end_hash: settled.end.hash.to_vec(),
                next_bits: settled.bits.to_u32(),
                window_start: settled.window_start,
            }),
            Self::Decided(decision) => {
                ledger_fact::Fact::Decided(storage::Decided { number: decision.number, action: decision.action.code().into() })
            }
        };
        storage::LedgerFact { height: height.0, fact: Some(fact) }
    }
}

impl TryFrom<&bridge::InputSignature> for InputSignature {
    type Error = WireError;

    fn try_from(message: &bridge::InputSignature) -> Result<Self, WireError> {
        Ok(Self {
            input: message.input,
            public_key: XOnlyPublicKey::from_slice(&message.public_key).map_err(|_| WireError::Malformed("public_key"))?,
            signature: Signature::from_slice(&message.signature).map_err(|_| WireError::Malformed("signature"))?,
        })
    }
}

impl From<&InputSignature> for bridge::InputSignature {
    fn from(signature: &InputSignature) -> Self {
        Self {
            input: signature.input,
            public_key: signature.public_key.serialize().to_vec(),
            signature: signature.signature.serialize().to_vec(),
        }
    }
}
