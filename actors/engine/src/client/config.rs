//! Settings of an execution client: section `engine.client`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the execution client is. Used when `engine.backend` is `engine-api`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Its Engine API, such as `http://127.0.0.1:8551`.
    pub engine_url: String,
    /// Its Eth JSON-RPC, such as `http://127.0.0.1:8546`. Another port than `engine.rpc.listen`, where wallets call us.
    pub rpc_url: String,
    /// The secret that both share: 64 hex digits, the file that the client is started with as `--authrpc.jwtsecret`.
    pub jwt_file: Option<PathBuf>,
    /// How long one call may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How long the client may gather transactions for a block, within what chain allows.
    #[serde(with = "humantime_serde")]
    pub build_time: Duration,
    /// How often the client is asked whether it is there.
    #[serde(with = "humantime_serde")]
    pub watch_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine_url: "http://127.0.0.1:8551".into(),
            rpc_url: "http://127.0.0.1:8546".into(),
            jwt_file: None,
            timeout: Duration::from_secs(8),
            build_time: Duration::from_millis(200),
            watch_interval: Duration::from_secs(2),
        }
    }
}
