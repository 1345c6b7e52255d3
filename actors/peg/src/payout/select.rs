//! Which coins a payout spends. A fixed rule, so that every node chooses the same [PEG-13].
//!
//! | try | order | which coins | at most |
//! |---|---|---|---|
//! | 1 | oldest first | those worth more than their own input costs at this fee rate | [`FEW_INPUTS`] |
//! | 2 | largest first, older before younger | all | what a standard transaction holds |
//!
//! Oldest first keeps every coin moving and is not disturbed by what is minted meanwhile; skipping worthless coins
//! keeps a flood of tiny deposits from being charged to the burners; largest first is for when the first does not reach.
//! A try ends as soon as the sum is the target or leaves a change above dust.

use alys_proto::Sats;

use crate::{Coin, FeeRate, Ledger, payout};

/// Inputs of an ordinary payout: about 11 kvB for 2 of 3.
const FEW_INPUTS: usize = 100;

/// Chosen coins.
pub(super) struct Selection {
    pub(super) coins: Vec<Coin>,
    /// At least the dust limit.
    pub(super) change: Option<Sats>,
    /// What the change had to be filled up by, from the burners.
    pub(super) top_up: Sats,
}

/// Coins for payouts of `target` together, or `None` when they do not reach.
pub(super) fn select(ledger: &Ledger, target: Sats, fee_rate: FeeRate, room: usize) -> Option<Selection> {
    let dust = Sats(ledger.federation().script_pubkey().minimal_non_dust().to_sat());
    let input_cost = fee_rate.fee(payout::input_vsize(ledger.federation()))?;
    let worthwhile = ledger.utxos().filter(|coin| coin.value > input_cost).take(FEW_INPUTS.min(room)).copied();
    if let Some(selection) = fill(worthwhile, target, dust) {
        return Some(selection);
    }
    let mut largest: Vec<Coin> = ledger.utxos().copied().collect();
    largest.sort_by(|left, right| right.value.cmp(&left.value).then(left.age.cmp(&right.age)));
    largest.truncate(room);
    fill(largest.iter().copied(), target, dust).or_else(|| fill_up(largest, target, dust))
}

/// Takes coins until they are exactly the target or leave a change above dust.
fn fill(coins: impl Iterator<Item = Coin>, target: Sats, dust: Sats) -> Option<Selection> {
    let mut taken = Vec::new();
    let mut sum = Sats(0);
    for coin in coins {
        sum = sum.checked_add(coin.value)?;
        taken.push(coin);
        let surplus = sum.checked_sub(target);
        match surplus {
            Some(Sats(0)) => return Some(Selection { coins: taken, change: None, top_up: Sats(0) }),
            Some(change) if change >= dust => return Some(Selection { coins: taken, change: Some(change), top_up: Sats(0) }),
            _ => {}
        }
    }
    None
}

/// All coins there are leave less than dust over the target: the change is filled up.
fn fill_up(coins: Vec<Coin>, target: Sats, dust: Sats) -> Option<Selection> {
    let sum = coins.iter().try_fold(Sats(0), |sum, coin| sum.checked_add(coin.value))?;
    let surplus = sum.checked_sub(target)?;
    let top_up = dust.checked_sub(surplus)?;
    Some(Selection { coins, change: Some(dust), top_up })
}
