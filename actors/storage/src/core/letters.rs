//! Dead letters: which message becomes one, and which fall out when there are too many.
//!
//! | a message ended its process | so |
//! |---|---|
//! | for the first or second time | remembered by its digest |
//! | for the third time | a dead letter: whoever repeats it is refused |
//! | it was a requeued dead letter | dead again at once |
//!
//! Known by its digest, because whoever repeats a message gives it a new id.

use super::limits::{MAX_LETTER_BYTES, MAX_LETTERS};

/// A message that ended its process so often is dead.
pub const DEADLY: u32 = 3;

/// The letters that make room, of `letters` (id, bytes of its body) oldest first, the last of them just added. Never that one.
pub fn fall_out(letters: &[(u64, u64)]) -> Vec<u64> {
    let mut bytes: u64 = letters.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    let mut count = letters.len();
    let mut out = Vec::new();
    for (id, size) in letters {
        if (count <= MAX_LETTERS && bytes <= MAX_LETTER_BYTES) || count <= 1 {
            break;
        }
        out.push(*id);
        bytes = bytes.saturating_sub(*size);
        count = count.saturating_sub(1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_fall_out_until_both_bounds_hold() {
        let most = u64::try_from(MAX_LETTERS).unwrap_or(u64::MAX);
        let small: Vec<(u64, u64)> = (0..=most).map(|id| (id, 1)).collect();
        assert!(fall_out(&small[1..]).is_empty());
        assert_eq!(fall_out(&small), [0]);
        assert_eq!(fall_out(&[(4, MAX_LETTER_BYTES), (5, 1), (6, 1)]), [4]);
        assert_eq!(fall_out(&[(4, 1), (5, MAX_LETTER_BYTES + 1)]), [4], "never the newest");
        assert!(fall_out(&[]).is_empty());
    }
}
