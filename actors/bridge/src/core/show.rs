//! What bridge shows: the list of pegs, and its status.

use alys_peg::{Burn, BurnState};
use alys_proto::bridge::{Federation, PegInState, PegOutState, Pegs};
use alys_proto::common::OutPoint as OutPointMessage;
use alys_proto::storage::BurnId;
use bitcoin::hashes::Hash;
use bitcoin::{OutPoint, Txid};

use crate::core::deposits::Standing;
use crate::core::follow::BlockRef;
use crate::core::sightings::Judged;
use crate::core::state::{Bitcoin, State};
use crate::core::turns::Work;

/// Most entries of each list: the newest ones.
const MOST_SHOWN: usize = 1_000;

impl State {
    /// The block that new claims are to be judged against, or why there is none.
    pub fn view(&self) -> Result<BlockRef, String> {
        match (&self.bitcoin, self.followed.tip()) {
            (Bitcoin::Away(reason), _) => Err(reason.clone()),
            (_, Some(tip)) => Ok(tip),
            (_, None) => Err(format!("Bitcoin has not reached the start height {}", self.rules.spec.bitcoin.start_height)),
        }
    }

    /// How things stand with bitcoind.
    pub const fn bitcoin(&self) -> &Bitcoin {
        &self.bitcoin
    }

    /// The federation as people and tools need it.
    pub fn federation(&self) -> Federation {
        let federation = &self.rules.federation;
        Federation {
            descriptor: federation.descriptor_text(),
            address: federation.address().to_string(),
            network: federation.network().to_string(),
            threshold: self.rules.spec.federation.threshold,
            members: federation.members().iter().map(|member| member.serialize().to_vec()).collect(),
            confirmations: self.rules.peg.confirmations,
        }
    }

    /// The newest peg-ins and peg-outs.
    pub fn pegs(&self) -> Pegs {
        Pegs { peg_ins: self.peg_ins(), peg_outs: self.peg_outs() }
    }

    fn peg_ins(&self) -> Vec<PegInState> {
        let mut shown: Vec<PegInState> =
            self.unconfirmed.iter().map(|(outpoint, seen)| peg_in(outpoint, seen.value.0, &seen.judged)).collect();
        for (outpoint, coin) in self.sightings.coins() {
            let (state, reason, minted_height) = match self.standing(outpoint, coin) {
                Standing::Change => continue,
                Standing::Detected => ("detected", String::new(), 0),
                Standing::Confirmed => ("confirmed", String::new(), 0),
                Standing::Announced => ("announced", String::new(), 0),
                Standing::Minted(height) => ("minted", String::new(), height.0),
                Standing::Invalid(reason) => ("invalid", reason, 0),
            };
            shown.push(PegInState {
                bitcoin_height: coin.block.height,
                confirmations: self.followed.depth(coin.block.height),
                state: state.into(),
                reason,
                minted_height,
                ..peg_in(outpoint, coin.value.0, &coin.judged)
            });
        }
        // Minted ones whose Bitcoin side we have forgotten, or not read yet.
        for (outpoint, minted) in self.ledger.all_minted() {
            if !self.sightings.coins().contains_key(outpoint) && !self.unconfirmed.contains_key(outpoint) {
                let known = peg_in(outpoint, minted.value.0, &Judged::Valid(minted.recipient));
                shown.push(PegInState { state: "minted".into(), minted_height: minted.height.0, ..known });
            }
        }
        // Newest first: those without a block before all others.
        shown.sort_by_key(|state| (std::cmp::Reverse(newest(state)), state.outpoint.as_ref().map(|outpoint| outpoint.vout)));
        shown.truncate(MOST_SHOWN);
        shown
    }

    fn peg_outs(&self) -> Vec<PegOutState> {
        let mut shown: Vec<PegOutState> = self.ledger.burns().map(|(burn, state)| self.peg_out(burn, state)).collect();
        shown.reverse();
        shown.truncate(MOST_SHOWN);
        shown
    }

    fn peg_out(&self, burn: &Burn, state: BurnState) -> PegOutState {
        let mut shown = PegOutState {
            burn: Some(BurnId { height: burn.id.height, log_index: burn.id.log_index }),
            amount_sats: burn.amount.to_sats().map_or(0, |sats| sats.0),
            bitcoin_address: String::from_utf8_lossy(&burn.bitcoin_address).into_owned(),
            ..PegOutState::default()
        };
        match state {
            BurnState::Pending => shown.state = "burned".into(),
            BurnState::Refunded(reason) => {
                shown.state = "refunded".into();
                shown.reason = reason.to_string();
            }
            BurnState::InPayout(txid) => {
                self.show_payout(&mut shown, txid);
                shown.state = self.payout_state(&txid).into();
            }
            BurnState::Paid(txid) => {
                self.show_payout(&mut shown, txid);
                shown.state = "settled".into();
            }
        }
        shown
    }

    fn show_payout(&self, shown: &mut PegOutState, txid: Txid) {
        shown.payout_txid = txid.to_byte_array().to_vec();
        shown.confirmations = self.sightings.spend(&txid).map_or(0, |spend| self.followed.depth(spend.block.height));
        shown.reason = self.refusals.get(&txid).cloned().unwrap_or_default();
    }

    fn payout_state(&self, txid: &Txid) -> &'static str {
        if self.sightings.spend(txid).is_some() || (self.is_signed(txid) && self.turns.done(&Work::Broadcast(*txid))) {
            "broadcast"
        } else if self.turns.done(&Work::Sign(*txid)) || self.is_signed(txid) {
            "signing"
        } else {
            "recorded"
        }
    }

    /// Named values for the status, in a fixed order. Cheap: no walk over the history.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let tip = self.followed.tip();
        let text = |value: Option<String>| value.unwrap_or_else(|| "none".into());
        let bitcoin = match &self.bitcoin {
            Bitcoin::Away(_) => "away".to_owned(),
            Bitcoin::CatchingUp(best) => format!("reading up to {}", best.height),
            Bitcoin::Following => "following".to_owned(),
        };
        vec![
            ("bitcoin", bitcoin),
            ("bitcoin_height", text(tip.map(|tip| tip.height.to_string()))),
            ("bitcoin_hash", text(tip.map(|tip| tip.hash.to_string()))),
            ("ledger_height", self.ledger.height().to_string()),
            ("deposits_seen", self.sightings.coins().len().to_string()),
            ("burns_pending", self.ledger.pending_burns().count().to_string()),
            ("payouts_in_flight", self.ledger.payouts_in_flight().count().to_string()),
            ("coins_held", self.ledger.coins_held().to_string()),
            ("supply", self.ledger.supply().to_string()),
            ("fee_rate", text(self.fee_rate().map(|rate| rate.0.to_string()))),
            ("alarms", self.alarms().len().to_string()),
        ]
    }
}

fn newest(state: &PegInState) -> u32 {
    if state.bitcoin_height == 0 && state.state == "detected" { u32::MAX } else { state.bitcoin_height }
}

/// A deposit that is in no block, as it is shown.
fn peg_in(outpoint: &OutPoint, value_sats: u64, judged: &Judged) -> PegInState {
    let (recipient, state, reason) = match judged {
        Judged::Valid(recipient) => (recipient.to_vec(), "detected", String::new()),
        Judged::Invalid(reason) => (Vec::new(), "invalid", reason.clone()),
    };
    PegInState {
        outpoint: Some(OutPointMessage { txid: outpoint.txid.to_byte_array().to_vec(), vout: outpoint.vout }),
        value_sats,
        recipient,
        state: state.into(),
        reason,
        ..PegInState::default()
    }
}
