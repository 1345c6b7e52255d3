//! What network decides without a socket: who is a peer, what may be forwarded, who is banned, whom to dial next.

pub mod bootnodes;
pub mod effect;
pub mod gossip;
mod gossiped;
pub mod handshake;
mod heads;
pub mod input;
pub mod limits;
pub mod peers;
mod ranges;
mod reach;
pub mod seen;
pub mod speed;
pub mod state;

pub use effect::{Effect, Verdict};
pub use input::{AnswerId, GossipId, Input, Millis, Token, Topic, Way};
pub use state::{Settings, State};
