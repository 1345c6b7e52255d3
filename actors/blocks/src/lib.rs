//! Consensus objects: what validators hash, sign and gossip. SSZ, hashed with tree hash under a domain per type and chain.
//!
//! Nothing local goes into a block: two honest nodes that hold the same blocks agree on everything that follows from them.
//! Protobuf never enters here; inside the cluster these types travel as their SSZ bytes.

pub mod block;
pub mod certificate;
pub mod claims;
pub mod committed;
pub mod domain;
pub mod limits;
pub mod payload;
pub mod spec;
pub mod spoken;
pub mod testing;

pub use block::{BitcoinView, Block, Body, Header};
pub use certificate::{Certificate, CertificateError, CommitSignature, Proposal, ValidatorId, Vote, VoteKind};
pub use claims::{BurnRef, Payout, PegIn, Refund, Settlement};
pub use committed::{Committed, CommittedFault, CommittedRules};
pub use domain::ChainDomain;
pub use payload::{decode_payload, encode_payload};
pub use spec::ChainSpec;
pub use spoken::{Spoken, SpokenFault};

use alloy_primitives::{Address, address};

/// Where fees go: nobody has its key. Fees are re-minted as rewards from the chain's own books, never from this account.
pub const FEE_SINK: Address = address!("0xfeEFEEfeefEeFeefEEFEEfEeFeefEEFeeFEEFEeF");

/// The bridge contract, in genesis.
pub const BRIDGE_CONTRACT: Address = address!("0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB");

/// Version of the block rules. Rules change by activation height, never in place.
pub const BLOCK_VERSION: u64 = 1;
