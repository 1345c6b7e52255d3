//! Everything that crosses a process boundary: the `.proto` files of the roles, their typed inboxes, the governance
//! gRPC service, and the newtypes for what a bare number must not be.
//!
//! A role's `.proto` service is its whole mailbox. A method that returns `Told` is told (fire and forget), every
//! other one is asked. `build.rs` makes an `Inbox` enum of each service; see [`wire`] for its traits.

pub mod cause;
pub mod describe;
pub mod link;
pub mod permission;
pub mod role;
pub mod units;
pub mod wire;

/// What prost and tonic generate. Documented in the `.proto` files.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::as_conversions,
    clippy::doc_markdown,
    clippy::doc_lazy_continuation,
    clippy::large_enum_variant,
    clippy::derive_partial_eq_without_eq
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use cause::Cause;
pub use generated::alys::{BackpressureStrategy, Delivery, Lane};
pub use generated::alys::{bridge, chain, cluster, common, engine, governance, network, storage, stream, supervisor, sync};
pub use permission::may_send;
pub use prost::Message;
pub use role::Role;
pub use units::{Epoch, Height, Sats, Slot, Wei};
pub use wire::{Ask, Inbox, Post, Refused, Reply, Tell};

/// Version of the message schema. A build reads its own and the one before it.
pub const SCHEMA: u32 = 1;
