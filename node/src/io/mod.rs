//! The doors of the command line: JSON-RPC to bitcoind and to the engine, tables on the terminal,
//! and what a running node leaves for the other commands.

pub mod live;
pub mod rpc;
pub mod table;
