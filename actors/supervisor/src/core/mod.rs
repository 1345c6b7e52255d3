//! Rules without clock, processes or randomness.

pub mod desired;
pub mod drain;
pub mod effect;
pub mod exit;
pub mod generation;
pub mod impact;
pub mod input;
pub mod instance;
pub mod office;
pub mod orders;
pub mod owner;
pub mod platform;
pub mod policy;
pub mod roll;
pub mod state;
pub mod verdict;
