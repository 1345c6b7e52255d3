//! Targets, and their compact form as in Bitcoin headers: one byte of length, three bytes of leading digits.
//!
//! Bitcoin's own decoder takes any 32 bits. Here a value is refused unless it is the one that encodes its target, so two
//! claims that mean the same have the same bytes.

use alloy_primitives::U256;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;

/// The sign of the digits.
const SIGN: u32 = 0x0080_0000;
/// The digits without their sign.
const DIGITS: u32 = 0x007f_ffff;
/// Bytes of the digits.
const DIGIT_BYTES: u32 = 3;

/// A block hash, as a little-endian number, must not be above this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(pub U256);

/// A target in compact form: positive, within 256 bits, shortest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(u32);

/// Why 32 bits are no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitsError {
    /// The sign is set.
    #[error("bits {0:#010x} are negative")]
    Negative(u32),
    /// Zero: no hash can meet it.
    #[error("bits {0:#010x} are zero")]
    Zero(u32),
    /// Above 2^256 - 1.
    #[error("bits {0:#010x} do not fit into 256 bits")]
    Overflow(u32),
    /// Another value encodes the same target.
    #[error("bits {0:#010x} are not the shortest form")]
    NotShortest(u32),
}

impl Target {
    /// Met by every hash.
    pub const MAX: Self = Self(U256::MAX);

    /// Whether a block with this hash has the work.
    pub fn is_met_by(&self, hash: BlockHash) -> bool {
        U256::from_le_bytes(hash.to_byte_array()) <= self.0
    }
}

impl Bits {
    /// Target 1.
    pub const HARDEST: Self = Self(0x0101_0000);

    /// From the 32 bits of a header or claim.
    pub fn new(compact: u32) -> Result<Self, BitsError> {
        let digits = compact & DIGITS;
        if compact & SIGN != 0 {
            return Err(BitsError::Negative(compact));
        }
        if digits == 0 {
            return Err(BitsError::Zero(compact));
        }
        let digit_bits = u32::BITS.saturating_sub(digits.leading_zeros());
        let shift = 8 * i64::from(compact >> 24) - 8 * i64::from(DIGIT_BYTES);
        if shift + i64::from(digit_bits) > 256 {
            return Err(BitsError::Overflow(compact));
        }
        match Self::at_most(Target(expand(compact))) {
            None => Err(BitsError::Zero(compact)),
            Some(shortest) if shortest.0 != compact => Err(BitsError::NotShortest(compact)),
            Some(shortest) => Ok(shortest),
        }
    }

    /// The largest compact target that is not above `target`: the digits beyond 15 to 23 bits are cut. `None` for zero.
    pub fn at_most(target: Target) -> Option<Self> {
        let bits = u32::try_from(target.0.bit_len()).ok()?;
        if bits == 0 {
            return None;
        }
        let mut bytes = bits.div_ceil(8);
        // The top bit of the digits is their sign: one more byte keeps it clear.
        if bits.is_multiple_of(8) {
            bytes += 1;
        }
        let digits =
            if bytes > DIGIT_BYTES { target.0 >> (8 * (bytes - DIGIT_BYTES)) } else { target.0 << (8 * (DIGIT_BYTES - bytes)) };
        let digits = u32::try_from(digits).ok()?;
        Some(Self((bytes << 24) | digits))
    }

    /// The 32 bits, as in a header or claim.
    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// The target.
    pub fn target(self) -> Target {
        Target(expand(self.0))
    }
}

/// The target of compact bits whose sign is clear and that fit.
fn expand(compact: u32) -> U256 {
    let digits = U256::from(compact & DIGITS);
    let bytes = compact >> 24;
    if bytes > DIGIT_BYTES { digits << (8 * (bytes - DIGIT_BYTES)) } else { digits >> (8 * (DIGIT_BYTES - bytes)) }
}
