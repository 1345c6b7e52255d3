//! Tendermint votes on Aura's schedule: the sans-IO core of malachite, fitted to this chain's types.
//!
//! The value that is voted on is a block's hash; the block itself travels beside the proposal and is judged before
//! its validity is told to malachite. That keeps votes, certificates and the log small whatever a block weighs.

pub mod codec;
pub mod context;
pub mod evidence;
pub mod machine;
pub mod verify;

pub use codec::{Gossip, WalEntry};
pub use context::{Address, Aura, BlockHeight, BlockId, ValidatorSet};
pub use evidence::Evidence;
pub use machine::{Machine, MachineError, Output, Run};
