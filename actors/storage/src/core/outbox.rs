//! Outboxes: whether a message is kept.
//!
//! | what waits in the sender's outbox | so |
//! |---|---|
//! | the same message to the same receiver | not kept again: its number is the answer |
//! | fewer than the bounds allow | kept under the next number |
//! | as much as the bounds allow | refused as busy |

use alys_proto::storage::{PostMessage, PostedMessage};

use super::limits::{MAX_POSTED, MAX_POSTED_BYTES};

/// What becomes of a message that is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Under a new number.
    Keep,
    /// It waits already, under this one.
    Waits(u64),
    /// Too much waits.
    Full,
}

/// Decides over a message, with what waits in the sender's outbox.
pub fn judge<'a>(waiting: impl IntoIterator<Item = &'a PostedMessage>, message: &PostMessage) -> Verdict {
    let (mut count, mut bytes) = (0usize, message.body.len());
    for other in waiting {
        if other.receiver == message.receiver && other.method == message.method && other.body == message.body {
            return Verdict::Waits(other.number);
        }
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(other.body.len());
    }
    if count >= MAX_POSTED || bytes > MAX_POSTED_BYTES { Verdict::Full } else { Verdict::Keep }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
