//! The bridge role's own metrics.

use alys_cluster::metrics::Labelled;
use alys_peg::Violations;
use documented::DocumentedFields;
use serde::Serialize;

use crate::core::{Figures, State};

/// What the bridge role shows beside the shell's metrics.
#[derive(Clone, Debug, Serialize, DocumentedFields)]
pub struct Metrics {
    /// Whether bitcoind answers, and usably.
    bitcoin_connected: bool,
    /// Height of the last block of Bitcoin's best chain that was read; absent before the first.
    bitcoin_height: Option<u32>,
    /// Blocks of bitcoind's best chain that were not read yet; absent while it does not answer.
    bitcoin_lag_blocks: Option<u32>,
    /// Height of the sidechain that the ledger is at.
    ledger_height: u64,
    /// Deposits in a block of Bitcoin, not minted: not deep enough yet.
    deposits_detected: usize,
    /// Deposits that are deep enough and not minted yet.
    deposits_confirmed: usize,
    /// By how many Bitcoin blocks the oldest deposit that is not minted is deeper than it must be; 0 when none waits.
    deposit_overdue_blocks: u32,
    /// Burns that no payout pays yet.
    burns_pending: usize,
    /// Age of the oldest of these, in blocks of the sidechain; 0 when none waits.
    burn_age_blocks: u64,
    /// Payouts that are recorded and not settled.
    payouts_in_flight: usize,
    /// Age of the oldest of these, in blocks of the sidechain; 0 when none is in flight.
    payout_age_blocks: u64,
    /// Payouts that bitcoind does not take into its mempool.
    payouts_refused: usize,
    /// Coins that the federation holds, in satoshis.
    coins_held_sats: u64,
    /// Coins on the sidechain, in satoshis, rounded up.
    supply_sats: u64,
    /// What is owed to burns that are not settled, in satoshis, rounded up.
    owed_sats: u64,
    /// Fee rate of a payout that would be made now, satoshis per 1,000 virtual bytes; absent while it is not known.
    fee_rate: Option<u64>,
    /// Effects that wait for another role.
    effects_waiting: usize,
    /// Deposits that are minted and no longer in Bitcoin's best chain.
    alarms: usize,
    /// Found broken in the ledger by the audit of every 64th block.
    invariant_violations_total: Labelled,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::from(Figures::default(), &Violations::default())
    }
}

impl Metrics {
    pub(crate) fn of(state: &State, effects_waiting: usize) -> Self {
        let figures = state.figures();
        Self { effects_waiting, ..Self::from(figures, state.violations()) }
    }

    fn from(figures: Figures, violations: &Violations) -> Self {
        Self {
            bitcoin_connected: figures.lag.is_some(),
            bitcoin_height: figures.bitcoin_height,
            bitcoin_lag_blocks: figures.lag,
            ledger_height: figures.ledger_height,
            deposits_detected: figures.detected,
            deposits_confirmed: figures.confirmed,
            deposit_overdue_blocks: figures.deposit_overdue,
            burns_pending: figures.burns_pending,
            burn_age_blocks: figures.burn_age,
            payouts_in_flight: figures.payouts_in_flight,
            payout_age_blocks: figures.payout_age,
            payouts_refused: figures.payouts_refused,
            coins_held_sats: figures.held.0,
            supply_sats: figures.supply.0,
            owed_sats: figures.owed.0,
            fee_rate: figures.fee_rate,
            effects_waiting: 0,
            alarms: figures.alarms,
            invariant_violations_total: Labelled::new("invariant", violations.by_name()),
        }
    }
}
