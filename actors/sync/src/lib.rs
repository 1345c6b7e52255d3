//! The sync role: brings a cluster that is behind to the head of its peers, and serves ranges to those that are behind.
//!
//! In: `sync.proto`. Out: `ParallelBlockDownloadRequest` and `ReportPeer` to network, `ValidatedBlockBatch` to chain,
//! reads to storage.
//!
//! - Any number of instances: the first live one by name leads, all of them work. The leader cuts what is missing into
//!   pieces, workers pull them, fetch and check them, and the leader hands them to chain in order.
//! - What a peer served is checked before chain sees it; a bad range is blamed on the peer.
//! - Nothing is kept here: the head in storage is the checkpoint, so a restart, or another leader, goes on where it was.

mod actor;
mod config;
pub mod core;
mod metrics;
mod team;
#[cfg(test)]
mod tests;

pub use actor::{Local, Peers, SyncActor};
pub use config::Config;
pub use metrics::Metrics;
pub use team::Team;
