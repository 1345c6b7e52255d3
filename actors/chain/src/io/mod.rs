//! The doors to the outside: the other roles, the key file, the clock.

pub(crate) mod boot;
pub(crate) mod bridge;
pub(crate) mod clock;
pub(crate) mod engine;
pub(crate) mod key;
