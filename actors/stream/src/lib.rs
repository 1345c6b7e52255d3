//! `stream`: the gRPC streams to the governance nodes (federation members).
//!
//! ```text
//!  bridge ──BitcoinTransactionDetected──▶        ──GovernanceApprovalRequest──▶
//!  bridge ──RequestFederationSignatures─▶ stream ──RequestFederationSignatures─▶ governance nodes
//!  chain  ──FinalizedBlock──────────────▶   │    ◀──Approval · Signatures · Refusal──
//!                                           ├──PegInValidationRequest──▶ chain     (at the threshold, repeated until accepted)
//!                                           ├──FederationSignatures────▶ bridge    (each member's, repeated until answered)
//!                                           └──routed by payload: block_proposal ▶ chain, federation_update ▶ bridge
//! ```
//! Members authenticate with TLS 1.3 client certificates whose common name is their name in the chain specification, and
//! register with the key that the specification has for them. A session survives drops: see [`alys_proto::link`].
//! On restart the role knows nothing; everything open is repeated by bridge and asked again.

pub mod core;

mod actor;
mod config;
mod io;
mod metrics;
mod trail;

pub use actor::{Local, Peers, StreamActor};
pub use config::{Config, TlsFiles};
pub use io::Outbound;
pub use metrics::Metrics;
