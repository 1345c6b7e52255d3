//! Tests of the peg's rules: a table per decision, each rule broken on purpose, random sequences, foreign bytes.
//! Names of former incidents elsewhere (design card 4) are the names of the tests that keep them out.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions)]

mod block;
mod burn;
mod deposit;
mod federation;
mod ledger;
mod payout;
mod proof;
mod random;
mod record;
mod signing;
mod support;
mod wire;
mod withdrawals;
mod work;
