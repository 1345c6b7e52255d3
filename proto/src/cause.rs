//! What a step is about: a deposit or a burn, by a key that every process can compute from what it has in hand.
//!
//! Used for traces only. A step of any process under the same cause is in the same trace.

use crate::{common, storage};

/// Bytes of a deposit's key: 32 of the transaction id, 4 of the output.
const DEPOSIT: usize = 36;
/// Bytes of a burn's key: 8 of the height, 4 of the log index.
const BURN: usize = 12;

/// A thing that outlives every process that works on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    kind: &'static str,
    key: Vec<u8>,
}

impl Cause {
    /// Kind of everything that a deposit causes.
    pub const PEG_IN: &'static str = "peg-in";
    /// Kind of everything that a burn causes.
    pub const PEG_OUT: &'static str = "peg-out";

    /// A deposit: transaction id in internal byte order, then the output as a little-endian number.
    pub fn deposit(txid: &[u8], vout: u32) -> Self {
        Self { kind: Self::PEG_IN, key: [txid, &vout.to_le_bytes()].concat() }
    }

    /// A burn: sidechain height, then log index within the block, both big-endian.
    pub fn burn(height: u64, log_index: u32) -> Self {
        Self { kind: Self::PEG_OUT, key: [height.to_be_bytes().as_slice(), &log_index.to_be_bytes()].concat() }
    }

    /// From a key as messages carry it. `None`: neither a deposit's nor a burn's.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let kind = match key.len() {
            DEPOSIT => Self::PEG_IN,
            BURN => Self::PEG_OUT,
            _ => return None,
        };
        Some(Self { kind, key: key.to_vec() })
    }

    /// `peg-in` or `peg-out`.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

impl From<&common::OutPoint> for Cause {
    fn from(outpoint: &common::OutPoint) -> Self {
        Self::deposit(&outpoint.txid, outpoint.vout)
    }
}

impl From<&storage::BurnId> for Cause {
    fn from(burn: &storage::BurnId) -> Self {
        Self::burn(burn.height, burn.log_index)
    }
}

impl From<&common::Burn> for Cause {
    fn from(burn: &common::Burn) -> Self {
        Self::burn(burn.height, burn.log_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_is_the_key_of() {
        let deposit = Cause::deposit(&[0xab; 32], 0x0102_0304);
        assert_eq!(deposit.key().last_chunk(), Some(&[4, 3, 2, 1]));
        let burn = Cause::burn(5, 6);
        assert_eq!(burn.key(), [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6]);
        for cause in [deposit, burn] {
            assert_eq!(Cause::from_key(cause.key()), Some(cause));
        }
        assert_eq!(Cause::from_key(&[]), None);
        assert_eq!(Cause::from_key(&[0; 32]), None);
    }
}
