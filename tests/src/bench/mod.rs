//! The load programs behind `make bench`. Claims are ratios against a baseline measured in the same run.

pub mod call;
pub mod check;
pub mod ends;
pub mod failover;
pub mod lanes;
pub mod micro;
pub mod node;
pub mod overload;
mod own;
pub mod rejoin;
pub mod times;
pub mod top;
pub mod validators;
