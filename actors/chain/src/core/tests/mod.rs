//! Tests of the core: rules as a table, rounds of one and of four validators in one thread, crashes at every step.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, clippy::indexing_slicing)]

mod codec;
mod crashes;
mod evidence;
mod faults;
pub(crate) mod fixtures;
mod imports;
mod losses;
mod mining;
mod pegs;
mod proposals;
mod restores;
mod rules;
mod seeds;
mod simulation;
mod voting;
