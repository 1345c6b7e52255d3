//! Rules without clock, processes or randomness.

pub mod drain;
pub mod effect;
pub mod exit;
pub mod input;
pub mod policy;
pub mod state;
pub mod verdict;
