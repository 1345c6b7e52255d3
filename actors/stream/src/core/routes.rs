//! Governance records on their way to chain or bridge: repeated until the role has answered.

use std::collections::BTreeMap;

use super::effect::{Effect, RoutedMessage};
use super::input::{Answered, Millis, RouteId};

/// Records on their way at once. A record has at most 4 KiB in a block; the gRPC message limit allows 1 MiB: 64 MiB at worst.
pub const MAX_ROUTED: usize = 64;

#[derive(Debug)]
struct Routed {
    message: RoutedMessage,
    /// `None`: asked, no answer yet.
    due: Option<Millis>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Routes {
    next: u64,
    open: BTreeMap<RouteId, Routed>,
}

impl Routes {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= MAX_ROUTED
    }

    /// `false`: full. The caller checks before it acknowledges.
    pub(super) fn add(&mut self, message: RoutedMessage) -> bool {
        if self.is_full() {
            return false;
        }
        self.next = self.next.saturating_add(1);
        self.open.insert(RouteId(self.next), Routed { message, due: Some(Millis(0)) });
        true
    }

    pub(super) fn due(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        for (route, routed) in &mut self.open {
            if routed.due.is_some_and(|at| at <= now) {
                routed.due = None;
                effects.push(Effect::Route { route: *route, message: routed.message.clone() });
            }
        }
    }

    pub(super) fn answered(&mut self, now: Millis, route: RouteId, answer: Answered<()>, retry: Millis) {
        match answer {
            Answered::Reply(()) => {
                self.open.remove(&route);
            }
            Answered::Passing(_) => {
                if let Some(routed) = self.open.get_mut(&route) {
                    routed.due = Some(now.after(retry));
                }
            }
        }
    }
}
