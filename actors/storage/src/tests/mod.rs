//! Storage as a whole: a real database in a folder of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod actor;
mod backup;
mod check;
mod commit;
mod faults;
pub(crate) mod kit;
mod lease;
mod letters;
mod migrate;
mod model;
mod outbox;
mod prune;
mod real;
mod writes;
