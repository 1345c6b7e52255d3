//! An execution client of the operator's (Geth, Reth, any that speaks the Engine API) in place of the embedded EVM.
//!
//! ```text
//!  mailbox ─▶ actor ─▶ engine ─▶ call ── Engine API, with a token ──▶ execution client
//!                                  └──── Eth JSON-RPC ───────────────▶        │
//!  wallets ─▶ wallets (passes calls on, hears what was sent) ─────────────────┘
//! ```
//! The role answers the same messages as the embedded engine and gives the same block hash for the same input. What a
//! client says is checked as far as a header lets us: hashes, rules of the chain, and receipts against their root.
//!
//! | our message | Engine API | the client says | we answer |
//! |---|---|---|---|
//! | `BuildBlockRequest` | `forkchoiceUpdatedV3` on the head with attributes, `getPayloadV3`, `newPayloadV3` | a payload that keeps the rules | template |
//! | `ExecuteBlock` | `newPayloadV3` | `VALID`, `INVALID` | valid, invalid with its reason |
//! | | | `SYNCING`, `ACCEPTED` | the parent is unknown: chain replays from storage |
//! | `CommitExecution` | `forkchoiceUpdatedV3`: head, safe and finalized are one | `VALID` | head |
//! | `GetExecutionHead` | `eth_getBlockByNumber` | the finalized block, or the latest where that was forgotten | head |
//! | any | | nothing, or an error | not ready, with the reason: ask again |

mod actor;
mod answer;
mod call;
mod config;
mod engine;
mod metrics;
mod receipts;
mod token;
mod wallets;

pub use actor::ClientActor;
pub use call::{CallError, Client};
pub use config::Config;
pub use engine::{Built, ClientEngine, Committed, Failure};
pub use metrics::Metrics;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
