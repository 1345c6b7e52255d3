//! The rules of the bridge: plain synchronous Rust. Time, Bitcoin's blocks and everybody's answers come in as [`Input`];
//! what is to be done goes out as [`Effect`].

pub mod documents;
pub mod effect;
pub mod follow;
pub mod input;
pub mod sightings;
pub mod state;
pub mod validate;

mod deposits;
mod figures;
mod hex_bytes;
mod payouts;
mod show;
mod signatures;
mod turns;

pub use effect::Effect;
pub use figures::Figures;
pub use follow::{BlockRef, Extension};
pub use input::{Input, Millis};
pub use state::{Rules, State};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
