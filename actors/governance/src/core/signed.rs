//! What was signed, and whether one more transaction may be [PEG-6][PEG-10].
//!
//! | the same burn in a transaction signed before | then |
//! |---|---|
//! | the same transaction | the stored signatures, again |
//! | shares an input with the new one | fine: only one of them can confirm (a fee bump) |
//! | shares no input | refused: both could confirm, and the burn would be paid twice |
//!
//! An input signed before may only be signed again together with a burn of that earlier transaction.

use std::collections::{BTreeMap, BTreeSet};

use alys_blocks::BurnRef;
use bitcoin::{OutPoint, Txid};

use super::refusal::Refusal;

/// What is remembered in memory of a signed transaction; its signatures are on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPayout {
    /// Its inputs.
    pub inputs: BTreeSet<OutPoint>,
    /// The burns it pays.
    pub burns: BTreeSet<BurnRef>,
}

/// All transactions ever signed with this key.
#[derive(Clone, Debug, Default)]
pub struct SignedBook {
    signed: BTreeMap<Txid, SignedPayout>,
    by_burn: BTreeMap<BurnRef, BTreeSet<Txid>>,
    by_input: BTreeMap<OutPoint, BTreeSet<Txid>>,
}

impl SignedBook {
    /// Notes a signed transaction.
    pub fn note(&mut self, txid: Txid, payout: SignedPayout) {
        for burn in &payout.burns {
            self.by_burn.entry(*burn).or_default().insert(txid);
        }
        for input in &payout.inputs {
            self.by_input.entry(*input).or_default().insert(txid);
        }
        self.signed.insert(txid, payout);
    }

    /// Whether this very transaction was signed.
    pub fn contains(&self, txid: &Txid) -> bool {
        self.signed.contains_key(txid)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.signed.len()
    }

    /// None yet.
    pub fn is_empty(&self) -> bool {
        self.signed.is_empty()
    }

    /// Whether a transaction may be signed next to all that was signed before.
    pub fn check(&self, payout: &SignedPayout) -> Result<(), Refusal> {
        for burn in &payout.burns {
            for (txid, earlier) in self.having(&self.by_burn, burn) {
                if earlier.inputs.is_disjoint(&payout.inputs) {
                    return Err(Refusal::BurnSignedElsewhere { height: burn.height, log_index: burn.log_index, signed: txid });
                }
            }
        }
        for input in &payout.inputs {
            for (txid, earlier) in self.having(&self.by_input, input) {
                if earlier.burns.is_disjoint(&payout.burns) {
                    return Err(Refusal::InputSignedElsewhere { outpoint: *input, signed: txid });
                }
            }
        }
        Ok(())
    }

    fn having<'b, K: Ord>(
        &'b self,
        index: &'b BTreeMap<K, BTreeSet<Txid>>,
        key: &K,
    ) -> impl Iterator<Item = (Txid, &'b SignedPayout)> {
        let txids = index.get(key).into_iter().flatten();
        txids.filter_map(|txid| self.signed.get(txid).map(|payout| (*txid, payout)))
    }
}
