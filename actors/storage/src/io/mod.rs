//! The only door to the disk: one redb database.

mod fault;
mod leases;
pub(crate) mod letters;
pub(crate) mod migrate;
mod open;
pub(crate) mod outbox;
mod read;
mod tables;
mod write;
mod writer;

pub use fault::Fault;
pub(crate) use open::{DATABASE_FILE, Store};
pub(crate) use read::AnswerTooLong;
pub(crate) use writer::{Job, Progress, Writer};
