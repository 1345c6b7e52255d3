//! The network role: the libp2p swarm by which clusters of different operators meet.
//!
//! In: `network.proto`, and peers. Out: `BlockReceived` and `ConsensusMessage` to chain, `ProcessTransaction` to the
//! engine, `ServeRange` to sync, gossip and answers to peers.
//!
//! - Gossip is signed by its sender and checked before it is forwarded; blocks against their certificate.
//! - Two peers exchange a handshake (chain, genesis, head) before anything else.
//! - Whatever a stranger sends costs us bounded work and him score; it never stops the role.
//! - On restart everything is rebuilt from the configuration; only the identity is on disk.

mod actor;
mod config;
pub mod core;
mod io;
mod metrics;
#[cfg(test)]
mod tests;

pub use actor::{Local, NetworkActor, Peers};
pub use config::Config;
pub use io::local_peer_id;
pub use metrics::Metrics;
