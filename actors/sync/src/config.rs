//! What an operator may set about sync.

use std::time::Duration;

use alys_cluster::ActorError;
use serde::{Deserialize, Serialize};

/// Configuration of the sync role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Blocks asked for at once; a peer sends at most 8 MiB of them.
    pub batch_blocks: u32,
    /// Pieces of `batch_blocks` that may be fetched ahead of chain, by all workers together.
    pub window: u32,
    /// Ranges that are read for peers at once.
    pub max_serving: u32,
    /// Wait after the first failure; doubles with every further one.
    #[serde(with = "humantime_serde")]
    pub retry_min: Duration,
    /// Longest such wait.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
    /// How long a peer may take for a range.
    #[serde(with = "humantime_serde")]
    pub download_timeout: Duration,
    /// How long chain may take to import a batch.
    #[serde(with = "humantime_serde")]
    pub import_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_blocks: 64,
            window: 8,
            max_serving: 8,
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            download_timeout: Duration::from_secs(30),
            import_timeout: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Rules that the types do not state.
    pub fn check(&self) -> Result<(), ActorError> {
        let rules = [
            (self.batch_blocks >= 1 && self.batch_blocks <= 1_024, "sync.batch_blocks must be between 1 and 1024"),
            (self.window >= 1 && self.window <= 64, "sync.window must be between 1 and 64"),
            (self.max_serving >= 1 && self.max_serving <= 64, "sync.max_serving must be between 1 and 64"),
            (
                !self.retry_min.is_zero() && self.retry_min <= self.retry_max,
                "sync.retry_min must be above zero and at most sync.retry_max",
            ),
            (!self.download_timeout.is_zero(), "sync.download_timeout must be above zero"),
            (!self.import_timeout.is_zero(), "sync.import_timeout must be above zero"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ActorError::Configuration((*rule).to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_checked() {
        assert!(Config::default().check().is_ok());
        assert!(Config { batch_blocks: 0, ..Config::default() }.check().is_err());
        assert!(Config { max_serving: 0, ..Config::default() }.check().is_err());
        assert!(Config { retry_min: Duration::from_secs(60), ..Config::default() }.check().is_err());
    }
}
