//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::core::Millis;

/// Now. A clock before 1970 reads as 0: everything is too early then, and nothing is proposed.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
