//! Freeze, step and thaw of a mailbox. A freeze is a lease: it ends by itself when nobody renews it, so a debugger that
//! dies leaves nothing behind. Pure: time comes in.
//!
//! | valve | asked | so |
//! |---|---|---|
//! | open | freeze | frozen for the lease |
//! | frozen | freeze by the same debugger | the lease starts again, up to the longest freeze |
//! | frozen | freeze by another | refused: names who holds it |
//! | frozen | step | one message more may pass |
//! | open | step | refused: nothing to step through |
//! | any | thaw, by anybody | open |
//! | frozen, lease over | anything | open |

use std::time::Duration;

use alys_proto::Refused;
use alys_proto::cluster::Freeze;
use tokio::time::Instant;

/// Without renewal a freeze ends after this long.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// However often it is renewed it ends after this long: what arrives meanwhile waits in memory.
const LONGEST: Duration = Duration::from_secs(600);

/// Whether the next message may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It may.
    Open,
    /// It may, and [`Valve::stepped`] must be told.
    Step,
    /// Not before this instant, unless something changes.
    NotBefore(Instant),
}

/// The state of one mailbox.
#[derive(Debug, Default)]
pub(crate) struct Valve {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    who: String,
    since: Instant,
    until: Instant,
    allowed: u64,
    stepped: u64,
}

impl Valve {
    /// Freezes, or renews. `true`: it was open before.
    pub(crate) fn freeze(&mut self, who: &str, now: Instant) -> Result<bool, Refused> {
        self.expire(now);
        match &mut self.held {
            Some(held) if held.who == who => {
                held.until = (now + LEASE).min(held.since + LONGEST);
                Ok(false)
            }
            Some(held) => Err(Refused::Busy(format!("it is frozen by {}; thaw it, or wait until its lease ends", held.who))),
            None => {
                self.held = Some(Held { who: who.to_owned(), since: now, until: now + LEASE, allowed: 0, stepped: 0 });
                Ok(true)
            }
        }
    }

    /// Allows one message more.
    pub(crate) fn step(&mut self, now: Instant) -> Result<(), Refused> {
        self.expire(now);
        let Some(held) = &mut self.held else {
            return Err(Refused::Failed("it is not frozen: freeze it first, and keep it frozen from another terminal".into()));
        };
        held.allowed = held.allowed.saturating_add(1);
        Ok(())
    }

    /// Opens. `true`: it was frozen.
    pub(crate) fn thaw(&mut self) -> bool {
        self.held.take().is_some()
    }

    /// Whether the next message may be taken now.
    pub(crate) fn pass(&mut self, now: Instant) -> Pass {
        self.expire(now);
        match &self.held {
            None => Pass::Open,
            Some(held) if held.allowed > 0 => Pass::Step,
            Some(held) => Pass::NotBefore(held.until),
        }
    }

    /// A message was taken on [`Pass::Step`].
    pub(crate) fn stepped(&mut self) {
        if let Some(held) = &mut self.held {
            held.allowed = held.allowed.saturating_sub(1);
            held.stepped = held.stepped.saturating_add(1);
        }
    }

    /// For people; `None`: it is served.
    pub(crate) fn show(&self, now: Instant) -> Option<Freeze> {
        let held = self.held.as_ref().filter(|held| held.until > now)?;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Some(Freeze {
            who: held.who.clone(),
            age_millis: millis(now.duration_since(held.since)),
            lease_millis: millis(held.until.duration_since(now)),
            stepped: held.stepped,
        })
    }

    fn expire(&mut self, now: Instant) {
        if self.held.as_ref().is_some_and(|held| held.until <= now) {
            tracing::warn!(
                who = self.held.as_ref().map(|held| held.who.as_str()),
                "the freeze of the mailbox has ended with its lease"
            );
            self.held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_freeze_is_a_lease() {
        let (mut valve, start) = (Valve::default(), Instant::now());
        assert_eq!(valve.pass(start), Pass::Open);
        assert!(valve.freeze("ada", start).unwrap());
        assert_eq!(valve.pass(start), Pass::NotBefore(start + LEASE));
        assert!(!valve.freeze("ada", start + LEASE / 2).unwrap(), "a renewal");
        assert_eq!(valve.pass(start + LEASE), Pass::NotBefore(start + LEASE / 2 + LEASE));
        assert_eq!(valve.pass(start + LEASE / 2 + LEASE), Pass::Open, "nobody renewed it");
    }

    #[test]
    fn no_renewal_holds_it_for_ever() {
        let (mut valve, start) = (Valve::default(), Instant::now());
        let mut now = start;
        valve.freeze("ada", now).unwrap();
        while now < start + LONGEST {
            assert!(matches!(valve.pass(now), Pass::NotBefore(_)), "{:?}", now - start);
            now += Duration::from_secs(1);
            if now < start + LONGEST {
                assert!(!valve.freeze("ada", now).unwrap());
            }
        }
        assert_eq!(valve.pass(now), Pass::Open);
    }

    #[test]
    fn a_step_lets_exactly_one_pass() {
        let (mut valve, now) = (Valve::default(), Instant::now());
        assert!(matches!(valve.step(now), Err(Refused::Failed(_))));
        valve.freeze("ada", now).unwrap();
        valve.step(now).unwrap();
        assert_eq!(valve.pass(now), Pass::Step);
        valve.stepped();
        assert!(matches!(valve.pass(now), Pass::NotBefore(_)));
        assert_eq!(valve.show(now).unwrap().stepped, 1);
    }

    #[test]
    fn one_debugger_holds_it_and_anybody_may_thaw() {
        let (mut valve, now) = (Valve::default(), Instant::now());
        valve.freeze("ada", now).unwrap();
        assert!(matches!(valve.freeze("bob", now), Err(Refused::Busy(reason)) if reason.contains("ada")));
        assert!(valve.thaw());
        assert!(!valve.thaw());
        assert!(valve.freeze("bob", now).unwrap());
    }
}
