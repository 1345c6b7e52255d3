//! Everything that decides: what is on our own replayed chain, which deposit is approved, which payout is signed, and what
//! the session with the stream says. Pure: no clock, no IO; what bitcoind and the disk say comes in as evidence.

pub mod deposit;
pub mod payout;
pub mod refusal;
pub mod replay;
pub mod session;
pub mod signed;

#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
pub(crate) mod support;
#[cfg(test)]
mod tests;
