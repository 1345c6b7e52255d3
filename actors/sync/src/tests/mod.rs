//! Sync as a whole: its core by scripts, its role between probes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod core;
pub(crate) mod kit;
mod role;
