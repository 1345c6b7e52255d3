//! What enters the core.

use alys_proto::bridge::SignatureVerdict;
use alys_proto::chain::PegInVerdict;
use alys_proto::common::PegInProof;
use alys_proto::governance::{FromMember, Register};
use alys_proto::stream::RequestFederationSignatures;

use super::deposits::OutPointKey;

/// Unix milliseconds of a clock that never goes back while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// Time passed since `earlier`, as a length.
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus a length.
    pub const fn after(self, length: Self) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

/// One gRPC stream. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Name of a federation member, as in the chain specification and in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName(pub String);

/// A message that is on its way to chain or bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteId(pub u64);

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What it says of itself.
    pub register: Register,
    /// The highest number of ours that it acted on.
    pub acknowledged: u64,
}

/// How another role answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered<T> {
    /// It answered.
    Reply(T),
    /// It did not (away, busy, starting): ask again later.
    Passing(String),
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection whose TLS handshake proved the name, with its first message.
    Connected {
        /// Its id.
        connection: ConnectionId,
        /// Common name of its certificate.
        certificate_name: String,
        /// Its first message.
        registration: Registration,
    },
    /// A later message.
    Received {
        /// Where from.
        connection: ConnectionId,
        /// What.
        message: FromMember,
    },
    /// The stream ended.
    Disconnected {
        /// Which.
        connection: ConnectionId,
    },
    /// From bridge, repeated until minted.
    DepositDetected(PegInProof),
    /// From bridge, repeated until complete.
    SignaturesRequested(RequestFederationSignatures),
    /// From bridge.
    SigningFinished {
        /// The payout's txid.
        txid: Vec<u8>,
    },
    /// From chain.
    Finalized {
        /// Height of the new head.
        height: u64,
        /// Its hash.
        hash: Vec<u8>,
    },
    /// Chain's answer to [`super::Effect::ValidatePegIn`].
    ChainAnswered {
        /// The deposit.
        outpoint: OutPointKey,
        /// The answer.
        answer: Answered<PegInVerdict>,
    },
    /// Bridge's answer to [`super::Effect::DeliverSignatures`].
    BridgeAnswered {
        /// Whose signatures.
        member: MemberName,
        /// For what.
        txid: [u8; 32],
        /// The answer.
        answer: Answered<SignatureVerdict>,
    },
    /// The answer to [`super::Effect::Route`]; a reply ends it, whatever it says.
    RouteAnswered {
        /// Which.
        route: RouteId,
        /// The answer.
        answer: Answered<()>,
    },
    /// Every few hundred milliseconds.
    Tick,
}
