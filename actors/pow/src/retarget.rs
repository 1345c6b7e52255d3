//! How hard the next bundle is. After every window of bundles the target moves by the ratio of the time the window took to
//! the time it should have taken.
//!
//! | the window took | new target |
//! |---|---|
//! | less than 1/factor of its time | old / factor |
//! | anything between | old × taken / planned |
//! | more than factor times its time | old × factor |
//!
//! and never above the limit. Times are those of the blocks that hold the bundles: validators agree on them, while a parent's
//! time is the miner's to choose. A window begins with the last bundle of the one before, so none of its time is left out.

use alloy_primitives::U256;
use alloy_primitives::aliases::U512;

use crate::bits::{Bits, Target};

/// Seconds between bundles: a week.
const MAX_SPACING: u64 = 7 * 24 * 3_600;
/// Bundles in a window.
const MAX_WINDOW: u64 = 100_000;
/// Of one step.
const MAX_FACTOR: u64 = 16;

/// The numbers of the retarget. With their bounds no product of theirs leaves 40 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retarget {
    limit: Bits,
    spacing: u64,
    window: u64,
    factor: u64,
}

/// Numbers by which nobody could retarget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetargetError {
    /// Seconds between bundles.
    #[error("{0} seconds between bundles: 1 to {MAX_SPACING} are possible")]
    Spacing(u64),
    /// Bundles in a window.
    #[error("a window of {0} bundles: 1 to {MAX_WINDOW} are possible")]
    Window(u64),
    /// Largest step.
    #[error("a step of factor {0}: 2 to {MAX_FACTOR} are possible")]
    Factor(u64),
}

impl Retarget {
    /// `limit`: the easiest target. `spacing`: seconds between bundles. `window`: bundles until the target moves.
    /// `factor`: how far it moves at most, either way.
    pub fn new(limit: Bits, spacing: u64, window: u64, factor: u64) -> Result<Self, RetargetError> {
        if !(1..=MAX_SPACING).contains(&spacing) {
            return Err(RetargetError::Spacing(spacing));
        }
        if !(1..=MAX_WINDOW).contains(&window) {
            return Err(RetargetError::Window(window));
        }
        if !(2..=MAX_FACTOR).contains(&factor) {
            return Err(RetargetError::Factor(factor));
        }
        Ok(Self { limit, spacing, window, factor })
    }

    /// Whether the bundle with this number is the last of a window.
    pub const fn ends_window(&self, sequence: u64) -> bool {
        sequence.is_multiple_of(self.window)
    }

    /// The easiest target.
    pub const fn limit(&self) -> Bits {
        self.limit
    }

    /// The target after a window at `old` that took `taken` seconds.
    pub fn next(&self, old: Bits, taken: u64) -> Bits {
        let planned = self.spacing * self.window;
        let taken = U512::from(taken.min(planned * self.factor));
        let (old, planned, factor) = (U512::from(old.target().0), U512::from(planned), U512::from(self.factor));
        // The least of `taken` is a fraction of a second for a short window: compare products instead.
        let scaled = if taken * factor < planned { old / factor } else { old * taken / planned };
        let target = Target(U256::saturating_from(scaled)).min(self.limit.target());
        // Zero only from a target below the factor, which no hash has ever met: stay there.
        Bits::at_most(target).unwrap_or(Bits::HARDEST)
    }
}
