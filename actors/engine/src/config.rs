//! What an operator may set about the engine: section `engine`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{client, pool, rpc};

/// What executes blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The EVM in this process.
    #[default]
    Embedded,
    /// An execution client of the operator's, over the Engine API.
    EngineApi,
}

/// Configuration of the engine role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What executes blocks: `embedded`, or `engine-api` for a Geth, Reth or the like.
    pub backend: Backend,
    /// The execution client of `engine-api`.
    pub client: client::Config,
    /// Folder of the database; made when absent.
    pub data_dir: PathBuf,
    /// Memory for cached pages, bytes.
    pub cache_size: u64,
    /// Keep what is needed to reopen at once after a crash, however large the database. Costs a second fsync per
    /// block; without it a reopen after a crash reads the whole file.
    pub quick_repair: bool,
    /// Bounds of the transaction pool.
    pub pool: pool::Limits,
    /// JSON-RPC for wallets.
    pub rpc: rpc::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            client: client::Config::default(),
            data_dir: PathBuf::from("data/engine"),
            cache_size: 64 << 20,
            quick_repair: true,
            pool: pool::Limits::default(),
            rpc: rpc::Config::default(),
        }
    }
}
