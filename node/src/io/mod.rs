//! The doors of the command line: JSON-RPC to bitcoind and to the engine, tables on the terminal.

pub mod rpc;
pub mod table;
