//! Many measured times of one thing.

use std::fmt;
use std::time::Duration;

use eyre::OptionExt as _;

/// Times, shortest first.
#[derive(Clone, Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Of at least one time.
    pub fn of(mut times: Vec<Duration>) -> eyre::Result<Self> {
        times.sort_unstable();
        times.first().ok_or_eyre("nothing was measured")?;
        Ok(Self(times))
    }

    /// The shortest time that so many percent of all do not exceed (nearest rank).
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// How many took at most so long.
    pub fn within(&self, limit: Duration) -> usize {
        self.0.partition_point(|time| *time <= limit)
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        write!(f, "p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms  (n = {})", ms(50), ms(99), ms(100), self.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis).collect()).unwrap();
        assert_eq!(times.percentile(50), Duration::from_millis(100));
        assert_eq!(times.percentile(99), Duration::from_millis(198));
        assert_eq!(times.percentile(100), Duration::from_millis(200));
        assert_eq!(times.within(Duration::from_millis(150)), 150);
        assert!(Times::of(Vec::new()).is_err());
    }
}
