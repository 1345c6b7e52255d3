//! JSON-RPC for miners, in the form that Namecoin introduced: `createauxblock`, `submitauxblock`, `getauxblock`.
//!
//! It asks the role's own mailbox, like anybody else: what miners send is handled in turn and cannot overtake blocks.

mod auth;
mod config;
mod methods;
mod server;

pub use config::Config;
pub use methods::all as methods;
pub(crate) use server::{ServerHandle, serve};

#[cfg(test)]
mod tests;
