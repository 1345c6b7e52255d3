//! How long handlers take: percentiles over the last ten to twenty seconds, in two windows of fixed size. Pure.

use std::time::{Duration, Instant};

/// A window; the one before it counts too.
const WINDOW: Duration = Duration::from_secs(10);
/// Four buckets for each doubling, so a figure is at most a quarter too high. 2 KiB for both windows.
const BUCKETS: usize = 256;

/// Durations by size.
#[derive(Debug)]
pub(crate) struct Times {
    begun: Option<Instant>,
    now: [u32; BUCKETS],
    before: [u32; BUCKETS],
}

impl Default for Times {
    fn default() -> Self {
        Self { begun: None, now: [0; BUCKETS], before: [0; BUCKETS] }
    }
}

impl Times {
    /// Counts a duration that ended now.
    pub(crate) fn record(&mut self, took: Duration, now: Instant) {
        self.turn(now);
        if let Some(bucket) = self.now.get_mut(bucket_of(took)) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// The duration that so many of a hundred did not exceed; zero when there was none.
    pub(crate) fn percentile(&mut self, percent: u64, now: Instant) -> Duration {
        self.turn(now);
        let counts = || self.now.iter().zip(&self.before).map(|(now, before)| u64::from(*now).saturating_add(u64::from(*before)));
        let total: u64 = counts().sum();
        let wanted = total.saturating_mul(percent).div_ceil(100);
        if wanted == 0 {
            return Duration::ZERO;
        }
        let mut seen = 0u64;
        for (bucket, count) in counts().enumerate() {
            seen = seen.saturating_add(count);
            if seen >= wanted {
                return Duration::from_micros(upper_bound(bucket));
            }
        }
        Duration::ZERO
    }

    fn turn(&mut self, now: Instant) {
        let Some(begun) = self.begun else {
            self.begun = Some(now);
            return;
        };
        let age = now.saturating_duration_since(begun);
        if age < WINDOW {
            return;
        }
        self.before = if age < WINDOW * 2 { self.now } else { [0; BUCKETS] };
        self.now = [0; BUCKETS];
        self.begun = Some(now);
    }
}

/// Exact below 16 µs, then the leading bit and the two behind it.
fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let bucket = match micros.checked_ilog2() {
        Some(log) if log >= 4 => {
            let quarter = (micros >> (log - 2)) & 3;
            16 + u64::from(log - 4) * 4 + quarter
        }
        _ => micros,
    };
    usize::try_from(bucket).unwrap_or(BUCKETS - 1).min(BUCKETS - 1)
}

/// Most microseconds that fall into a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(0);
    let Some(behind) = bucket.checked_sub(16) else { return bucket };
    let (log, quarter) = (behind / 4 + 4, behind % 4);
    let width = 1u64 << (log - 2);
    (4 + quarter).saturating_mul(width).saturating_add(width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_falls_into_them() {
        for micros in (0..40).chain([63, 64, 100, 1_000, 999_999, 60_000_000, u64::from(u32::MAX)]) {
            let bucket = bucket_of(Duration::from_micros(micros));
            assert!(upper_bound(bucket) >= micros, "{micros}");
            assert!(upper_bound(bucket) <= micros + micros / 4, "{micros}: {}", upper_bound(bucket));
            assert!(bucket == 0 || upper_bound(bucket - 1) < micros, "{micros}");
        }
        assert_eq!(bucket_of(Duration::MAX), bucket_of(Duration::from_micros(u64::MAX)));
    }

    #[test]
    fn percentiles_are_those_of_the_last_seconds() {
        let (mut times, start) = (Times::default(), Instant::now());
        assert_eq!(times.percentile(50, start), Duration::ZERO);
        for micros in 1..=100 {
            times.record(Duration::from_micros(micros.min(98)), start);
        }
        times.record(Duration::from_secs(1), start);
        let p50 = times.percentile(50, start).as_micros();
        assert!((50..=63).contains(&p50), "{p50}");
        assert!(times.percentile(99, start) < Duration::from_millis(1));
        assert!(times.percentile(100, start) >= Duration::from_secs(1));
        assert!(times.percentile(50, start + WINDOW) > Duration::ZERO, "the window before still counts");
        assert_eq!(times.percentile(50, start + WINDOW * 3), Duration::ZERO);
    }
}
