//! Everything that network makes happen.

use alys_blocks::Spoken;
use alys_proto::common::CommittedBlock;
use alys_proto::network::{Handshake, PeerResponse};
use alys_proto::storage::GetBlocks;
use libp2p::{Multiaddr, PeerId};

use super::input::{AnswerId, GossipId, Token, Topic, Way};

/// What gossip does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Accept,
    /// Drop it; nobody is to blame.
    Ignore,
    /// Drop it; whoever sent it is to blame.
    Reject,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Gossip it.
    Publish {
        /// Under this topic.
        topic: Topic,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Tell gossip what becomes of a message.
    Judge {
        /// Who sent it.
        peer: PeerId,
        /// Which.
        id: GossipId,
        /// What becomes of it.
        verdict: Verdict,
    },
    /// Check a block against its certificate, off the actor's thread; then `BlockChecked`.
    CheckBlock {
        /// Who sent it.
        peer: PeerId,
        /// How it came.
        way: Way,
        /// What it claims.
        block: CommittedBlock,
    },
    /// Check whether a validator has said this, off the actor's thread; then `SpokenChecked`.
    CheckSpoken {
        /// Who sent it.
        peer: PeerId,
        /// Which message.
        id: GossipId,
        /// What it claims.
        spoken: Spoken,
    },
    /// Ask the engine to pool it; then `TransactionOffered`.
    OfferTransaction {
        /// Who sent it.
        peer: PeerId,
        /// Which message.
        id: GossipId,
        /// EIP-2718 envelope.
        transaction: Vec<u8>,
    },
    /// Tell chain.
    BlockReceived {
        /// Proven by its certificate.
        block: CommittedBlock,
        /// Who sent it.
        peer: PeerId,
    },
    /// Tell chain.
    ConsensusReceived {
        /// Said by a validator; no more is known of it.
        message: Vec<u8>,
        /// Who sent it.
        peer: PeerId,
    },
    /// Ask a peer for its handshake and give ours.
    Handshake {
        /// Whom.
        peer: PeerId,
        /// Ours.
        handshake: Handshake,
    },
    /// Answer a peer.
    Answer {
        /// Which question.
        answer: AnswerId,
        /// With what.
        response: PeerResponse,
    },
    /// Read a range for a peer; then `BlocksRead`.
    Serve {
        /// Which question.
        answer: AnswerId,
        /// Which blocks.
        request: GetBlocks,
    },
    /// Ask a peer for blocks; then `BlocksAnswered` or `DownloadFailed`.
    RequestBlocks {
        /// Of the download.
        token: Token,
        /// Whom.
        peer: PeerId,
        /// Which blocks.
        request: GetBlocks,
    },
    /// Answer sync.
    Downloaded {
        /// Of the download.
        number: u64,
        /// Blocks and who served them, or why there are none.
        outcome: Result<(Vec<CommittedBlock>, PeerId), String>,
    },
    /// A node of our chain can be found here: others may be told.
    Routable {
        /// Who.
        peer: PeerId,
        /// Where.
        address: Multiaddr,
    },
    /// Dial.
    Dial(Multiaddr),
    /// Close every connection with a peer.
    Disconnect {
        /// Whom.
        peer: PeerId,
        /// For the log.
        reason: String,
    },
    /// Refuse connections with a peer, or allow them again.
    Ban {
        /// Whom.
        peer: PeerId,
        /// Refuse, or allow again.
        banned: bool,
    },
}
