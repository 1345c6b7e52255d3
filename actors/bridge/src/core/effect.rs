//! Everything that leaves the core. Effects are carried out in order, and none before what was persisted ahead of it is
//! on disk. All of them may be repeated without harm.

use alys_peg::{InputSignature, PayoutRecorded, Refunded};
use alys_proto::common::PegInProof;
use bitcoin::{TxOut, Txid};

use crate::core::documents::Document;
use crate::core::follow::BlockRef;
use crate::core::input::Ticket;

/// One thing to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Storage: put these documents in one transaction, before everything that comes after.
    Persist(Vec<Document>),
    /// Bitcoind: what comes after the first of these blocks that is in your best chain?
    Follow {
        /// Blocks we know, newest first.
        locator: Vec<BlockRef>,
        /// Where to start when there is none.
        start_height: u32,
    },
    /// Bitcoind: is this transaction in the mempool?
    LookUp(Txid),
    /// Bitcoind: what does it cost to confirm soon?
    EstimateFees,
    /// Storage: the whole ledger, please.
    ReloadLedger,
    /// Chain: our view of Bitcoin moved.
    BitcoinViewChanged(BlockRef),
    /// Stream: a deposit waits for approval.
    BitcoinTransactionDetected(Box<PegInProof>),
    /// Chain: put this payout into a block.
    ProposePayout(Box<PayoutRecorded>),
    /// Chain: this burn cannot be paid on Bitcoin.
    ProposeRefund(Refunded),
    /// Stream: collect signatures for this recorded payout.
    RequestFederationSignatures(Box<Signable>),
    /// Stream: there are enough.
    SigningFinished(Txid),
    /// Bitcoin: finalise, test and send.
    BroadcastBitcoinTransaction {
        /// The payout.
        payout: Box<Signable>,
        /// At least a threshold for each input, each verified.
        signatures: Vec<InputSignature>,
    },
    /// Chain: this payout is deep enough.
    PayoutConfirmed {
        /// The payout.
        txid: Txid,
        /// Bitcoin `MerkleBlock`, consensus encoding.
        merkle_proof: Vec<u8>,
        /// The block that holds it.
        block: BlockRef,
    },
    /// Answer a member's signatures.
    Answer {
        /// Which question.
        ticket: Ticket,
        /// Whether all its signatures were good (or known).
        accepted: bool,
        /// Whether the payout now has enough.
        complete: bool,
        /// What was wrong.
        reason: String,
    },
}

/// A recorded payout with what its signatures commit to.
#[derive(Clone, Debug, PartialEq)]
pub struct Signable {
    /// What the block recorded.
    pub recorded: PayoutRecorded,
    /// Sidechain height of that block.
    pub height: u64,
    /// The outputs it spends, in the order of its inputs.
    pub prevouts: Vec<TxOut>,
}
