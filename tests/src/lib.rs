//! The harness: real processes around the code under test, and the programs behind `make demo` and `make bench`.

pub mod bench;
pub mod bitcoind;
pub mod by_hand;
pub mod cluster;
pub mod demo;
pub mod disk;
pub mod ethereum;
pub mod execution_client;
pub mod lab;
pub mod liar;
pub mod manifests;
pub mod node;
pub mod peg;
pub mod processes;
pub mod sidechain;
pub mod terminal;
pub mod traffic;
pub mod twin;
pub mod validators;
pub mod watch;
