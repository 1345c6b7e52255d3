//! The slot grid: lines every `slot_millis` since genesis. Times of blocks are lines of it.
//!
//! Heights start on lines and rounds last one slot, so slots and wall clock run together while the network lives.
//! The slot *number* counts turns and is no function of the clock: after a halt it does not jump.

use alys_blocks::ChainSpec;

/// Unix time in milliseconds, as an input of the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// The grid of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotClock {
    genesis: u64,
    slot: u64,
}

impl Millis {
    /// Milliseconds from `self` until `later`, 0 when it has passed.
    pub const fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }

    /// This much later.
    pub const fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl SlotClock {
    /// The grid that a specification lays.
    pub fn new(spec: &ChainSpec) -> Self {
        Self { genesis: spec.genesis_time.saturating_mul(1_000), slot: spec.slot_millis.max(1) }
    }

    /// Length of a slot, milliseconds.
    pub const fn slot_millis(&self) -> u64 {
        self.slot
    }

    /// The line at or before `now`; the genesis line before genesis.
    pub const fn line_before(&self, now: Millis) -> Millis {
        let since = now.0.saturating_sub(self.genesis);
        Millis(self.genesis.saturating_add(since - since % self.slot))
    }

    /// The line at or after `now`.
    pub const fn line_after(&self, now: Millis) -> Millis {
        let before = self.line_before(now);
        if before.0 >= now.0 { before } else { before.after(self.slot) }
    }

    /// When the height after a block of `parent_time` (seconds) starts: the next line, and after the parent's.
    pub fn height_start(&self, now: Millis, parent_time: u64) -> Millis {
        self.line_after(now).max(self.line_after_parent(parent_time))
    }

    /// Time of a block that is built now, seconds: the current line, and after the parent's.
    pub fn block_time(&self, now: Millis, parent_time: u64) -> u64 {
        self.line_before(now).max(self.line_after_parent(parent_time)).0 / 1_000
    }

    /// Whether `time` (seconds) is a line.
    pub const fn is_line(&self, time: u64) -> bool {
        let millis = time.saturating_mul(1_000);
        millis >= self.genesis && (millis - self.genesis).is_multiple_of(self.slot)
    }

    /// Whether a block of `time` (seconds) is more than one slot ahead of `now`.
    pub const fn is_early(&self, time: u64, now: Millis) -> bool {
        time.saturating_mul(1_000) > now.0.saturating_add(self.slot)
    }

    fn line_after_parent(&self, parent_time: u64) -> Millis {
        self.line_before(Millis(parent_time.saturating_mul(1_000))).after(self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: SlotClock = SlotClock { genesis: 10_000, slot: 2_000 };

    #[test]
    fn lines_lie_around_every_instant() {
        for (now, before, after) in
            [(10_000, 10_000, 10_000), (10_001, 10_000, 12_000), (13_999, 12_000, 14_000), (5, 10_000, 10_000)]
        {
            assert_eq!(CLOCK.line_before(Millis(now)), Millis(before), "before {now}");
            assert_eq!(CLOCK.line_after(Millis(now)), Millis(after), "after {now}");
        }
    }

    #[test]
    fn a_height_starts_after_its_parent_even_when_the_clock_lags() {
        assert_eq!(CLOCK.height_start(Millis(12_030), 12), Millis(14_000));
        assert_eq!(CLOCK.height_start(Millis(11_000), 14), Millis(16_000));
        assert_eq!(CLOCK.height_start(Millis(99_500), 14), Millis(100_000));
    }

    #[test]
    fn block_times_are_lines_after_the_parent() {
        assert_eq!(CLOCK.block_time(Millis(14_020), 12), 14);
        assert_eq!(CLOCK.block_time(Millis(14_020), 14), 16);
        assert!(CLOCK.is_line(14) && !CLOCK.is_line(13) && !CLOCK.is_line(8));
        assert!(!CLOCK.is_early(16, Millis(14_000)) && CLOCK.is_early(18, Millis(15_999)));
    }
}
