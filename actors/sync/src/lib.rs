//! The sync role: brings a cluster that is behind to the head of its peers, and serves ranges to those that are behind.
//!
//! In: `sync.proto`. Out: `ParallelBlockDownloadRequest` and `ReportPeer` to network, `ValidatedBlockBatch` to chain,
//! reads to storage.
//!
//! - One range after the other: head from storage, blocks from a peer, certificates and links checked, then chain.
//! - What a peer served is checked before chain sees it; a bad range is blamed on the peer.
//! - Nothing is kept here: the head in storage is the checkpoint, so a restart goes on where it was.

mod actor;
mod config;
pub mod core;
mod metrics;
#[cfg(test)]
mod tests;

pub use actor::{Local, Peers, SyncActor};
pub use config::Config;
pub use metrics::Metrics;
