//! The next payout, computed: from the same ledger and fee rate, every node builds the same bytes [PEG-13].
//!
//! 1. The batch: the oldest pending burns that Bitcoin can pay (in settled blocks, where the chain asks for work), at most `max_burns_per_payout`. When the spendable coins
//!    do not reach, the youngest leave the batch; the oldest never waits for a younger one.
//! 2. The coins: see [`select`].
//! 3. The fee: `rate × exact size`. It is borne by the burners alone: each pays for its own output, and the rest (inputs,
//!    change, overhead) is shared in proportion to the amounts. So coins taken never exceed what the burns are owed [PEG-1].
//! 4. A burn that would receive less than dust is left out and the batch is computed again; it is due for a refund
//!    ([`crate::refund`]).
//! 5. Outputs: one per burn, in order; then at most one change, to the federation [PEG-9]. Change below dust does not go to
//!    the miners: another coin is added, and when there is none the burners fill it up to the dust limit (≤ 330 satoshis together).
//!
//! "The ledger" is always the one *after the parent block*: what a block itself mints or settles is not spent by it.
//! A block records at most one payout.

mod fees;
mod select;

use std::collections::BTreeSet;

use alys_blocks::BurnRef;
use alys_proto::Sats;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Sequence, Transaction, TxIn, TxOut};

use crate::{Coin, Federation, FeeRate, Ledger, PayableBurn, PayoutRecorded, burn};

pub use fees::{MAX_STANDARD_WEIGHT, input_vsize, signed_vsize, signed_weight};
use select::Selection;

/// A planned payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayoutPlan {
    /// Unsigned. Output `i` pays burn `i`; one more output is change.
    pub transaction: Transaction,
    /// What the fee was computed with.
    pub fee_rate: FeeRate,
    /// The burns it pays, in the order of its outputs.
    pub burns: Vec<BurnRef>,
    /// What it pays to miners.
    pub fee: Sats,
    /// What comes back to the federation.
    pub change: Option<Sats>,
    /// Burns that this fee rate eats: due for a refund.
    pub eaten: Vec<BurnRef>,
}

impl PayoutPlan {
    /// What a block records of it.
    pub fn recorded(&self) -> PayoutRecorded {
        PayoutRecorded { transaction: self.transaction.clone(), fee_rate: self.fee_rate, burns: self.burns.clone() }
    }
}

/// Why there is no payout to plan now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPayout {
    /// The fee rate is outside the specification's bounds [PEG-8].
    #[error("a fee rate of {} satoshis per 1,000 virtual bytes is out of bounds", .0.0)]
    FeeRate(FeeRate),
    /// No burn waits that Bitcoin can pay at this fee rate.
    #[error("no burn to pay")]
    NothingToPay {
        /// Burns that this fee rate eats.
        eaten: Vec<BurnRef>,
    },
    /// The oldest burn needs more than the spendable coins: it waits for change of payouts in flight.
    #[error("the oldest burn waits for coins that are in flight")]
    WaitsForCoins,
    /// The federation has paused the peg [PEG-18].
    #[error("the peg is paused")]
    Paused,
}

/// Why a recorded payout is not the one that follows from the ledger [PEG-13].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayoutRefusal {
    /// There is none to make.
    #[error("no payout follows from the ledger")]
    None(#[from] NoPayout),
    /// Other burns.
    #[error("it pays other burns than the ledger asks for")]
    OtherBurns,
    /// Other bytes.
    #[error("its transaction is not the one that follows from the ledger")]
    OtherTransaction,
    /// A block with more than one payout.
    #[error("a block records at most one payout")]
    Several,
}

