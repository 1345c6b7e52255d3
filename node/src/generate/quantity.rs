//! Amounts as Kubernetes writes them, and as systemd does.

use std::fmt;

use serde::Deserialize;

/// Bytes, written `512Mi` or `2Gi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bytes {
    mebi: u64,
}

/// Processor time, written `2` (two whole processors) or `250m` (a quarter of one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cpu {
    millis: u64,
}

impl Bytes {
    /// So many mebibytes.
    pub const fn mebi(mebi: u64) -> Self {
        Self { mebi }
    }

    /// So many gibibytes.
    pub const fn gibi(gibi: u64) -> Self {
        Self { mebi: gibi.saturating_mul(1_024) }
    }

    /// As systemd writes it: `512M`, powers of 1,024 too.
    pub fn systemd(self) -> String {
        format!("{}M", self.mebi)
    }

    /// A part of it.
    pub fn percent(self, percent: u64) -> Self {
        Self { mebi: self.mebi.saturating_mul(percent).checked_div(100).unwrap_or(self.mebi) }
    }
}

impl Cpu {
    /// So many thousandths of a processor.
    pub const fn millis(millis: u64) -> Self {
        Self { millis }
    }

    /// `CPUWeight=`: 100 for a whole processor, within what systemd takes.
    pub fn weight(self) -> u64 {
        self.millis.checked_div(10).unwrap_or(1).clamp(1, 10_000)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mebi.checked_rem(1_024) {
            Some(0) => write!(f, "{}Gi", self.mebi / 1_024),
            _ => write!(f, "{}Mi", self.mebi),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.millis.checked_rem(1_000) {
            Some(0) => write!(f, "{}", self.millis / 1_000),
            _ => write!(f, "{}m", self.millis),
        }
    }
}

/// The text is no such amount.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no amount: write {1}")]
pub struct NoAmount(String, &'static str);

impl TryFrom<String> for Bytes {
    type Error = NoAmount;

    fn try_from(text: String) -> Result<Self, NoAmount> {
        let units = [("Mi", 1), ("Gi", 1_024), ("Ti", 1_024 * 1_024)];
        let read = units.into_iter().find_map(|(unit, mebi)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(mebi));
        read.filter(|mebi| *mebi > 0).map(Self::mebi).ok_or(NoAmount(text, "512Mi, 2Gi or 1Ti"))
    }
}

impl TryFrom<String> for Cpu {
    type Error = NoAmount;

    fn try_from(text: String) -> Result<Self, NoAmount> {
        let read = match text.strip_suffix('m') {
            Some(millis) => millis.parse::<u64>().ok(),
            None => text.parse::<u64>().ok().and_then(|whole| whole.checked_mul(1_000)),
        };
        read.filter(|millis| *millis > 0).map(Self::millis).ok_or(NoAmount(text, "2 or 250m"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn amounts_are_read_and_written() {
        for (text, systemd) in [("512Mi", "512M"), ("2Gi", "2048M")] {
            let bytes = Bytes::try_from(text.to_owned()).unwrap();
            assert_eq!((bytes.to_string().as_str(), bytes.systemd().as_str()), (text, systemd));
        }
        for (text, weight) in [("2", 200), ("250m", 25), ("1m", 1)] {
            let cpu = Cpu::try_from(text.to_owned()).unwrap();
            assert_eq!((cpu.to_string().as_str(), cpu.weight()), (text, weight));
        }
        for bad in ["", "0Gi", "2", "2G", "-1Mi", "99999999999999999999Gi"] {
            assert!(Bytes::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        for bad in ["", "0", "m", "1.5", "18446744073709551615"] {
            assert!(Cpu::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(Bytes::gibi(1).percent(80).to_string(), "819Mi");
    }
}
