//! Streams that were turned away, counted by why: what somebody without a place in this cluster can cause is a number and no
//! log line.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a stream was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Too many from one address were in their handshake.
    Crowd,
    /// Not authenticated: no TLS, a certificate of another authority, or another user of this host.
    Stranger,
    /// A role that its certificate does not allow.
    Rogue,
    /// Authenticated, but no hello of this cluster in time, or a link to it stands.
    Unfit,
}

/// The counts of one process.
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; 4]);

impl Refusals {
    const WHYS: [(&'static str, Why); 4] =
        [("crowd", Why::Crowd), ("stranger", Why::Stranger), ("rogue", Why::Rogue), ("unfit", Why::Unfit)];

    pub(crate) fn count(&self, why: Why) {
        for ((_, counted), count) in Self::WHYS.iter().zip(&self.0) {
            if *counted == why {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Every reason with its count.
    pub(crate) fn show(&self) -> [(&'static str, u64); 4] {
        let mut shown = Self::WHYS.map(|(name, _)| (name, 0));
        for ((_, shown), count) in shown.iter_mut().zip(&self.0) {
            *shown = count.load(Ordering::Relaxed);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_under_its_reason() {
        let refusals = Refusals::default();
        for why in [Why::Rogue, Why::Unfit, Why::Rogue] {
            refusals.count(why);
        }
        assert_eq!(refusals.show(), [("crowd", 0), ("stranger", 0), ("rogue", 2), ("unfit", 1)]);
    }
}
