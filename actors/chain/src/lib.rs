//! The chain role: consensus about blocks, and the one path by which they become final.
//!
//! [`core`] decides, `actor` carries out, `io` holds the doors to the other roles, the key file and the clock.

pub mod core;

mod actor;
mod config;
mod held;
mod io;
mod metrics;
mod rpc;
mod shell;
mod trail;

pub use actor::{ChainActor, Peers};
pub use config::Config;
pub use metrics::Metrics;
pub use rpc::{Config as MiningConfig, methods as mining_methods};

#[cfg(test)]
mod actor_tests;
