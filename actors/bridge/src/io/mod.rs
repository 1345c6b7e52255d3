//! The only door to the outside: bitcoind, the wallet library, and the queue in which effects leave.

pub mod bitcoind;
pub mod error;
pub mod follower;
pub mod outbox;
pub mod wallet;

#[cfg(test)]
pub(crate) mod tests;