/// The next payout at a fee rate, from the ledger of the parent block.
pub fn plan(ledger: &Ledger, fee_rate: FeeRate) -> Result<PayoutPlan, NoPayout> {
    if ledger.paused().is_some() {
        return Err(NoPayout::Paused);
    }
    if !ledger.rules().allows(fee_rate) {
        return Err(NoPayout::FeeRate(fee_rate));
    }
    let federation = ledger.federation();
    let settled = ledger.pending_burns().filter(|burned| ledger.is_settled(&burned.id));
    let payable: Vec<PayableBurn> = settled.filter_map(|burned| burn::classify(burned, federation).ok()).collect();
    let mut eaten = BTreeSet::new();
    loop {
        let batch: Vec<&PayableBurn> =
            payable.iter().filter(|burn| !eaten.contains(&burn.id)).take(ledger.rules().max_burns_per_payout).collect();
        if batch.is_empty() {
            return Err(NoPayout::NothingToPay { eaten: eaten.into_iter().collect() });
        }
        let (batch, selection) = fund(ledger, fee_rate, batch).ok_or(NoPayout::WaitsForCoins)?;
        match fees::pay(&batch, &selection, fee_rate, federation) {
            Ok(paid) => return Ok(assemble(&batch, &selection, paid, fee_rate, federation, eaten)),
            Err(too_small) => eaten.extend(too_small),
        }
    }
}

/// Checks a block's payouts against the ledger of the parent block.
pub fn check_all(recorded: &[PayoutRecorded], parent: &Ledger) -> Result<(), PayoutRefusal> {
    match recorded {
        [] => Ok(()),
        [only] => check(only, parent),
        _ => Err(PayoutRefusal::Several),
    }
}

/// Recomputes a payout from the ledger of the parent block and compares it byte for byte [PEG-13].
pub fn check(recorded: &PayoutRecorded, parent: &Ledger) -> Result<(), PayoutRefusal> {
    let expected = plan(parent, recorded.fee_rate)?;
    if expected.burns != recorded.burns {
        return Err(PayoutRefusal::OtherBurns);
    }
    // Equal values have equal bytes: a decoded transaction was compared with its encoding, witnesses included.
    if expected.transaction != recorded.transaction {
        return Err(PayoutRefusal::OtherTransaction);
    }
    Ok(())
}

/// The longest head of the batch that the coins can pay.
fn fund<'b>(ledger: &Ledger, fee_rate: FeeRate, mut batch: Vec<&'b PayableBurn>) -> Option<(Vec<&'b PayableBurn>, Selection)> {
    while !batch.is_empty() {
        let target = batch.iter().fold(0_u64, |sum, burn| sum.saturating_add(burn.amount.0));
        let room = fees::max_inputs(batch.len(), ledger.federation());
        let reach = target <= ledger.spendable().0;
        if let Some(selection) = reach.then(|| select::select(ledger, Sats(target), fee_rate, room)).flatten() {
            return Some((batch, selection));
        }
        batch.pop();
    }
    None
}

fn assemble(
    batch: &[&PayableBurn],
    selection: &Selection,
    paid: fees::Paid,
    fee_rate: FeeRate,
    federation: &Federation,
    eaten: BTreeSet<BurnRef>,
) -> PayoutPlan {
    let mut output: Vec<TxOut> = batch.iter().zip(&paid.values).map(|(burn, value)| pay_to(burn, *value)).collect();
    output.extend(selection.change.map(|value| change_output(value, federation)));
    PayoutPlan {
        transaction: unsigned(&selection.coins, output),
        fee_rate,
        burns: batch.iter().map(|burn| burn.id).collect(),
        fee: paid.fee,
        change: selection.change,
        eaten: eaten.into_iter().collect(),
    }
}

fn pay_to(burn: &PayableBurn, value: Sats) -> TxOut {
    TxOut { value: Amount::from_sat(value.0), script_pubkey: burn.script_pubkey.clone() }
}

fn change_output(value: Sats, federation: &Federation) -> TxOut {
    TxOut { value: Amount::from_sat(value.0), script_pubkey: federation.script_pubkey().to_owned() }
}

/// Version 2, no lock time, replaceable: the one form of payouts.
fn unsigned(coins: &[Coin], output: Vec<TxOut>) -> Transaction {
    let input = coins
        .iter()
        .map(|coin| TxIn { previous_output: coin.outpoint, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME, ..TxIn::default() })
        .collect();
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}

/// Whether a transaction has the form that [`plan`] gives: what is signed has no other shape.
pub(crate) fn has_form(transaction: &Transaction) -> bool {
    let inputs_fit = transaction.input.iter().all(|input| {
        input.sequence == Sequence::ENABLE_RBF_NO_LOCKTIME && input.script_sig.is_empty() && input.witness.is_empty()
    });
    transaction.version == Version::TWO && transaction.lock_time == LockTime::ZERO && inputs_fit && !transaction.input.is_empty()
}
