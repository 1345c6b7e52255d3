//! Network as a whole: core scripts, and real roles on loopback.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod core;
pub(crate) mod kit;
mod misuse;
mod roles;
mod speed;
