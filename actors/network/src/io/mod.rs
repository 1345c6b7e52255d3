//! The only door to the outside: the libp2p swarm, in a task of its own.

mod behaviour;
mod codec;
mod counted;
mod identity;
mod listen;
mod translate;
mod unfinished;

mod task;

pub(crate) use behaviour::{build, topics};
pub(crate) use identity::load_or_create;
pub use identity::local_peer_id;
pub(crate) use listen::listen;
pub(crate) use task::{Command, Event, Swarm};
pub(crate) use unfinished::Unfinished;
