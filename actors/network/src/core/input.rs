//! Everything that can happen to network.

use alys_blocks::SpokenFault;
use alys_proto::common::CommittedBlock;
use alys_proto::network::Handshake;
use alys_proto::storage::GetBlocks;
use libp2p::{Multiaddr, PeerId};

use super::gossip::GossipFault;

/// Milliseconds since the role started.
pub type Millis = u64;

/// One of our questions to a peer for blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// Sync waits for the answer.
    Range(u64),
    /// The peer's head, which it has to show; one at a time.
    Head(PeerId),
}

/// A peer's question that waits for our answer.
pub type AnswerId = u64;

/// What is gossiped. Each chain has its own topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Final blocks with their certificates.
    Blocks,
    /// Votes and proposals.
    Consensus,
    /// Pooled transactions.
    Transactions,
}

/// Identifies a gossiped message until its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipId(pub Vec<u8>);

/// How a block came that has to prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As gossip, which wants a verdict.
    Gossip(GossipId),
    /// As the head that a peer has claimed.
    Head,
}

/// What the engine says of a gossiped transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// It is in the pool now.
    Pooled,
    /// It cannot be pooled here: known, stale, underpriced.
    Refused,
    /// The engine did not answer.
    Unknown,
}

/// What can happen.
#[derive(Debug)]
pub enum Input {
    /// Time goes on. Comes about once a second.
    Tick {
        /// Now.
        now: Millis,
        /// For jitter.
        random: u64,
    },
    /// Storage or chain says what our head is.
    HeadKnown {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: Vec<u8>,
    },
    /// Chain: a block of ours is final.
    Finalized(CommittedBlock),
    /// Chain: a consensus message of ours.
    Consensus(Vec<u8>),
    /// Engine: a pooled transaction.
    Transaction(Vec<u8>),
    /// Sync wants a range.
    Download {
        /// To answer with.
        number: u64,
        /// First height.
        from_height: u64,
        /// How many.
        count: u32,
        /// Now.
        at: Millis,
    },
    /// Sync found what a peer served to be bad.
    Reported {
        /// Who served it.
        peer: PeerId,
        /// What was wrong.
        reason: String,
    },
    /// We listen here now.
    Listening(Multiaddr),
    /// We do not listen here any more.
    NotListening(Multiaddr),
    /// A connection is up.
    Connected {
        /// With whom.
        peer: PeerId,
        /// Where.
        address: Multiaddr,
        /// We dialled.
        outbound: bool,
    },
    /// The last connection with a peer is gone.
    Disconnected {
        /// Who.
        peer: PeerId,
    },
    /// A peer says what it runs.
    Identified {
        /// Who.
        peer: PeerId,
        /// Software and version.
        agent: String,
        /// Where it says that it listens.
        addresses: Vec<Multiaddr>,
    },
    /// A peer answers a ping.
    Pong {
        /// Who.
        peer: PeerId,
        /// How long it took.
        micros: u64,
    },
    /// A peer asks for a handshake and gives its own.
    HandshakeAsked {
        /// Who.
        peer: PeerId,
        /// Its own.
        handshake: Handshake,
        /// Where our answer goes.
        answer: AnswerId,
    },
    /// A peer answers our handshake.
    HandshakeAnswered {
        /// Who.
        peer: PeerId,
        /// Its own.
        handshake: Handshake,
    },
    /// A peer asks for blocks.
    BlocksAsked {
        /// Who.
        peer: PeerId,
        /// Which.
        request: GetBlocks,
        /// Where our answer goes.
        answer: AnswerId,
    },
    /// A range for a peer has been read, or could not be.
    BlocksRead {
        /// Where it goes.
        answer: AnswerId,
        /// What it is.
        blocks: Result<Vec<CommittedBlock>, String>,
    },
    /// An answer of ours is over: the peer has it, or it will never have it.
    AnswerEnded {
        /// Who asked.
        peer: PeerId,
        /// Which answer.
        answer: AnswerId,
        /// The peer did not read it in time.
        too_slow: bool,
    },
    /// A peer sent what nobody may send.
    Malformed {
        /// Who.
        peer: PeerId,
    },
    /// A peer has opened a stream for a request, and then sent it too slowly.
    Slow {
        /// Who.
        peer: PeerId,
    },
    /// A peer has opened a stream, of whatever protocol.
    StreamOpened {
        /// Who.
        peer: PeerId,
    },
    /// Gossip itself trusts a peer no more.
    Distrusted {
        /// Who.
        peer: PeerId,
    },
    /// A peer answers a download.
    BlocksAnswered {
        /// Of the download.
        token: Token,
        /// What came.
        blocks: Vec<CommittedBlock>,
        /// Now.
        at: Millis,
    },
    /// A download failed.
    DownloadFailed {
        /// Of the download.
        token: Token,
        /// Why.
        reason: String,
        /// Now.
        at: Millis,
    },
    /// Gossip arrived.
    Gossip {
        /// Who sent it to us.
        peer: PeerId,
        /// Wants a verdict.
        id: GossipId,
        /// What it claims to be.
        topic: Topic,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A block of a peer has been checked.
    BlockChecked {
        /// Who sent it to us.
        peer: PeerId,
        /// How it came.
        way: Way,
        /// The block or what is wrong with it.
        outcome: Result<CommittedBlock, GossipFault>,
    },
    /// Whether a validator has said this.
    SpokenChecked {
        /// Who sent it to us.
        peer: PeerId,
        /// Wants a verdict.
        id: GossipId,
        /// The message, without its signature.
        outcome: Result<Vec<u8>, SpokenFault>,
    },
    /// The engine has seen a gossiped transaction.
    TransactionOffered {
        /// Who sent it to us.
        peer: PeerId,
        /// Wants a verdict.
        id: GossipId,
        /// What the engine says.
        outcome: Pooling,
    },
    /// Gossip of ours left, or had nowhere to go.
    Published {
        /// What.
        topic: Topic,
        /// Whether anybody got it.
        sent: bool,
    },
}
