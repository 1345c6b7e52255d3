//! The bridge role: follows Bitcoin's best chain, finds deposits, makes and broadcasts payouts, and says of every peg claim
//! in a proposed block whether it holds on Bitcoin.
//!
//! [`core`] decides, [`BridgeActor`] carries messages, [`io`] talks to bitcoind and holds the wallet library.

pub mod actor;
pub mod config;
pub mod core;
pub mod io;

mod load;
mod metrics;
mod trail;
mod validation;

pub use actor::{BridgeActor, Peers};
pub use config::{BitcoindConfig, Config};
pub use metrics::Metrics;

#[cfg(test)]
mod tests;
