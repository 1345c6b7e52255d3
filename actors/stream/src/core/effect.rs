//! What leaves the core.

use alys_proto::bridge::FederationSignatures;
use alys_proto::chain::PegInValidationRequest;
use alys_proto::governance::ToMember;
use alys_proto::link::ForgedAcknowledgement;

use super::deposits::OutPointKey;
use super::input::{ConnectionId, MemberName, RouteId};

/// Why a connection is closed. The member reads it in the gRPC status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The certificate names nobody of the federation.
    #[error("not a member of this federation")]
    NotAMember,
    /// Certificate and registration name different members.
    #[error("the certificate is for `{certificate}`, the registration for `{registered}`")]
    WrongName {
        /// In the certificate.
        certificate: String,
        /// In the registration.
        registered: String,
    },
    /// The federation has another key for this member.
    #[error("the federation key is not the one registered for this member in the chain specification")]
    WrongKey,
    /// Chain id or genesis hash differ.
    #[error("another chain: chain id or genesis hash differ, so the chain specifications differ")]
    WrongChain,
    /// A second registration on one stream.
    #[error("registered twice on one stream")]
    RegisteredTwice,
    /// A number where none belongs, or none where one does.
    #[error("heartbeats have number 0, everything else a number above 0")]
    BadNumber,
    /// A message is missing.
    #[error("expected message {expected}, got {got}: connect again and resume")]
    Gap {
        /// What should have come.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// Acknowledged what was never sent.
    #[error("{0}")]
    ForgedAcknowledgement(ForgedAcknowledgement),
    /// Too much is waiting for other roles: nothing is lost, connect again and resume.
    #[error("busy: connect again and resume")]
    Busy,
    /// The same member connected again.
    #[error("displaced by a newer connection of the same member")]
    Displaced,
    /// Nothing was heard for too long.
    #[error("no heartbeat within the deadline")]
    Silent,
}

impl CloseReason {
    /// Whether the member broke the protocol, as opposed to bad luck or bad configuration.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::RegisteredTwice | Self::BadNumber | Self::Gap { .. } | Self::ForgedAcknowledgement(_))
    }
}

/// A governance record on its way to the role it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutedMessage {
    /// → chain `GovernanceBlockProposal`.
    BlockProposal(Vec<u8>),
    /// → bridge `FederationConfigUpdate`.
    FederationUpdate(Vec<u8>),
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send to a member.
    Send {
        /// Where.
        connection: ConnectionId,
        /// What.
        message: ToMember,
    },
    /// End a connection.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// Enough members approved: ask chain. Answered by `ChainAnswered`.
    ValidatePegIn {
        /// The deposit.
        outpoint: OutPointKey,
        /// The question.
        request: PegInValidationRequest,
    },
    /// A member signed: ask bridge. Answered by `BridgeAnswered`.
    DeliverSignatures {
        /// Whose.
        member: MemberName,
        /// For what.
        txid: [u8; 32],
        /// The question.
        request: FederationSignatures,
    },
    /// Hand a governance record on. Answered by `RouteAnswered`.
    Route {
        /// Its id.
        route: RouteId,
        /// What.
        message: RoutedMessage,
    },
}
