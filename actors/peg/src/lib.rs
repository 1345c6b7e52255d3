//! The rules of the two-way peg, as pure functions and one fold: no IO, no clock, no randomness.
//!
//! Shared by chain (consensus rules), bridge (what to propose and broadcast), governance (what to sign) and storage.
//! Each rule cites its invariant (`[PEG-4]`, see [`PegInvariant`]). Everything that comes from outside is decoded into a
//! type here and refused with a reason enum.
//!
//! | question | answered by |
//! |---|---|
//! | Which outputs of this Bitcoin transaction are deposits? | [`deposit::find`] |
//! | Is this deposit in that Bitcoin block? | [`proof::verify`] |
//! | What has been minted, burned, paid? | [`Ledger`], a fold over [`Fact`]s |
//! | What is the next payout? Is this the one? | [`payout::plan`], [`payout::check`] |
//! | May this burn go back? | [`refund::check`], [`refund::due`] |
//! | Which withdrawals must the payload have? | [`withdrawals::justified`] |
//! | Are the peg claims of a whole block right? | [`block::judge`] |
//! | Does the federation stand behind this decision? | [`record::check`] |
//! | What is signed, by whom, and when is it enough? | [`signing::Session`] |

pub mod block;
pub mod burn;
pub mod deposit;
pub mod fact;
pub mod federation;
pub mod invariants;
pub mod ledger;
pub mod payout;
pub mod proof;
pub mod record;
pub mod refund;
pub mod rules;
pub mod signing;
pub mod withdrawals;

mod bytes;
mod claims;
mod wire;

pub use alys_blocks::{BitcoinView, BurnRef};
pub use block::{BlockRefusal, Judged};
pub use burn::{Burn, PayableBurn, RefundReason};
pub use bytes::{txid_from_bytes, txid_to_bytes};
pub use claims::ClaimTooLarge;
pub use deposit::{Deposit, InvalidDeposit, InvalidReason};
pub use fact::{Fact, Minted, PayoutRecorded, PayoutSettled, Refunded};
pub use federation::{Federation, FederationError};
pub use invariants::{PegInvariant, Violations};
pub use ledger::{BurnState, Coin, Ledger, Payout, Violation};
pub use payout::{NoPayout, PayoutPlan, PayoutRefusal};
pub use proof::{InclusionProof, PegInProof, ProofRefusal, VerifiedDeposit};
pub use record::{Action, Ballot, Decision, Record, RecordRefusal};
pub use rules::{FeeRate, PegRules};
pub use signing::{InputSignature, Session, SignatureRefusal, SigningError};
pub use wire::WireError;
pub use withdrawals::Withdrawal;

#[cfg(test)]
mod tests;
