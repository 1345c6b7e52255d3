//! Burns on the sidechain, and whether Bitcoin can pay them [PEG-7].
//!
//! Nothing here depends on a limit that may change, so an old burn never becomes unpayable by a new rule.
//!
//! | the burn's address bytes and amount | payable? |
//! |---|---|
//! | more than 90 bytes, or not ASCII text | no: not text |
//! | text that is no Bitcoin address | no: not an address |
//! | an address of another Bitcoin network | no: wrong network |
//! | a script that anybody, or nobody, can spend (unknown witness version, taproot key off the curve) | no: unsupported script |
//! | the federation's own address | no: pays the federation |
//! | not a whole number of satoshis | no: not whole satoshis |
//! | less than the script's dust limit | no: below dust |
//! | else | yes |

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address as Recipient, B256};
use alys_blocks::BurnRef;
use alys_proto::{Sats, Wei};
use bitcoin::address::{Address, AddressData, NetworkUnchecked};
use bitcoin::{ScriptBuf, WitnessVersion, XOnlyPublicKey};

use crate::{Federation, FeeRate};

/// Longest address text: bech32 allows 90 characters.
const MAX_ADDRESS_BYTES: usize = 90;

/// A burn on the bridge contract, in a committed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burn {
    /// Its place in the chain.
    pub id: BurnRef,
    /// The EVM transaction.
    pub transaction_hash: B256,
    /// Who burned; refunds go there.
    pub sender: Recipient,
    /// The Bitcoin address as given: text, unchecked.
    pub bitcoin_address: Vec<u8>,
    /// How much.
    pub amount: Wei,
}

/// A burn that Bitcoin can pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayableBurn {
    /// Its place in the chain.
    pub id: BurnRef,
    /// What the payout output must pay to.
    pub script_pubkey: ScriptBuf,
    /// What was burned. The output pays this minus its share of the fee.
    pub amount: Sats,
    /// Smallest output that Bitcoin nodes relay for this script.
    pub dust: Sats,
}

/// Why a burn goes back to the burner. The text form is stored in blocks (ASCII, at most 64 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefundReason {
    /// The address is not ASCII text of a sane length.
    NotText,
    /// The text is not a Bitcoin address.
    NotAnAddress,
    /// The address is one of another Bitcoin network.
    WrongNetwork,
    /// Paying the script would lose the coins.
    UnsupportedScript,
    /// The address is the federation's own.
    PaysFederation,
    /// The amount is not a whole number of satoshis.
    NotWholeSats,
    /// The amount is below the dust limit of the script.
    BelowDust,
    /// At this fee rate, the burn's share of the fee leaves less than dust.
    EatenByFee(FeeRate),
}

impl RefundReason {
    const PLAIN: [(Self, &'static str); 7] = [
        (Self::NotText, "not-text"),
        (Self::NotAnAddress, "not-an-address"),
        (Self::WrongNetwork, "wrong-network"),
        (Self::UnsupportedScript, "unsupported-script"),
        (Self::PaysFederation, "pays-the-federation"),
        (Self::NotWholeSats, "not-whole-satoshis"),
        (Self::BelowDust, "below-dust"),
    ];
    const EATEN: &'static str = "eaten-by-fee-at-";
}

impl fmt::Display for RefundReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::EatenByFee(rate) = self {
            return write!(f, "{}{}", Self::EATEN, rate.0);
        }
        let name = Self::PLAIN.iter().find(|(reason, _)| reason == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// The text is not the name of a refund reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a reason for a refund")]
pub struct UnknownReason(pub String);

impl FromStr for RefundReason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let reason = match text.strip_prefix(Self::EATEN) {
            Some(rate) => rate.parse().ok().map(|rate| Self::EatenByFee(FeeRate(rate))),
            None => Self::PLAIN.iter().find(|(_, name)| *name == text).map(|(reason, _)| *reason),
        };
        // One spelling only: the reason is hashed into blocks.
        reason.filter(|reason| reason.to_string() == text).ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

/// Whether Bitcoin can pay this burn, whatever the fees; else why it goes back.
pub fn classify(burn: &Burn, federation: &Federation) -> Result<PayableBurn, RefundReason> {
    let script_pubkey = parse_address(&burn.bitcoin_address, federation)?;
    let amount = burn.amount.to_sats().ok_or(RefundReason::NotWholeSats)?;
    let dust = Sats(script_pubkey.minimal_non_dust().to_sat());
    if amount < dust {
        return Err(RefundReason::BelowDust);
    }
    Ok(PayableBurn { id: burn.id, script_pubkey, amount, dust })
}

fn parse_address(bytes: &[u8], federation: &Federation) -> Result<ScriptBuf, RefundReason> {
    if bytes.len() > MAX_ADDRESS_BYTES || !bytes.is_ascii() {
        return Err(RefundReason::NotText);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| RefundReason::NotText)?;
    let parsed: Address<NetworkUnchecked> = text.parse().map_err(|_| RefundReason::NotAnAddress)?;
    let address = parsed.require_network(federation.network()).map_err(|_| RefundReason::WrongNetwork)?;
    let script = address.script_pubkey();
    if script.as_script() == federation.script_pubkey() {
        return Err(RefundReason::PaysFederation);
    }
    if spendable_by_its_owner(&address) { Ok(script) } else { Err(RefundReason::UnsupportedScript) }
}

/// False where the coins would be anybody's or nobody's.
fn spendable_by_its_owner(address: &Address) -> bool {
    match address.to_address_data() {
        AddressData::P2pkh { .. } | AddressData::P2sh { .. } => true,
        AddressData::Segwit { witness_program } => {
            let program = witness_program.program().as_bytes();
            match witness_program.version() {
                WitnessVersion::V0 => true,
                WitnessVersion::V1 => XOnlyPublicKey::from_slice(program).is_ok(),
                _ => false,
            }
        }
        _ => false,
    }
}
