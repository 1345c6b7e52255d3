//! Configuration of the chain role.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[chain]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// File with the ed25519 seed of this validator, 64 hex digits, readable by its owner only. None: a full node.
    pub validator_key: Option<PathBuf>,
    /// How long to wait before something that storage or the engine could not do is tried again.
    #[serde(with = "humantime_serde")]
    pub retry: Duration,
    /// How long the engine may take to execute one block.
    #[serde(with = "humantime_serde")]
    pub execution_deadline: Duration,
    /// How long storage may take to store a block or to hand out its ledger.
    #[serde(with = "humantime_serde")]
    pub storage_deadline: Duration,
    /// JSON-RPC for miners.
    pub mining: crate::rpc::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            validator_key: None,
            retry: Duration::from_millis(200),
            execution_deadline: Duration::from_secs(30),
            storage_deadline: Duration::from_secs(30),
            mining: crate::rpc::Config::default(),
        }
    }
}
