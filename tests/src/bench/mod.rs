//! The load programs behind `make bench`. Claims are ratios against a baseline measured in the same run.

pub mod call;
pub mod ends;
pub mod node;
pub mod top;
