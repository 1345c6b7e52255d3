//! Settings of the JSON-RPC server: section `engine.rpc`.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where and for whom JSON-RPC listens. The same port serves HTTP and WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Most connections at the same time; further ones are answered with 429.
    pub max_connections: u32,
    /// Origins of web pages that may call: `*` for all, none for none.
    pub cors: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8545)), max_connections: 256, cors: Vec::new() }
    }
}
