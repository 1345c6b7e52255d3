//! Tests of merged mining: proofs of real chains, each rule broken on purpose, random values, foreign bytes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod bits;
mod bundle;
mod chain_id;
mod check;
mod claim;
mod proof;
mod retarget;
mod settlement;
mod support;
mod tree;
mod vectors;
