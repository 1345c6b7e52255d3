//! Whether a process makes progress. Liveness means this, not an answered ping: it feeds `/livez`, the service manager's
//! watchdog and the health that others observe.
//!
//! | handler | queue | runtime | verdict |
//! |---|---|---|---|
//! | `start`, any time | any | turns | progress: it may wait for other roles |
//! | within the deadline | any | turns | progress |
//! | past the deadline | any | any | stuck in the handler |
//! | none | waits, nothing taken for the deadline | any | stuck: nobody takes from the queue |
//! | any | any | has not run a task for the deadline | stuck: its threads are blocked |

use std::time::Duration;

/// What a process is doing at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    /// The message in hand and for how long; `None` between messages and during `start`.
    pub(crate) in_flight: Option<(&'static str, Duration)>,
    /// `start` has not returned.
    pub(crate) starting: bool,
    /// Messages that wait.
    pub(crate) waiting: usize,
    /// How long the oldest waits.
    pub(crate) oldest: Duration,
    /// Since a handler last ended.
    pub(crate) idle: Duration,
    /// Since the runtime last ran a task of ours.
    pub(crate) silent: Duration,
}

/// Why there is no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stuck {
    #[error("{name} has been running for {}", rounded(*running))]
    Handler { name: &'static str, running: Duration },
    #[error("{waiting} messages wait and none was taken for {}", rounded(*untaken))]
    Queue { waiting: usize, untaken: Duration },
    #[error("the runtime has run nothing for {}: its threads are blocked", rounded(*silent))]
    Runtime { silent: Duration },
}

/// The verdict, see the table above.
pub(crate) fn judge(sight: &Sight, deadline: Duration) -> Result<(), Stuck> {
    if let Some((name, running)) = sight.in_flight
        && running > deadline
    {
        return Err(Stuck::Handler { name, running });
    }
    if sight.silent > deadline {
        return Err(Stuck::Runtime { silent: sight.silent });
    }
    let untaken = sight.idle.min(sight.oldest);
    if sight.in_flight.is_none() && !sight.starting && sight.waiting > 0 && untaken > deadline {
        return Err(Stuck::Queue { waiting: sight.waiting, untaken });
    }
    Ok(())
}

/// Tenths of a second are enough for people.
fn rounded(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);
    const LONG: Duration = Duration::from_secs(11);
    const SHORT: Duration = Duration::from_secs(9);

    #[test]
    fn verdicts_by_the_table() {
        let nothing = Sight::default();
        let waits = Sight { waiting: 3, oldest: LONG, ..nothing };
        let table = [
            ("idle", nothing, None),
            ("idle for long", Sight { idle: LONG, ..nothing }, None),
            ("starting for long", Sight { starting: true, idle: LONG, ..waits }, None),
            ("handling", Sight { in_flight: Some(("GetHead", SHORT)), ..waits }, None),
            (
                "hangs",
                Sight { in_flight: Some(("GetHead", LONG)), ..nothing },
                Some(Stuck::Handler { name: "GetHead", running: LONG }),
            ),
            ("a backlog that moves", Sight { idle: SHORT, ..waits }, None),
            ("just arrived after a quiet time", Sight { idle: LONG, oldest: SHORT, ..waits }, None),
            ("nobody takes", Sight { idle: LONG, ..waits }, Some(Stuck::Queue { waiting: 3, untaken: LONG })),
            ("blocked", Sight { silent: LONG, ..nothing }, Some(Stuck::Runtime { silent: LONG })),
            ("blocked at start", Sight { silent: LONG, starting: true, ..nothing }, Some(Stuck::Runtime { silent: LONG })),
        ];
        for (name, sight, expected) in table {
            assert_eq!(judge(&sight, DEADLINE).err(), expected, "{name}");
        }
    }

    #[test]
    fn a_reason_names_the_message_and_the_time() {
        let stuck = Stuck::Handler { name: "CommitBlock", running: Duration::from_millis(12_340) };
        assert_eq!(stuck.to_string(), "CommitBlock has been running for 12.3 s");
    }
}
