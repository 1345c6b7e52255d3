//! When a silent peer counts as gone. Pure; time comes in.
//!
//! Every process sends a heartbeat on each control stream twice a second, from a thread of its own. A peer is gone when
//! nothing was heard for `mean + 6 × deviation` of its own gaps, at least [`LEAST`], at most [`MOST`]: a quiet link is
//! judged early, one with loss and jitter late, and any within three seconds.

use std::time::Duration;

/// A heartbeat is sent so often.
pub(crate) const EVERY: Duration = Duration::from_millis(500);
/// The earliest judgement: three heartbeats.
const LEAST: Duration = Duration::from_millis(1_600);
/// The latest. With the look-out below it stays under three seconds.
const MOST: Duration = Duration::from_millis(2_600);
/// How often silence is measured.
pub(crate) const LOOK_OUT: Duration = Duration::from_millis(100);
/// When our own look-out comes so late, we were the ones who stood still, and judge nobody by that.
const OWN_STANDSTILL: Duration = Duration::from_millis(700);

/// Weight of a new gap in the averages.
const WEIGHT: f64 = 0.1;

/// What is known of one peer's rhythm. All times are since one fixed instant.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    heard: Duration,
    looked: Duration,
    mean: f64,
    deviation: f64,
}

impl Pulse {
    /// A peer that was heard just now.
    pub(crate) const fn new(now: Duration) -> Self {
        Self { heard: now, looked: now, mean: 0.5, deviation: 0.1 }
    }

    /// Something came from the peer.
    pub(crate) fn hear(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.heard).as_secs_f64();
        self.heard = self.heard.max(now);
        // Between two heartbeats other frames may come; only gaps of the heartbeat's size say something of the rhythm.
        if gap < EVERY.as_secs_f64() / 2.0 {
            return;
        }
        let off = (gap - self.mean).abs();
        self.mean += WEIGHT * (gap - self.mean);
        self.deviation += WEIGHT * (off - self.deviation);
    }

    /// Whether the peer is gone.
    pub(crate) fn is_gone(&mut self, now: Duration) -> bool {
        let since_last_look = now.saturating_sub(self.looked);
        self.looked = now;
        if since_last_look > OWN_STANDSTILL {
            self.heard = now;
        }
        now.saturating_sub(self.heard) > self.limit()
    }

    fn limit(&self) -> Duration {
        let limit = 6.0_f64.mul_add(self.deviation, self.mean);
        Duration::try_from_secs_f64(limit).unwrap_or(MOST).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    /// The moment at which a peer that falls silent at `silent` is called gone.
    fn gone_after(pulse: &mut Pulse, silent: Duration) -> Duration {
        let mut now = silent;
        while !pulse.is_gone(now) {
            now += LOOK_OUT;
        }
        now - silent
    }

    #[test]
    fn silence_is_seen_within_three_seconds_whatever_the_rhythm_was() {
        for jitter_millis in [0, 100, 400, 2_000] {
            let mut pulse = Pulse::new(START);
            let mut now = START;
            for beat in 0..200u64 {
                now += EVERY + Duration::from_millis(jitter_millis * (beat % 2));
                pulse.hear(now);
                pulse.looked = now;
            }
            let took = gone_after(&mut pulse, now);
            assert!(took >= LEAST && took < Duration::from_secs(3), "{jitter_millis} ms: {took:?}");
        }
    }

    #[test]
    fn lost_packets_and_jitter_are_no_silence() {
        let mut pulse = Pulse::new(START);
        let mut now = START;
        for beat in 0..100_000u64 {
            // One per cent of the beats waits for a retransmission, one in ten thousand for two, all of them jitter.
            let lost = if beat % 10_000 == 7 {
                900
            } else if beat % 100 == 7 {
                300
            } else {
                0
            };
            let arrival = now + EVERY + Duration::from_millis(lost + beat * 37 % 100);
            while now < arrival {
                now += LOOK_OUT;
                assert!(!pulse.is_gone(now), "beat {beat}");
            }
            pulse.hear(arrival);
            now = arrival;
        }
    }

    #[test]
    fn our_own_standstill_is_nobodys_death() {
        let mut pulse = Pulse::new(START);
        let thawed = START + Duration::from_secs(60);
        assert!(!pulse.is_gone(thawed));
        assert!(gone_after(&mut pulse, thawed + LOOK_OUT) >= LEAST - LOOK_OUT, "the silence counts from the thaw");
    }
}
