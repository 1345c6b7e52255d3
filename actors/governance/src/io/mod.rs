//! The only doors to the outside: bitcoind, the sidechain node, the disk.

pub(crate) mod bitcoin;
pub mod key;
pub(crate) mod sidechain;
pub mod store;

#[cfg(test)]
mod store_tests;
