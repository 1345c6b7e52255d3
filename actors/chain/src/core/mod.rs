//! The pure core of the chain role: consensus, block rules, what to propose, when to commit.
//!
//! [`State::step`] takes an [`Input`] with the time it arrived and returns [`Effect`]s in the order in which they must be
//! carried out: what has to be on disk stands before what says it.
//!
//! | file | decides |
//! |---|---|
//! | [`consensus`] | malachite on this chain's types: rounds, votes, log |
//! | [`rules`] | whether a block breaks a rule |
//! | `rounds` | what consensus wants done; messages of other validators |
//! | `building` | our own blocks |
//! | `judging` | others' blocks: rules, execution, bitcoind |
//! | `importing` | committed blocks that come from outside |
//! | `committing` | the one path by which the head moves |
//! | `claims` | peg claims that wait for a block |
//! | `mining` | what miners are handed, and the bundle that waits for a block |

pub mod consensus;
pub mod effect;
pub mod input;
pub mod rules;
pub mod slots;

mod building;
mod claims;
mod committing;
mod importing;
mod judging;
mod mining;
mod rounds;
mod state;

#[cfg(test)]
pub(crate) mod tests;

pub use effect::{Answer, Commit, Effect, HaltReason, Note, PegCheck, TemplateRequest};
pub use input::{
    Claim, ClaimId, EngineFailure, Execution, ImportedBlock, Input, PegSubject, PegVerdict, Template, Ticket, Timer,
};
pub use mining::{AuxBlock, WorkStatus};
pub use slots::Millis;
pub use state::{Boot, State, StateError, Status};
