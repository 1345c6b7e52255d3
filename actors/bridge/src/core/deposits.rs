//! What becomes of deposits.
//!
//! | the output | state |
//! |---|---|
//! | in the mempool, or lost in a reorganisation | detected, at height 0 |
//! | in a block, less deep than it must be | detected |
//! | deep enough [PEG-4] | confirmed |
//! | governance was told | announced |
//! | the ledger has minted it | minted |
//! | it names no recipient, is too small, … | invalid, with the reason |
//! | an output of a recorded payout | none: it is change |
//!
//! States are computed, never stored: from the sightings, the depth of the followed chain, and the ledger.

use alys_blocks::limits::MaxPegIns;
use alys_peg::{Deposit, InvalidDeposit, deposit};
use alys_proto::common::{OutPoint as OutPointMessage, PegInProof};
use alys_proto::{Height, Sats};
use bitcoin::hashes::Hash;
use bitcoin::{Block, OutPoint, Transaction};
use ssz_types::typenum::Unsigned;

use crate::core::effect::Effect;
use crate::core::input::Millis;
use crate::core::sightings::{Coin, Judged};
use crate::core::state::State;
use crate::core::turns::Work;

/// Deposits that are not in a block are only shown, so few are remembered: 1,000 × ~100 bytes. The oldest fall out.
const MOST_UNCONFIRMED: usize = 1_000;
/// And not for long: one hour.
const REMEMBER_UNCONFIRMED: u64 = 3_600_000;
/// Announced at once: as many as one block can mint.
const MOST_ANNOUNCED: usize = MaxPegIns::USIZE;

/// A deposit that is in no block of the best chain. Lost at a restart.
#[derive(Clone, Debug)]
pub(super) struct Unconfirmed {
    pub(super) value: Sats,
    pub(super) judged: Judged,
    pub(super) since: Millis,
}

/// What has become of a deposit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Seen, not deep enough.
    Detected,
    /// Deep enough.
    Confirmed,
    /// Governance was told.
    Announced,
    /// On the sidechain since this height.
    Minted(Height),
    /// It cannot be minted.
    Invalid(String),
    /// Not a deposit: change of our own payout.
    Change,
}

impl State {
    /// What has become of an output that pays the federation.
    pub fn standing(&self, outpoint: &OutPoint, coin: &Coin) -> Standing {
        if self.ledger.payout(&outpoint.txid).is_some() {
            return Standing::Change;
        }
        if let Some(minted) = self.ledger.minted(outpoint) {
            return Standing::Minted(minted.height);
        }
        match &coin.judged {
            Judged::Invalid(reason) => Standing::Invalid(reason.clone()),
            Judged::Valid(_) if coin.spent_by.is_some() => Standing::Invalid("spent before it was minted".into()),
            Judged::Valid(_) if !self.is_deep(outpoint, coin) => Standing::Detected,
            Judged::Valid(_) if self.turns.done(&Work::Announce(*outpoint)) => Standing::Announced,
            Judged::Valid(_) => Standing::Confirmed,
        }
    }

    fn is_deep(&self, outpoint: &OutPoint, coin: &Coin) -> bool {
        self.excess_depth(outpoint, coin).is_some()
    }

    /// By how many blocks a deposit is deeper than it must be; `None`: it is not deep enough, or no deposit.
    pub(super) fn excess_depth(&self, outpoint: &OutPoint, coin: &Coin) -> Option<u32> {
        let Judged::Valid(recipient) = coin.judged else { return None };
        let deposit = Deposit { outpoint: *outpoint, value: coin.value, recipient, coinbase: coin.coinbase };
        self.followed.depth(coin.block.height).checked_sub(deposit.confirmations_needed(&self.rules.peg))
    }

