//! Executes the sidechain's EVM blocks, with Ethereum's rules (Cancun), and shows them to wallets over JSON-RPC.
//!
//! ```text
//!  mailbox ─▶ actor ─▶ engine ─▶ core (rules, trie, EVM)         rpc ─▶ StateReader ─▶ latest snapshot
//!                        │                                        │
//!                        └─▶ io (redb: state, tries, blocks)      └─▶ pool ◀─ actor (build, commit)
//! ```
//! Job: build, execute, commit blocks; pool transactions. Messages in: `proto/alys/engine.proto`. Told: bridge,
//! `BurnEventDetected` after a commit with burns. On restart: the database holds the committed head with its state;
//! what was executed but not committed is executed again when the chain asks.

pub mod actor;
pub mod client;
pub mod config;
pub mod core;
pub mod engine;
pub mod io;
mod metrics;
pub mod pool;
pub mod rpc;
#[cfg(test)]
mod testing;

pub use actor::{EngineActor, Peers};
pub use client::ClientActor;
pub use config::{Backend, Config};
pub use io::reader::StateReader;
pub use metrics::Metrics;
