//! How fast the head comes nearer to the target, and how long it will take at that. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::book::Millis;

/// A rate is that of the last half minute: long enough for batches, short enough to follow a change.
const WINDOW: Millis = 30_000;

/// Heights of the last half minute.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    seen: VecDeque<(Millis, u64)>,
}

impl Progress {
    /// Our head at this moment. Called about once a second while there is a target, and not otherwise.
    pub fn note(&mut self, now: Millis, height: u64) {
        self.seen.push_back((now, height));
        while self.seen.get(1).is_some_and(|(then, _)| now.saturating_sub(*then) >= WINDOW) {
            self.seen.pop_front();
        }
    }

    /// There is no target any more.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// Blocks a second, in thousandths; `None` before there are two looks.
    pub fn rate(&self) -> Option<u64> {
        let ((first, from), (last, to)) = (self.seen.front()?, self.seen.back()?);
        let millis = last.checked_sub(*first).filter(|millis| *millis > 0)?;
        to.saturating_sub(*from).saturating_mul(1_000_000).checked_div(millis)
    }

    /// Milliseconds until the target at that rate; `None`: not known, or never.
    pub fn left(&self, target: u64) -> Option<Millis> {
        let (_, height) = self.seen.back()?;
        let rate = self.rate().filter(|rate| *rate > 0)?;
        target.saturating_sub(*height).saturating_mul(1_000_000).checked_div(rate)
    }

    /// Both for people; `-`: not known.
    pub fn show(&self, target: u64) -> (String, String) {
        let rate = self.rate().map(|rate| format!("{}.{}", rate / 1_000, rate % 1_000 / 100));
        let span = |millis: Millis| humantime::format_duration(Duration::from_secs(millis.div_ceil(1_000))).to_string();
        let unknown = || "-".to_owned();
        (rate.unwrap_or_else(unknown), self.left(target).map_or_else(unknown, span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_those_of_the_last_half_minute() {
        let mut progress = Progress::default();
        assert_eq!((progress.rate(), progress.left(100)), (None, None));
        progress.note(0, 0);
        assert_eq!(progress.rate(), None, "one look says nothing");
        for second in 1..=100 {
            // Ten blocks a second, then two.
            let height = if second <= 50 { second * 10 } else { 500 + (second - 50) * 2 };
            progress.note(second * 1_000, height);
            if second == 50 {
                assert_eq!((progress.rate(), progress.left(1_000)), (Some(10_000), Some(50_000)));
            }
        }
        assert_eq!((progress.rate(), progress.left(700)), (Some(2_000), Some(50_000)));
        assert_eq!(progress.left(10), Some(0), "it is past that");
        assert_eq!(progress.show(729), ("2.0".to_owned(), "1m 5s".to_owned()));
        progress.clear();
        assert_eq!(progress.show(9), ("-".to_owned(), "-".to_owned()));
        progress.note(0, 5);
        progress.note(1_000, 5);
        assert_eq!((progress.rate(), progress.left(9)), (Some(0), None), "at this rate never");
    }
}
