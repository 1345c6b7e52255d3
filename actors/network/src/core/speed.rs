//! How fast a peer answers, and so which one is asked for the next range.
//!
//! | peer that has the range | when it would be done |
//! |---|---|
//! | not measured, or not within [`MEASURE_AGAIN_MILLIS`], and nothing asked of it | at once: so it is tried |
//! | not measured, and on trial | never: its trial comes first |
//! | measured | all its blocks under way and the new ones, at its speed |
//! | has only ever failed | never: the others come first, until it is tried again |
//!
//! The earliest is asked; of equal ones whoever has least to do, and then whoever was asked least.

use super::input::Millis;
use super::limits::MEASURE_AGAIN_MILLIS;

/// A peer is never done, or cannot be counted on.
pub const NEVER: u128 = u128::MAX;
/// An answer replaces one part of so many of the average.
const PARTS: u64 = 4;
/// So that quotients of small numbers still differ.
const SCALE: u128 = 1 << 20;
/// Sums are kept in such parts of a byte and of a millisecond: an answer that took one would else not fade.
const FINE: u64 = 1 << 10;

/// Speed of one peer: an average over its last answers, each of which counts by its bytes and its time. A short range
/// tells little of a peer, and so moves the average little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speed {
    bytes: u64,
    /// Zero: not measured.
    time: u64,
    ended: Millis,
    asked: Millis,
}

impl Speed {
    /// It is asked for a range.
    pub const fn asked(&mut self, at: Millis) {
        self.asked = at;
    }

    /// It has answered what it was asked at `since`.
    pub fn answered(&mut self, since: Millis, at: Millis, bytes: u64) {
        self.count(since, at, bytes);
    }

    /// It has not: the time was for nothing. A refusal takes none, so half of what it was good for goes as well.
    pub fn failed(&mut self, since: Millis, at: Millis) {
        self.count(since, at, 0);
        self.bytes /= 2;
    }

    /// Bytes per second; `None` before the first answer.
    pub fn per_second(&self) -> Option<u64> {
        self.bytes.saturating_mul(1_000).checked_div(self.time)
    }

    /// When it would have answered for `blocks` more: comparable between peers, in no unit, because how long a block is
    /// would be the same factor for all.
    pub fn finish(&self, at: Millis, under_way: u64, blocks: u64) -> u128 {
        let is_stale = self.time == 0 || at.saturating_sub(self.asked) >= MEASURE_AGAIN_MILLIS;
        if under_way == 0 && is_stale {
            return 0;
        }
        let all = u128::from(under_way.saturating_add(blocks));
        let time = all.saturating_mul(self.time.into()).saturating_mul(SCALE);
        if self.time == 0 { NEVER } else { time.checked_div(self.bytes.into()).unwrap_or(NEVER) }
    }

    /// Several ranges may be under way with one peer; they share its line. So the time of an answer begins when the one
    /// before it had come.
    fn count(&mut self, since: Millis, at: Millis, bytes: u64) {
        let is_stale = since.saturating_sub(self.ended) >= MEASURE_AGAIN_MILLIS;
        let kept = |sum: u64| if is_stale { 0 } else { sum.saturating_sub(sum.div_ceil(PARTS)) };
        let took = at.saturating_sub(since.max(self.ended)).max(1);
        self.bytes = kept(self.bytes).saturating_add(bytes.saturating_mul(FINE));
        self.time = kept(self.time).saturating_add(took.saturating_mul(FINE));
        self.ended = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(answers: &[(Millis, Millis, u64)]) -> Speed {
        let mut speed = Speed::default();
        for (since, at, bytes) in answers {
            speed.answered(*since, *at, *bytes);
        }
        speed
    }

    #[test]
    fn speed_is_an_average_of_the_last_answers() {
        type Answers = &'static [(Millis, Millis, u64)];
        let table: [(&str, Answers, Option<u64>); 7] = [
            ("never asked", &[], None),
            ("one answer", &[(0, 500, 1_000)], Some(2_000)),
            ("in no time", &[(7, 7, 1_000)], Some(1_000_000)),
            ("a slower one counts with the one before", &[(0, 400, 4_000), (400, 1_400, 1_000)], Some(4_000 * 1_000 / 1_300)),
            ("two at once share the line", &[(0, 500, 1_000), (0, 1_000, 1_000)], Some(1_750 * 1_000 / 875)),
            ("a long rest is not counted", &[(0, 500, 1_000), (30_000, 30_500, 1_000)], Some(2_000)),
            ("what is old is forgotten", &[(0, 500, 1_000), (61_000, 61_100, 1_000)], Some(10_000)),
        ];
        for (what, answers, expected) in table {
            assert_eq!(measured(answers).per_second(), expected, "{what}");
        }
    }

    #[test]
    fn a_failure_costs_its_time_and_half_of_the_rest() {
        let mut speed = measured(&[(0, 1_000, 4_000)]);
        speed.failed(1_000, 1_000);
        assert_eq!(speed.per_second(), Some(1_500 * 1_000 / 751), "refused at once");
        speed.failed(1_000, 27_000);
        assert!(speed.per_second() < Some(30), "timed out: {speed:?}");
        let mut only = Speed::default();
        only.failed(0, 5);
        assert_eq!((only.per_second(), only.finish(6, 0, 1)), (Some(0), NEVER), "it has never answered");
    }

    #[test]
    fn whoever_is_done_first_is_known_by_speed_and_by_what_is_under_way() {
        let (slow, fast) = (measured(&[(0, 1_000, 1_000)]), measured(&[(0, 1_000, 10_000)]));
        let table = [
            ("faster", fast.finish(1_000, 0, 64) < slow.finish(1_000, 0, 64)),
            ("still, with some to do", fast.finish(1_000, 256, 64) < slow.finish(1_000, 0, 64)),
            ("no more, with too much to do", fast.finish(1_000, 640, 64) > slow.finish(1_000, 0, 64)),
            ("a peer that was never asked is tried", Speed::default().finish(1_000, 0, 64) < fast.finish(1_000, 0, 64)),
            ("once at a time", Speed::default().finish(1_000, 64, 64) == NEVER),
            ("and so is one that was measured long ago", slow.finish(MEASURE_AGAIN_MILLIS, 0, 64) == 0),
            ("once at a time too", slow.finish(MEASURE_AGAIN_MILLIS, 64, 64) > fast.finish(1_000, 64, 64)),
        ];
        for (what, holds) in table {
            assert!(holds, "{what}");
        }
    }
}
