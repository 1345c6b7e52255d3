//! What sync decides without a network: what to fetch next, what a range must be, when to try again.

pub mod range;
pub mod state;

pub use range::{RangeFault, Tip, check};
pub use state::{Effect, Input, Phase, Settings, State};
