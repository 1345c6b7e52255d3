//! The supervisor role: which processes should run, which of them to restart and when, in which order all of them stop.
//!
//! `core/` holds the verdicts and the state machine, `io/` holds child processes, `actor.rs` joins them to the mesh.
//! Losing the supervisor loses nothing: it has no state of its own that matters.

pub mod config;
pub mod core;
pub mod io;

pub mod supervision;

mod actor;
mod adoption;
mod looking;
mod metrics;
mod ordering;
mod rolling;
mod show;
mod shutdown;
mod wards;
mod words;

pub use actor::{Local, Plan, SupervisorActor};
pub use config::Config;
pub use io::child::ChildSpec;
pub use io::console::Console;
pub use io::look::{Peers, Said, Seen};
pub use metrics::Metrics;
pub use supervision::Supervision;
