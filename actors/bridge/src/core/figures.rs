//! The figures of the bridge: what waits, and for how long.

use alys_peg::Violation;
use alys_proto::{Sats, Wei};

use crate::core::deposits::Standing;
use crate::core::state::{Bitcoin, State};

/// A block of the sidechain in so many is followed by an audit of the whole ledger. It walks the whole history: about a
/// microsecond an entry.
pub(super) const AUDIT_EVERY: u64 = 64;

/// Satoshis are 10^10 wei.
const WEI_PER_SAT: u128 = 10_000_000_000;

/// What waits, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Last block read.
    pub bitcoin_height: Option<u32>,
    /// Blocks not read; `None`: bitcoind is away.
    pub lag: Option<u32>,
    /// Height of the ledger.
    pub ledger_height: u64,
    /// Deposits, not deep enough.
    pub detected: usize,
    /// Deposits, deep enough and not minted.
    pub confirmed: usize,
    /// Bitcoin blocks by which the oldest of these is deeper than it must be.
    pub deposit_overdue: u32,
    /// Burns in no payout.
    pub burns_pending: usize,
    /// Sidechain blocks since the oldest of these.
    pub burn_age: u64,
    /// Payouts not settled.
    pub payouts_in_flight: usize,
    /// Sidechain blocks since the oldest of these was recorded.
    pub payout_age: u64,
    /// Payouts that bitcoind refuses.
    pub payouts_refused: usize,
    /// Held by the federation.
    pub held: Sats,
    /// On the sidechain, rounded up.
    pub supply: Sats,
    /// Owed to burns, rounded up.
    pub owed: Sats,
    /// Of the next payout.
    pub fee_rate: Option<u64>,
    /// What must not be.
    pub alarms: usize,
}

impl State {
    /// Takes the figures. Walks what is seen on Bitcoin within the horizon and what is pending, not the history.
    pub fn figures(&self) -> Figures {
        let tip = self.followed.tip().map(|tip| tip.height);
        let ledger_height = self.ledger.height().0;
        let age = |height: Option<u64>| height.map_or(0, |height| ledger_height.saturating_sub(height));
        let mut figures = Figures {
            bitcoin_height: tip,
            lag: match &self.bitcoin {
                Bitcoin::Away(_) => None,
                Bitcoin::CatchingUp(best) => Some(best.height.saturating_sub(tip.unwrap_or(0))),
                Bitcoin::Following => Some(0),
            },
            ledger_height,
            burns_pending: self.ledger.pending_burns().count(),
            burn_age: age(self.ledger.pending_burns().map(|burn| burn.id.height).min()),
            payouts_in_flight: self.ledger.payouts_in_flight().count(),
            payout_age: age(self.ledger.payouts_in_flight().map(|(_, payout)| payout.height.0).min()),
            payouts_refused: self.refusals.len(),
            held: self.ledger.coins_held(),
            supply: rounded_up(self.ledger.supply()),
            owed: rounded_up(self.ledger.owed()),
            fee_rate: self.fee_rate().map(|rate| rate.0),
            alarms: self.alarms().len(),
            ..Figures::default()
        };
        self.count_deposits(&mut figures);
        figures
    }

    fn count_deposits(&self, figures: &mut Figures) {
        for (outpoint, coin) in self.sightings.coins() {
            match self.standing(outpoint, coin) {
                Standing::Detected => figures.detected = figures.detected.saturating_add(1),
                Standing::Confirmed | Standing::Announced => {
                    figures.confirmed = figures.confirmed.saturating_add(1);
                    figures.deposit_overdue = figures.deposit_overdue.max(self.excess_depth(outpoint, coin).unwrap_or(0));
                }
                Standing::Minted(_) | Standing::Invalid(_) | Standing::Change => {}
            }
        }
    }

    /// Recomputes the ledger's sums now and then, and counts what does not add up.
    pub(super) fn audit(&mut self) {
        if self.ledger.height().0.is_multiple_of(AUDIT_EVERY) {
            self.audited(&self.ledger.check_invariants());
        }
    }

    pub(super) fn audited(&mut self, outcome: &Result<(), Violation>) {
        if let Err(violation) = outcome {
            self.violations.count(violation.invariant());
        }
    }
}

fn rounded_up(amount: Wei) -> Sats {
    Sats(u64::try_from(amount.0.div_ceil(WEI_PER_SAT)).unwrap_or(u64::MAX))
}
