//! The engine's disk: one redb file.

pub mod codec;
pub mod commit;
pub mod history;
pub mod reader;
pub mod snapshot;
pub mod store;
pub mod tables;
