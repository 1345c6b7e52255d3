//! Newtypes for amounts and positions: a bare integer never says what it counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Satoshis on Bitcoin. 1 BTC = 10^8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sats(pub u64);

/// Wei on the sidechain. 1 BTC = 10^18, so 1 satoshi = 10^10 wei. 21 million BTC fit in 85 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wei(pub u128);

/// Height of a sidechain block. Genesis is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Height(pub u64);

/// One turn of a proposer. Counts turns, not wall-clock time: it does not jump after a halt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u64);

/// Generation of a lease: who held the role before has a smaller one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// All bitcoins that can ever exist.
pub const MAX_SATS: Sats = Sats(21_000_000 * 100_000_000);

const WEI_PER_SAT: u128 = 10_000_000_000;
const GWEI_PER_SAT: u64 = 10;

impl Sats {
    /// The same value in wei. Total: 2^64 satoshis are below 2^98 wei.
    pub const fn to_wei(self) -> Wei {
        #[allow(clippy::as_conversions, reason = "widening; `u128::from` is not const")]
        Wei(self.0 as u128 * WEI_PER_SAT)
    }

    /// The same value in gwei, the unit of withdrawals. `None` above 2^64 gwei, which is above [`MAX_SATS`].
    pub const fn to_gwei(self) -> Option<u64> {
        self.0.checked_mul(GWEI_PER_SAT)
    }

    /// Sum, or `None` when it leaves 64 bits.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Difference, or `None` when it would be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }
}

impl Wei {
    /// The same value in satoshis, or `None` when it is not a whole number of them or does not fit.
    pub fn to_sats(self) -> Option<Sats> {
        if !self.0.is_multiple_of(WEI_PER_SAT) {
            return None;
        }
        u64::try_from(self.0 / WEI_PER_SAT).ok().map(Sats)
    }
}

impl Height {
    /// The next height. Saturates at 2^64 - 1, which no chain reaches.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sats {
    /// As bitcoins with eight decimals: `1.00000000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08}", self.0 / 100_000_000, self.0 % 100_000_000)
    }
}

impl fmt::Display for Wei {
    /// As bitcoins with eighteen decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:018}", self.0 / 10u128.pow(18), self.0 % 10u128.pow(18))
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not an amount of bitcoins.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an amount of BTC: write it like 0.4 or 1.00000001, at most eight decimals")]
pub struct BadAmount(pub String);

impl std::str::FromStr for Sats {
    type Err = BadAmount;

    /// Parses bitcoins as people write them; never through a float.
    fn from_str(text: &str) -> Result<Self, BadAmount> {
        let bad = || BadAmount(text.to_owned());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 8 || !digits(whole) || !digits(decimals) {
            return Err(bad());
        }
        let scaled = format!("{whole}{decimals:0<8}");
        let sats = scaled.parse().map(Self).map_err(|_| bad())?;
        if sats > MAX_SATS { Err(bad()) } else { Ok(sats) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_parse_exactly() {
        assert_eq!("0.4".parse(), Ok(Sats(40_000_000)));
        assert_eq!("21000000".parse(), Ok(MAX_SATS));
        assert_eq!("1.".parse(), Ok(Sats(100_000_000)));
        for bad in ["", ".", "-1", "1e8", "0.123456789", "21000000.00000001", "99999999999999999999"] {
            assert!(bad.parse::<Sats>().is_err(), "{bad}");
        }
    }

    #[test]
    fn wei_and_sats_round_trip() {
        assert_eq!(Sats(1).to_wei(), Wei(10_000_000_000));
        assert_eq!(MAX_SATS.to_wei().to_sats(), Some(MAX_SATS));
        assert_eq!(Wei(1).to_sats(), None);
        assert_eq!(MAX_SATS.to_gwei(), Some(21_000_000_000_000_000));
    }
}