    /// Tells governance of the deposits that are deep enough, again and again until they are minted.
    pub(super) fn announce_deposits(&mut self, effects: &mut Vec<Effect>) {
        let waiting: Vec<OutPoint> = self
            .sightings
            .coins()
            .iter()
            .filter(|(outpoint, coin)| matches!(self.standing(outpoint, coin), Standing::Confirmed | Standing::Announced))
            .map(|(outpoint, _)| *outpoint)
            .collect();
        let mut announced = 0;
        for outpoint in waiting {
            if announced == MOST_ANNOUNCED {
                return;
            }
            let Some(proof) = self.proof(&outpoint) else { continue };
            if self.turns.take(Work::Announce(outpoint), self.now, self.rules.intervals.announce) {
                effects.push(Effect::BitcoinTransactionDetected(Box::new(proof)));
                announced += 1;
            }
        }
    }

    /// The deposit as others need it.
    fn proof(&self, outpoint: &OutPoint) -> Option<PegInProof> {
        let coin = self.sightings.coins().get(outpoint)?;
        let Judged::Valid(recipient) = coin.judged else { return None };
        let evidence = coin.evidence.as_ref()?;
        Some(PegInProof {
            outpoint: Some(OutPointMessage { txid: outpoint.txid.to_byte_array().to_vec(), vout: outpoint.vout }),
            value_sats: coin.value.0,
            recipient: recipient.to_vec(),
            transaction: evidence.transaction.clone(),
            merkle_proof: evidence.merkle_proof.clone(),
            bitcoin_height: coin.block.height,
        })
    }

    /// A transaction of the mempool.
    pub(super) fn see_unconfirmed(&mut self, transaction: &Transaction) {
        for found in deposit::find(transaction, &self.rules.federation, &self.rules.peg) {
            let (outpoint, value, judged) = match found {
                Ok(deposit) => (deposit.outpoint, deposit.value, Judged::Valid(deposit.recipient)),
                Err(InvalidDeposit { outpoint, value, reason }) => (outpoint, value, Judged::Invalid(reason.to_string())),
            };
            self.remember(outpoint, value, judged);
        }
    }

    /// Deposits of blocks that are no longer in the best chain: usually they are in the mempool again.
    pub(super) fn remember_lost(&mut self, lost: Vec<(OutPoint, Coin)>) {
        for (outpoint, coin) in lost {
            self.turns.reset(&Work::Announce(outpoint));
            self.remember(outpoint, coin.value, coin.judged);
        }
    }

    fn remember(&mut self, outpoint: OutPoint, value: Sats, judged: Judged) {
        if self.sightings.coins().contains_key(&outpoint) || self.ledger.payout(&outpoint.txid).is_some() {
            return;
        }
        if self.unconfirmed.len() >= MOST_UNCONFIRMED {
            let oldest = self.unconfirmed.iter().min_by_key(|(_, seen)| seen.since).map(|(outpoint, _)| *outpoint);
            oldest.and_then(|outpoint| self.unconfirmed.remove(&outpoint));
        }
        self.unconfirmed.insert(outpoint, Unconfirmed { value, judged, since: self.now });
    }

    /// Deposits of this block are no longer unconfirmed.
    pub(super) fn confirm_unconfirmed(&mut self, block: &Block) {
        if self.unconfirmed.is_empty() {
            return;
        }
        let coins = self.sightings.coins();
        let hash = block.block_hash();
        self.unconfirmed.retain(|outpoint, _| coins.get(outpoint).is_none_or(|coin| coin.block.hash != hash));
    }

    /// Forgets what was not confirmed for long, unless it was minted: then it stays as an alarm.
    pub(super) fn drop_old_unconfirmed(&mut self) {
        let (now, ledger) = (self.now, &self.ledger);
        self.unconfirmed
            .retain(|outpoint, seen| now.0.saturating_sub(seen.since.0) < REMEMBER_UNCONFIRMED || ledger.is_minted(outpoint));
    }

    /// What must not be: a person has to look.
    pub fn alarms(&self) -> Vec<String> {
        let lost = self.unconfirmed.keys().filter(|outpoint| self.ledger.is_minted(outpoint));
        lost.map(|outpoint| format!("deposit {outpoint} is minted and no longer in Bitcoin's best chain")).collect()
    }
}
