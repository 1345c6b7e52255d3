//! Where one member stands with one question.

use super::bounded;
use super::input::Millis;

/// `Y` is what a positive answer leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn<Y> {
    /// To be asked as soon as it is connected.
    #[default]
    Unasked,
    /// Asked, no answer yet.
    Asked {
        /// When.
        since: Millis,
    },
    /// Could not yet.
    Later {
        /// Ask again then.
        at: Millis,
        /// What it said.
        reason: String,
    },
    /// Will not.
    Refused {
        /// What it said.
        reason: String,
    },
    /// Did.
    Answered(Y),
}

impl<Y> Turn<Y> {
    pub(super) fn asked(&mut self, now: Millis) {
        *self = Self::Asked { since: now };
    }

    pub(super) fn due(&self, now: Millis, ask_again: Millis) -> bool {
        match self {
            Self::Unasked => true,
            Self::Asked { since } => now.since(*since) >= ask_again,
            Self::Later { at, .. } => *at <= now,
            Self::Refused { .. } | Self::Answered(_) => false,
        }
    }

    /// The member refuses. A refusal after an answer is stale and changes nothing.
    pub(super) fn refuse(&mut self, reason: &str, retry_at: Option<Millis>) {
        if matches!(self, Self::Answered(_)) {
            return;
        }
        let reason = bounded(reason);
        *self = match retry_at {
            Some(at) => Self::Later { at, reason },
            None => Self::Refused { reason },
        };
    }

    /// The member restarted and remembers no question: ask again, also what it refused before.
    pub(super) fn member_restarted(&mut self) {
        if !matches!(self, Self::Answered(_)) {
            *self = Self::Unasked;
        }
    }
}
