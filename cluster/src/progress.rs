//! Whether a process makes progress. Liveness means this, not an answered ping: it feeds `/livez`, the service manager's
//! watchdog and the health that others observe.
//!
//! | handler | queue | runtime | verdict |
//! |---|---|---|---|
//! | `start`, any time | any | turns | progress: it may wait for other roles |
//! | quiet for less than its limit | any | turns | progress |
//! | quiet for longer, awaiting an answer in time | any | turns | progress: the other one may be the stuck one |
//! | quiet for longer | any | any | stuck in the handler |
//! | none | waits, nothing taken for the deadline | any | stuck: nobody takes from the queue |
//! | any | any | has not run a task for the deadline | stuck: its threads are blocked |
//!
//! A handler is quiet since its last sign of progress: it took the message up, an answer came or its deadline passed, the
//! handler said so ([`crate::Cx::progress`]). Its limit is its method's `longest_seconds` in the .proto, else
//! `cluster.handler_deadline`.

use std::time::Duration;

/// What a process is doing at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    /// The message in hand; `None` between messages and during `start`.
    pub(crate) in_hand: Option<InHand>,
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

/// A message that is being handled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InHand {
    /// Its name.
    pub(crate) name: &'static str,
    /// Since the last sign of progress.
    pub(crate) quiet: Duration,
    /// How long it may be quiet; `None`: as long as everything else.
    pub(crate) limit: Option<Duration>,
    /// It awaits an answer whose deadline has not passed.
    pub(crate) awaits: bool,
}

/// Why there is no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stuck {
    #[error("{name} has made no progress for {}", rounded(*quiet))]
    Handler { name: &'static str, quiet: Duration },
    #[error("{waiting} messages wait and none was taken for {}", rounded(*untaken))]
    Queue { waiting: usize, untaken: Duration },
    #[error("the runtime has run nothing for {}: its threads are blocked", rounded(*silent))]
    Runtime { silent: Duration },
}

/// The verdict, see the table above.
pub(crate) fn judge(sight: &Sight, deadline: Duration) -> Result<(), Stuck> {
    if let Some(InHand { name, quiet, limit, awaits: false }) = sight.in_hand
        && quiet > limit.unwrap_or(deadline)
    {
        return Err(Stuck::Handler { name, quiet });
    }
    if sight.silent > deadline {
        return Err(Stuck::Runtime { silent: sight.silent });
    }
    let untaken = sight.idle.min(sight.oldest);
    if sight.in_hand.is_none() && !sight.starting && sight.waiting > 0 && untaken > deadline {
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
        let handling = |quiet| InHand { name: "GetHead", quiet, limit: None, awaits: false };
        let holds = |in_hand| Sight { in_hand: Some(in_hand), ..nothing };
        let table = [
            ("idle", nothing, None),
            ("idle for long", Sight { idle: LONG, ..nothing }, None),
            ("starting for long", Sight { starting: true, idle: LONG, ..waits }, None),
            ("handling", Sight { in_hand: Some(handling(SHORT)), ..waits }, None),
            ("hangs", holds(handling(LONG)), Some(Stuck::Handler { name: "GetHead", quiet: LONG })),
            ("may take its time", holds(InHand { limit: Some(LONG), ..handling(LONG) }), None),
            ("waits for another role", holds(InHand { awaits: true, ..handling(LONG) }), None),
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
        let stuck = Stuck::Handler { name: "CommitBlock", quiet: Duration::from_millis(12_340) };
        assert_eq!(stuck.to_string(), "CommitBlock has made no progress for 12.3 s");
    }
}
