//! The coins that payouts may spend, oldest first.

use std::collections::BTreeMap;

use alys_proto::Sats;
use bitcoin::OutPoint;

/// An output that pays the federation. All of them have the federation's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coin {
    /// The output.
    pub outpoint: OutPoint,
    /// Its value.
    pub value: Sats,
    /// When the ledger learned of it: smaller is older. Unique.
    pub age: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coins {
    by_age: BTreeMap<u64, Coin>,
    ages: BTreeMap<OutPoint, u64>,
    next_age: u64,
    total: u64,
}

impl Coins {
    /// Adds a coin that is not there yet, as the youngest.
    pub(super) fn add(&mut self, outpoint: OutPoint, value: Sats) {
        let coin = Coin { outpoint, value, age: self.next_age };
        self.next_age = self.next_age.saturating_add(1);
        self.put_back(coin);
    }

    /// Takes the youngest coin's addition back.
    pub(super) fn undo_add(&mut self, outpoint: &OutPoint) {
        self.take(outpoint);
        self.next_age = self.next_age.saturating_sub(1);
    }

    /// Adds a coin that was taken.
    pub(super) fn put_back(&mut self, coin: Coin) {
        self.total = self.total.saturating_add(coin.value.0);
        self.ages.insert(coin.outpoint, coin.age);
        self.by_age.insert(coin.age, coin);
    }

    pub(super) fn take(&mut self, outpoint: &OutPoint) -> Option<Coin> {
        let age = self.ages.remove(outpoint)?;
        let coin = self.by_age.remove(&age)?;
        self.total = self.total.saturating_sub(coin.value.0);
        Some(coin)
    }

    pub(super) fn get(&self, outpoint: &OutPoint) -> Option<&Coin> {
        self.by_age.get(self.ages.get(outpoint)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Coin> {
        self.by_age.values()
    }

    pub(super) fn total(&self) -> Sats {
        Sats(self.total)
    }
}
