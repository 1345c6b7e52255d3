//! The only door outside: processes, their output, the lifeline, what was ordered.

pub mod birth;
pub mod child;
pub mod console;
pub mod desired;
pub mod kubernetes;
pub mod lifeline;
pub mod look;
pub mod output;
pub mod record;
pub mod systemd;
