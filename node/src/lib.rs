//! `alys`: command line, configuration, first run, and the wiring of every role.

pub mod cli;
pub mod config;
pub mod debug;
pub mod failure;
pub mod generate;
pub mod io;
pub mod miner;
pub mod prepare;
pub mod wiring;
