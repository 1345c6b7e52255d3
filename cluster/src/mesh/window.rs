//! How many told messages may be under way between two processes: what their hellos say. Pure.
//!
//! | the peer's hello says | it is told at most | it may tell at most |
//! |---|---|---|
//! | nothing: a program that knows no windows, or a foreign one | [`UNTOLD`] | [`UNTOLD`] |
//! | a window | so many, of [`MOST`] | what our hello says |
//!
//! The receiver chooses, because it is its mailbox that must hold them.

use crate::config::MailboxConfig;

/// Told messages of one sender that may be under way where nobody says how many. Released programs count on it.
const UNTOLD: u32 = 512;

/// A larger window gains nothing: it is hundreds of kilobytes of the smallest messages, several writes. Part of the wire: a
/// receiver that returned credit for half of a larger window would wait for ever for a sender that keeps to this one.
const MOST: u32 = 4_096;

/// Part of a mailbox whose messages have their credit returned when they come. The rest is the window, so one sender alone
/// does not fill it.
pub(crate) const MUCH_ROOM: usize = 8;

/// The windows of a link, of each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// What the peer may be told.
    pub(crate) out: u32,
    /// What the peer may tell.
    pub(crate) back: u32,
}

impl Windows {
    /// `own`: what our hellos say; `theirs`: what the peer's said.
    pub(crate) fn new(own: u32, theirs: u32) -> Self {
        match theirs {
            0 => Self { out: UNTOLD, back: UNTOLD },
            _ => Self { out: theirs.min(MOST), back: own.clamp(1, MOST) },
        }
    }

    /// Credit is returned in portions, so that many messages cost one frame and wake each side once. A quarter: while one is on
    /// its way back the other three are at work, on both sides.
    pub(crate) const fn portion(self) -> u32 {
        if self.back < 4 { 1 } else { self.back / 4 }
    }
}

/// What the hellos of a process with such a mailbox say.
pub(crate) fn of_mailbox(mailbox: &MailboxConfig) -> u32 {
    let window = mailbox.capacity.saturating_sub(mailbox.capacity / MUCH_ROOM);
    u32::try_from(window).unwrap_or(MOST).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(capacity: usize) -> MailboxConfig {
        MailboxConfig { capacity, ..MailboxConfig::default() }
    }

    #[test]
    fn a_window_is_what_the_receiver_says_within_bounds() {
        let own = of_mailbox(&MailboxConfig::default());
        assert_eq!(own, 875);
        let table = [
            ("says nothing", 0, Windows { out: 512, back: 512 }),
            ("small", 1, Windows { out: 1, back: own }),
            ("as ours", own, Windows { out: own, back: own }),
            ("the largest", MOST, Windows { out: MOST, back: own }),
            ("absurdly large", u32::MAX, Windows { out: MOST, back: own }),
        ];
        for (hello, theirs, expected) in table {
            assert_eq!(Windows::new(own, theirs), expected, "{hello}");
        }
    }

    #[test]
    fn both_ends_of_a_link_have_the_same_windows() {
        for (a, b) in [(1, 875), (875, MOST), (MOST, MOST), (512, 3)] {
            let (here, there) = (Windows::new(a, b), Windows::new(b, a));
            assert_eq!((here.out, here.back), (there.back, there.out));
        }
        // One of them knows no windows: it keeps to the one that was released, and so must the other.
        assert_eq!(Windows::new(MOST, 0), Windows { out: 512, back: 512 });
    }

    #[test]
    fn one_sender_does_not_fill_a_mailbox_and_always_has_a_window() {
        for capacity in [0, 1, 2, 7, 8, 100, 1_000, 10_000, usize::MAX] {
            let window = of_mailbox(&mailbox(capacity));
            assert!((1..=MOST).contains(&window), "{window} of {capacity}");
            let most = usize::try_from(window).unwrap_or(usize::MAX).saturating_add(capacity / MUCH_ROOM);
            assert!(most <= capacity.max(1), "{most} of {capacity}");
            let portion = Windows::new(window, window).portion();
            assert!((1..=window).contains(&portion), "credit for {portion} of {window} never comes");
        }
    }
}
