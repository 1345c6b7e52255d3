//! The peg's books: a fold over the facts of committed blocks, the same on every node at a height [PEG-12].
//!
//! | fact | coins | burns | withdrawals |
//! |---|---|---|---|
//! | minted | + the deposit | | + 1 |
//! | refunded | | pending → refunded | + 1 |
//! | payout recorded | − its inputs | pending → in payout | |
//! | payout settled | + its change | in payout → paid | |
//! | burned | | + pending | |
//! | work settled | | those in settled blocks may be paid, where the chain asks for it | |
//! | decided: pause | stay as they are, except that what Bitcoin has is settled | wait | none |
//!
//! A payout's inputs count as held until it is settled, because until then Bitcoin may still give them back; its burns
//! count as owed as long. So "held ≥ supply + owed" [PEG-1] compares what is true on Bitcoin with what is true here.

mod apply;
mod audit;
mod coins;
mod violation;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use alys_blocks::{BitcoinView, BurnRef, ChainSpec};
use alys_pow::Settled;
use alys_proto::storage::LedgerFact;
use alys_proto::{Height, Sats, Wei};
use bitcoin::{Amount, OutPoint, TxOut, Txid};

pub use coins::Coin;
use coins::Coins;
pub use violation::Violation;

use crate::{Burn, Fact, Federation, FederationError, PayoutRecorded, PegRules, RefundReason, WireError};

/// What has become of a burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurnState {
    /// Waits to be paid or refunded.
    Pending,
    /// In a recorded payout that Bitcoin has not confirmed yet.
    InPayout(Txid),
    /// Paid, deep enough.
    Paid(Txid),
    /// Given back on the sidechain.
    Refunded(RefundReason),
}

/// A minted deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MintedAt {
    /// Value of the output.
    pub value: Sats,
    /// Who was credited.
    pub recipient: Address,
    /// Sidechain height.
    pub height: Height,
}

/// A recorded payout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// What the block recorded.
    pub recorded: PayoutRecorded,
    /// Sidechain height of that block.
    pub height: Height,
    /// The coins it spends, in the order of its inputs.
    pub inputs: Vec<Coin>,
    /// Its change output.
    pub change: Option<Coin>,
    /// Where Bitcoin confirmed it.
    pub settled: Option<BitcoinView>,
}

impl Payout {
    /// What it pays to miners.
    pub fn fee(&self) -> Sats {
        let spent = self.inputs.iter().fold(0_u64, |sum, coin| sum.saturating_add(coin.value.0));
        let paid = self.recorded.transaction.output.iter().fold(0_u64, |sum, output| sum.saturating_add(output.value.to_sat()));
        Sats(spent.saturating_sub(paid))
    }
}

/// The books. All amounts here are at most the 21 million coins that [`Self::apply`] lets in, so sums fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    federation: Federation,
    rules: PegRules,
    height: Height,
    minted: BTreeMap<OutPoint, MintedAt>,
    burns: BTreeMap<BurnRef, (Burn, BurnState)>,
    pending: BTreeSet<BurnRef>,
    payouts: BTreeMap<Txid, Payout>,
    in_flight: BTreeSet<Txid>,
    coins: Coins,
    spent: BTreeMap<OutPoint, Txid>,
    totals: Totals,
    standing: Standing,
}

/// What a block can change for the blocks after it. It is small, so it is kept whole where a block may have to be undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    work: Option<Settled>,
    /// Number of the federation's last decision.
    decisions: u64,
    /// Height of the block since which the peg stands still.
    paused: Option<Height>,
}

/// Running sums; [`Ledger::check_invariants`] compares them with the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    minted: Wei,
    burned: Wei,
    refunded: Wei,
    /// Burns that are pending or in an unsettled payout.
    owed: Wei,
    /// Inputs of unsettled payouts.
    in_flight: Sats,
    withdrawals: u64,
}

/// Why stored facts do not make a ledger.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The specification names no usable federation.
    #[error("federation refused")]
    Federation(#[from] FederationError),
    /// A stored fact does not decode.
    #[error("a fact of height {height} does not decode")]
    Wire {
        /// Its height.
        height: u64,
        /// Why.
        #[source]
        source: WireError,
    },
    /// A stored fact breaks a rule.
    #[error("a fact of height {height} breaks a rule")]
    Rule {
        /// Its height.
        height: u64,
        /// Which.
        #[source]
        source: Violation,
    },
}

impl Ledger {
    /// The ledger of a chain without blocks.
    pub fn new(federation: Federation, rules: PegRules) -> Self {
        Self {
            federation,
            rules,
            height: Height::default(),
            minted: BTreeMap::new(),
            burns: BTreeMap::new(),
            pending: BTreeSet::new(),
            payouts: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            coins: Coins::default(),
            spent: BTreeMap::new(),
            totals: Totals::default(),
            standing: Standing::default(),
        }
    }

    /// The ledger of a chain without blocks, as the specification says.
    pub fn of(spec: &ChainSpec) -> Result<Self, FederationError> {
        Ok(Self::new(Federation::try_from(spec)?, PegRules::from(spec)))
    }

