//! Configuration of the bridge role.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::state::Intervals;

/// How bridge works. What it may do is in the chain specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Our Bitcoin node.
    pub bitcoind: BitcoindConfig,
    /// How often bitcoind is asked for its tip.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Longest wait between two attempts while bitcoind is away.
    #[serde(with = "humantime_serde")]
    pub longest_backoff: Duration,
    /// How often due work is looked for.
    #[serde(with = "humantime_serde")]
    pub tick_interval: Duration,
    /// Blocks read at once while catching up. A window is held in memory: 16 blocks of 4 MB are 64 MB.
    pub window: u32,
    /// How often a deposit is announced to governance until it is minted.
    #[serde(with = "humantime_serde")]
    pub announce_interval: Duration,
    /// How often a payout, a refund or a confirmed payout is told to chain until a block records it.
    #[serde(with = "humantime_serde")]
    pub propose_interval: Duration,
    /// How often signatures are asked for until there are enough.
    #[serde(with = "humantime_serde")]
    pub sign_interval: Duration,
    /// How often a signed payout is given to Bitcoin until it is in a block.
    #[serde(with = "humantime_serde")]
    pub broadcast_interval: Duration,
    /// How long a fee estimate is used.
    #[serde(with = "humantime_serde")]
    pub fee_interval: Duration,
    /// Blocks within which a payout should confirm, for the fee estimate.
    pub fee_target: u16,
    /// Used while bitcoind has no estimate, as on regtest. Satoshis per 1,000 virtual bytes; clamped like an estimate.
    pub fallback_fee_rate: u64,
}

/// Where bitcoind is. Give the cookie file, or a user and the file that holds the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitcoindConfig {
    /// RPC address, such as `http://127.0.0.1:8332`.
    pub url: String,
    /// The cookie that bitcoind writes at each start.
    pub cookie_file: Option<PathBuf>,
    /// RPC user, when there is no cookie.
    pub user: Option<String>,
    /// File with the RPC password.
    pub password_file: Option<PathBuf>,
    /// How long one call may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bitcoind: BitcoindConfig::default(),
            poll_interval: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(10),
            tick_interval: Duration::from_millis(250),
            window: 16,
            announce_interval: Duration::from_secs(3),
            propose_interval: Duration::from_secs(2),
            sign_interval: Duration::from_secs(3),
            broadcast_interval: Duration::from_secs(10),
            fee_interval: Duration::from_secs(60),
            fee_target: 6,
            fallback_fee_rate: 2_000,
        }
    }
}

impl Default for BitcoindConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8332".into(),
            cookie_file: None,
            user: None,
            password_file: None,
            timeout: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// What the configuration gets wrong, said for people.
    pub fn check(&self) -> Result<(), String> {
        let bitcoind = &self.bitcoind;
        let local_http = bitcoind.url.starts_with("http://") || bitcoind.url.starts_with("https://");
        let one_way_in = bitcoind.cookie_file.is_none() || (bitcoind.user.is_none() && bitcoind.password_file.is_none());
        let whole_password = bitcoind.user.is_some() == bitcoind.password_file.is_some();
        let rules = [
            (local_http, "bitcoind.url must start with http:// or https://"),
            (one_way_in, "bitcoind: give either cookie_file or user and password_file, not both"),
            (whole_password, "bitcoind: user and password_file belong together"),
            (!self.poll_interval.is_zero() && !self.tick_interval.is_zero(), "poll_interval and tick_interval must not be zero"),
            (self.window >= 1 && self.window <= 64, "window must be between 1 and 64 blocks"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(format!("[bridge] {rule}")),
            None => Ok(()),
        }
    }

    /// The intervals as the core counts them.
    pub(crate) fn intervals(&self) -> Intervals {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Intervals {
            announce: millis(self.announce_interval),
            propose: millis(self.propose_interval),
            sign: millis(self.sign_interval),
            broadcast: millis(self.broadcast_interval),
            fees: millis(self.fee_interval),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn half_a_password_is_refused() {
        assert_eq!(Config::default().check(), Ok(()));
        let mut config = Config::default();
        config.bitcoind.user = Some("alys".into());
        assert!(config.check().unwrap_err().contains("belong together"));
        config.bitcoind.password_file = Some("/secret".into());
        assert_eq!(config.check(), Ok(()));
        config.bitcoind.cookie_file = Some("/cookie".into());
        assert!(config.check().unwrap_err().contains("not both"));
    }
}
