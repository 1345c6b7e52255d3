//! What a service manager is told (`sd_notify(3)`), from the thread of the probes and only from what the probes see.
//!
//! | seen | told |
//! |---|---|
//! | `/readyz` is 200 for the first time | `READY=1` |
//! | the drain began, or the process ends | `STOPPING=1`, once |
//! | the state or its reason is another | `STATUS=` |
//! | `/livez` is 200 | `WATCHDOG=1`, at least twice within `WatchdogSec` |
//! | `/livez` is 503 | nothing: the watchdog runs out and the service manager restarts the process |

use std::time::Duration;

use alys_proto::cluster::Health;
use sd_notify::NotifyState;

use crate::vitals::name_of;

/// Longest status text: what a terminal shows in one line.
const MOST_STATUS: usize = 200;

/// What was told already.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    ready: bool,
    stopping: bool,
    status: String,
}

/// What the probes see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) health: Health,
    pub(crate) reason: &'a str,
    pub(crate) live: bool,
    pub(crate) serves: bool,
}

impl Notifier {
    /// Half of the service manager's patience; `None` without a watchdog.
    pub(crate) fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|patience| patience / 2)
    }

    /// Tells what is new.
    pub(crate) fn tell(&mut self, seen: Seen<'_>) {
        send(&self.news(seen));
    }

    /// The process ends now.
    pub(crate) fn end(&mut self) {
        if !self.stopping {
            self.stopping = true;
            send(&[NotifyState::Stopping]);
        }
    }

    fn news(&mut self, seen: Seen<'_>) -> Vec<NotifyState<'_>> {
        let mut news = Vec::new();
        if seen.serves && !self.ready {
            self.ready = true;
            news.push(NotifyState::Ready);
        }
        if seen.health == Health::Draining && !self.stopping {
            self.stopping = true;
            news.push(NotifyState::Stopping);
        }
        if seen.live {
            news.push(NotifyState::Watchdog);
        }
        let status = line(seen.health, seen.reason);
        if self.status != status {
            self.status = status;
            news.push(NotifyState::Status(&self.status));
        }
        news
    }
}

/// The state as one line: a line break would end the field.
fn line(health: Health, reason: &str) -> String {
    let text = if reason.is_empty() { name_of(health).to_owned() } else { format!("{}: {reason}", name_of(health)) };
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MOST_STATUS).collect()
}

fn send(news: &[NotifyState<'_>]) {
    // Without a service manager this does nothing. One that went away is no reason to end.
    if let (false, Err(cause)) = (news.is_empty(), sd_notify::notify(news)) {
        tracing::debug!(%cause, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(notifier: &mut Notifier, seen: Seen<'_>) -> Vec<String> {
        notifier.news(seen).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_life_as_it_is_told() {
        let mut notifier = Notifier::default();
        let starting = Seen { health: Health::Starting, reason: "", live: true, serves: false };
        assert_eq!(told(&mut notifier, starting), ["WATCHDOG=1", "STATUS=starting"]);
        assert_eq!(told(&mut notifier, starting), ["WATCHDOG=1"]);
        let ready = Seen { health: Health::Ready, serves: true, ..starting };
        assert_eq!(told(&mut notifier, ready), ["READY=1", "WATCHDOG=1", "STATUS=ready"]);
        let degraded = Seen { health: Health::Degraded, reason: "no\nquorum", ..ready };
        assert_eq!(told(&mut notifier, degraded), ["WATCHDOG=1", "STATUS=degraded: no quorum"]);
        let wedged = Seen { health: Health::Wedged, reason: "GetHead", live: false, serves: false };
        assert_eq!(told(&mut notifier, wedged), ["STATUS=wedged: GetHead"]);
        assert_eq!(told(&mut notifier, wedged), [""; 0], "no progress, no ping");
        assert_eq!(told(&mut notifier, ready), ["WATCHDOG=1", "STATUS=ready"], "ready is said once");
        let draining = Seen { health: Health::Draining, reason: "", serves: false, ..ready };
        assert_eq!(told(&mut notifier, draining), ["STOPPING=1", "WATCHDOG=1", "STATUS=draining"]);
        assert_eq!(told(&mut notifier, draining), ["WATCHDOG=1"]);
    }
}