    /// The ledger at `head` from the stored facts of heights 1 to `head`, in order. Heights without facts are not stored.
    pub fn replay(spec: &ChainSpec, head: Height, facts: &[LedgerFact]) -> Result<Self, ReplayError> {
        let mut ledger = Self::of(spec)?;
        for block in facts.chunk_by(|left, right| left.height == right.height) {
            let height = block.first().map(|fact| fact.height).unwrap_or_default();
            let typed: Result<Vec<Fact>, WireError> = block.iter().map(Fact::try_from).collect();
            let typed = typed.map_err(|source| ReplayError::Wire { height, source })?;
            ledger.apply_at(Height(height), &typed).map_err(|source| ReplayError::Rule { height, source })?;
        }
        if ledger.height > head {
            return Err(ReplayError::Rule {
                height: ledger.height.0,
                source: Violation::Height { expected: head, found: ledger.height },
            });
        }
        ledger.height = head;
        Ok(ledger)
    }

    /// The federation that holds the coins.
    pub fn federation(&self) -> &Federation {
        &self.federation
    }

    /// The limits.
    pub fn rules(&self) -> &PegRules {
        &self.rules
    }

    /// Height of the last applied block.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Whether a deposit was minted [PEG-2].
    pub fn is_minted(&self, outpoint: &OutPoint) -> bool {
        self.minted.contains_key(outpoint)
    }

    /// A minted deposit.
    pub fn minted(&self, outpoint: &OutPoint) -> Option<&MintedAt> {
        self.minted.get(outpoint)
    }

    /// All minted deposits.
    pub fn all_minted(&self) -> impl Iterator<Item = (&OutPoint, &MintedAt)> {
        self.minted.iter()
    }

    /// A burn and what has become of it.
    pub fn burn(&self, id: &BurnRef) -> Option<(&Burn, BurnState)> {
        self.burns.get(id).map(|(burn, state)| (burn, *state))
    }

    /// All burns, oldest first.
    pub fn burns(&self) -> impl Iterator<Item = (&Burn, BurnState)> {
        self.burns.values().map(|(burn, state)| (burn, *state))
    }

    /// Burns that wait, oldest first.
    pub fn pending_burns(&self) -> impl Iterator<Item = &Burn> {
        self.pending.iter().filter_map(|id| self.burns.get(id)).map(|(burn, _)| burn)
    }

    /// A recorded payout.
    pub fn payout(&self, txid: &Txid) -> Option<&Payout> {
        self.payouts.get(txid)
    }

    /// All recorded payouts, by id.
    pub fn payouts(&self) -> impl Iterator<Item = (&Txid, &Payout)> {
        self.payouts.iter()
    }

    /// Recorded payouts that are not settled.
    pub fn payouts_in_flight(&self) -> impl Iterator<Item = (&Txid, &Payout)> {
        self.in_flight.iter().filter_map(|txid| self.payouts.get_key_value(txid))
    }

    /// Coins that a payout may spend, oldest first.
    pub fn utxos(&self) -> impl Iterator<Item = &Coin> {
        self.coins.iter()
    }

    /// All coins that a payout may spend, together.
    pub fn spendable(&self) -> Sats {
        self.coins.total()
    }

    /// Whether an outpoint is a coin that a payout may spend.
    pub fn is_spendable(&self, outpoint: &OutPoint) -> bool {
        self.coins.get(outpoint).is_some()
    }

    /// The outputs that a recorded payout spends, in the order of its inputs: what its signatures commit to.
    pub fn prevouts(&self, txid: &Txid) -> Option<Vec<TxOut>> {
        let payout = self.payouts.get(txid)?;
        Some(payout.inputs.iter().map(|coin| self.prevout(coin)).collect())
    }

    pub(crate) fn prevout(&self, coin: &Coin) -> TxOut {
        TxOut { value: Amount::from_sat(coin.value.0), script_pubkey: self.federation.script_pubkey().to_owned() }
    }

    /// Minted plus refunded minus burned: what the sidechain has of us, at most [PEG-1].
    pub fn supply(&self) -> Wei {
        let created = self.totals.minted.0.saturating_add(self.totals.refunded.0);
        Wei(created.saturating_sub(self.totals.burned.0))
    }

    /// What committed burns are still owed: pending or in an unsettled payout.
    pub fn owed(&self) -> Wei {
        self.totals.owed
    }

    /// What the federation holds on Bitcoin by these books: spendable coins and inputs of unsettled payouts.
    pub fn coins_held(&self) -> Sats {
        Sats(self.coins.total().0.saturating_add(self.totals.in_flight.0))
    }

    /// What the last bundle of work settled; `None` before any.
    pub fn work(&self) -> Option<&Settled> {
        self.standing.work.as_ref()
    }

    /// Number of the federation's last decision; 0 before any.
    pub fn decisions(&self) -> u64 {
        self.standing.decisions
    }

    /// Height of the block that paused the peg, while it stands still [PEG-18].
    pub fn paused(&self) -> Option<Height> {
        self.standing.paused
    }

    /// Whether a burn may be paid: always, or when its block is settled.
    pub fn is_settled(&self, burn: &BurnRef) -> bool {
        !self.rules.settled_peg_outs || self.standing.work.is_some_and(|settled| burn.height <= settled.end.height)
    }

    /// Index that the next withdrawal must have [PEG-5].
    pub fn next_withdrawal_index(&self) -> u64 {
        self.totals.withdrawals
    }
}
