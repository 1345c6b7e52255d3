//! The only door outside: processes, their output, the lifeline.

pub mod child;
pub mod console;
pub mod lifeline;
pub mod look;
pub mod output;
