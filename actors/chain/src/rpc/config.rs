//! Settings of the JSON-RPC for miners: section `chain.mining`.

use std::net::SocketAddr;
use std::path::PathBuf;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// Where and for whom it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port; none: miners are not served. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// File with `user:password`, readable by its owner only, that callers must give by HTTP basic authentication. None:
    /// whoever reaches the port may call.
    pub auth_file: Option<PathBuf>,
    /// Who is paid for work that `getauxblock` hands out; `createauxblock` names its own.
    pub fee_recipient: Option<Address>,
}
