//! Which outputs of a Bitcoin transaction are deposits [PEG-2][PEG-3].
//!
//! Every output that pays the federation's script is a deposit of its own. The transaction names one recipient, in an
//! `OP_RETURN` output with a single push:
//!
//! | push | recipient |
//! |---|---|
//! | 20 bytes | these bytes, also when they happen to read as text |
//! | 40 hex digits | the address they spell, any case |
//! | `0x` and 40 hex digits | the same |
//! | anything else | not a recipient |
//!
//! | `OP_RETURN` outputs | deposit |
//! |---|---|
//! | none | invalid: no recipient |
//! | some, but none names a recipient | invalid: bad recipient |
//! | they name one address (others are somebody else's data, like a coinbase's commitments) | valid |
//! | they name different addresses | invalid: several recipients |

use alloy_primitives::Address;
use alys_proto::{Sats, units::MAX_SATS};
use bitcoin::script::Instruction;
use bitcoin::{OutPoint, Script, Transaction};

use crate::{Federation, PegRules};

/// Blocks before a coinbase output may be spent; a consensus rule of Bitcoin.
pub const COINBASE_MATURITY: u32 = 100;

/// A valid deposit, wherever its transaction may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    /// The output.
    pub outpoint: OutPoint,
    /// Value of the output.
    pub value: Sats,
    /// Who is credited.
    pub recipient: Address,
    /// Its transaction is a coinbase: it must be mature too.
    pub coinbase: bool,
}

impl Deposit {
    /// How deep the deposit must be; its own block counts as 1 [PEG-4].
    pub fn confirmations_needed(&self, rules: &PegRules) -> u32 {
        if self.coinbase { rules.confirmations.max(COINBASE_MATURITY) } else { rules.confirmations }
    }

    /// What is minted: the value minus the declared fee [PEG-3]. Positive for every deposit that [`find`] accepts.
    pub fn minted(&self, rules: &PegRules) -> Sats {
        self.value.checked_sub(rules.peg_in_fee).unwrap_or_default()
    }
}

/// An output that pays us and cannot be minted. Governance may send it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deposit {outpoint}: {reason}")]
pub struct InvalidDeposit {
    /// The output.
    pub outpoint: OutPoint,
    /// Its value.
    pub value: Sats,
    /// Why.
    pub reason: InvalidReason,
}

/// Why an output that pays us cannot be minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum InvalidReason {
    /// There is no `OP_RETURN`.
    #[error("no recipient")]
    NoRecipient,
    /// There is an `OP_RETURN`, and none names an address.
    #[error("bad recipient")]
    BadRecipient,
    /// Different addresses are named.
    #[error("several recipients")]
    SeveralRecipients,
    /// The address is zero: minting there would be burning.
    #[error("zero recipient")]
    ZeroRecipient,
    /// Below the minimum, or not above the fee.
    #[error("below minimum")]
    BelowMinimum,
    /// More than all bitcoins there can be.
    #[error("impossible value")]
    ImpossibleValue,
}

/// All outputs of a transaction that pay the federation, in order, each judged for itself.
pub fn find(transaction: &Transaction, federation: &Federation, rules: &PegRules) -> Vec<Result<Deposit, InvalidDeposit>> {
    let ours: Vec<(u32, Sats)> = (0_u32..)
        .zip(&transaction.output)
        .filter(|(_, output)| output.script_pubkey.as_script() == federation.script_pubkey())
        .map(|(vout, output)| (vout, Sats(output.value.to_sat())))
        .collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let txid = transaction.compute_txid();
    let named = recipient(transaction);
    let coinbase = transaction.is_coinbase();
    let judge = |(vout, value): (u32, Sats)| {
        let outpoint = OutPoint { txid, vout };
        match named.and_then(|recipient| check_value(value, rules).map(|()| recipient)) {
            Ok(recipient) => Ok(Deposit { outpoint, value, recipient, coinbase }),
            Err(reason) => Err(InvalidDeposit { outpoint, value, reason }),
        }
    };
    ours.into_iter().map(judge).collect()
}

/// The one address that the transaction names.
fn recipient(transaction: &Transaction) -> Result<Address, InvalidReason> {
    let mut named = Err(InvalidReason::NoRecipient);
    for output in transaction.output.iter().filter(|output| output.script_pubkey.is_op_return()) {
        named = match (named, parse_op_return(&output.script_pubkey)) {
            (Err(_), None) => Err(InvalidReason::BadRecipient),
            (Ok(known), Some(address)) if known != address => return Err(InvalidReason::SeveralRecipients),
            (Ok(known), _) => Ok(known),
            (Err(_), Some(address)) => Ok(address),
        };
    }
    match named {
        Ok(address) if address.is_zero() => Err(InvalidReason::ZeroRecipient),
        other => other,
    }
}

fn check_value(value: Sats, rules: &PegRules) -> Result<(), InvalidReason> {
    if value > MAX_SATS {
        Err(InvalidReason::ImpossibleValue)
    } else if value < rules.min_peg_in || value <= rules.peg_in_fee {
        Err(InvalidReason::BelowMinimum)
    } else {
        Ok(())
    }
}

/// The address in an `OP_RETURN` script with exactly one push.
fn parse_op_return(script: &Script) -> Option<Address> {
    let mut instructions = script.instructions().skip(1);
    let Some(Ok(Instruction::PushBytes(push))) = instructions.next() else { return None };
    match instructions.next() {
        None => parse_recipient(push.as_bytes()),
        Some(_) => None,
    }
}

/// A recipient as the module's table says.
pub fn parse_recipient(bytes: &[u8]) -> Option<Address> {
    let digits = match bytes.len() {
        20 => return Address::try_from(bytes).ok(),
        40 => bytes,
        42 => bytes.strip_prefix(b"0x")?,
        _ => return None,
    };
    let mut raw = [0_u8; 20];
    hex::decode_to_slice(digits, &mut raw).ok()?;
    Some(Address::from(raw))
}
