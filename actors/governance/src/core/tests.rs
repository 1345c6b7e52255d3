//! Tables of the core: each reason for a refusal is provoked by breaking one rule on purpose.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, clippy::expect_used)]

mod deposit;
mod payout;
mod replay;
mod session;
mod signed;
