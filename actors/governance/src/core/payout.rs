//! Whether a payout is signed. Nothing that the request says is believed, nor the order in which it came: everything is
//! compared with our own replayed ledger and our own bitcoind. The PSBT of the request is not even read: what is signed
//! is computed from the ledger's transaction and the ledger's coins.
//!
//! The ledger has checked most of this when it took the block in. It is checked again here, because here money moves.

use alys_blocks::BurnRef;
use alys_peg::payout::signed_vsize;
use alys_peg::{BurnState, Ledger, Payout, burn};
use bitcoin::{OutPoint, ScriptBuf, Txid, consensus};

use super::refusal::Refusal;
use super::replay::Replay;

/// What the stream asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayoutRequest {
    /// Id of the transaction.
    pub txid: Txid,
    /// Its bytes, unsigned.
    pub transaction: Vec<u8>,
    /// Sidechain height of the block that records it.
    pub height: u64,
}

/// What own bitcoind says about one input (confirmed outputs only; `None`: it has no such unspent output).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputEvidence {
    /// Value, satoshis.
    pub value: u64,
    /// Script.
    pub script: ScriptBuf,
    /// How deep.
    pub confirmations: u32,
}

/// The payout as our own chain has it; everything that can be said without bitcoind. Returns its inputs, to be looked up.
pub fn check_recorded(replay: &Replay, request: &PayoutRequest) -> Result<Vec<OutPoint>, Refusal> {
    let ledger = replay.ledger();
    let Some(payout) = ledger.payout(&request.txid) else {
        let head = replay.head().height;
        let behind = head < request.height;
        return Err(if behind { Refusal::ChainBehind { head, needed: request.height } } else { Refusal::PayoutUnknown });
    };
    if consensus::serialize(&payout.recorded.transaction) != request.transaction {
        return Err(Refusal::OtherTransaction);
    }
    if let Some(why) = replay.not_the_plan(&request.txid) {
        return Err(Refusal::NotThePlan(why.to_owned()));
    }
    if payout.settled.is_some() {
        return Err(Refusal::Settled);
    }
    if ledger.paused().is_some() {
        return Err(Refusal::Paused);
    }
    check_payout(ledger, payout, &request.txid)
}

/// What the payout itself must be, whatever else the ledger says of it. Returns its inputs.
pub fn check_payout(ledger: &Ledger, payout: &Payout, txid: &Txid) -> Result<Vec<OutPoint>, Refusal> {
    check_burns(ledger, payout, txid)?;
    check_change(ledger, payout)?;
    check_fee(ledger, payout)?;
    let inputs: Vec<OutPoint> = payout.recorded.transaction.input.iter().map(|input| input.previous_output).collect();
    let ours: Vec<OutPoint> = payout.inputs.iter().map(|coin| coin.outpoint).collect();
    match inputs.iter().zip(&ours).find(|(input, coin)| input != coin) {
        Some((input, _)) => Err(Refusal::InputNotOurs(*input)),
        None if inputs.len() != ours.len() => Err(Refusal::InputNotOurs(inputs.last().copied().unwrap_or_default())),
        None => Ok(inputs),
    }
}

/// Every burn is committed on our own chain and in this payout and no other [PEG-16]; its output pays it [PEG-8].
fn check_burns(ledger: &Ledger, payout: &Payout, txid: &Txid) -> Result<(), Refusal> {
    for (output, id) in payout.recorded.burns.iter().enumerate() {
        let BurnRef { height, log_index } = *id;
        let Some((burned, BurnState::InPayout(in_payout))) = ledger.burn(id) else {
            return Err(Refusal::BurnNotCommitted { height, log_index });
        };
        if in_payout != *txid {
            return Err(Refusal::BurnNotCommitted { height, log_index });
        }
        let payable = burn::classify(burned, ledger.federation()).map_err(|_| Refusal::WrongOutput(output))?;
        let pays = payout.recorded.transaction.output.get(output).is_some_and(|paid| {
            paid.script_pubkey == payable.script_pubkey
                && paid.value.to_sat() <= payable.amount.0
                && paid.value.to_sat() >= payable.dust.0
        });
        if !pays {
            return Err(Refusal::WrongOutput(output));
        }
    }
    Ok(())
}

/// After the burns: nothing, or one output that is ours [PEG-9].
fn check_change(ledger: &Ledger, payout: &Payout) -> Result<(), Refusal> {
    let burns = payout.recorded.burns.len();
    for (position, output) in payout.recorded.transaction.output.iter().enumerate().skip(burns) {
        if position > burns || output.script_pubkey.as_script() != ledger.federation().script_pubkey() {
            return Err(Refusal::ForeignOutput(position));
        }
    }
    Ok(())
}

/// The rate is within the specification's bounds, and the fee is what the rate asks for [PEG-8].
fn check_fee(ledger: &Ledger, payout: &Payout) -> Result<(), Refusal> {
    let rate = payout.recorded.fee_rate;
    let fee = payout.fee();
    let vsize = signed_vsize(&payout.recorded.transaction, ledger.federation());
    if ledger.rules().allows(rate) && rate.fee(vsize) == Some(fee) {
        return Ok(());
    }
    Err(Refusal::Fee { fee: fee.0, rate: rate.0 })
}

/// Every input is, on own bitcoind, the ledger's coin: confirmed, unspent, of that value and our script [PEG-8][PEG-10].
pub fn check_inputs(ledger: &Ledger, txid: &Txid, evidence: &[Option<InputEvidence>]) -> Result<(), Refusal> {
    let payout = ledger.payout(txid).ok_or(Refusal::PayoutUnknown)?;
    let needed = ledger.rules().confirmations;
    for (position, coin) in payout.inputs.iter().enumerate() {
        let outpoint = coin.outpoint;
        let Some(Some(found)) = evidence.get(position) else { return Err(Refusal::InputNotUnspent(outpoint)) };
        if found.value != coin.value.0 || found.script.as_script() != ledger.federation().script_pubkey() {
            return Err(Refusal::InputDiffers(outpoint));
        }
        if found.confirmations < needed {
            return Err(Refusal::InputNotDeep { outpoint, confirmations: found.confirmations, needed });
        }
    }
    Ok(())
}
