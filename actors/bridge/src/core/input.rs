//! Everything that enters the core.

use alys_peg::InputSignature;
use alys_proto::storage::LedgerFact;
use bitcoin::{Transaction, Txid};

use crate::core::follow::{BlockRef, Extension};

/// Milliseconds since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// Identifies a question that is answered by an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick(Millis),
    /// Bitcoind's best chain ends here.
    BitcoinTip(BlockRef),
    /// Bitcoind gives no usable answer, and why.
    BitcoinAway(String),
    /// Answer to [`crate::core::Effect::Follow`].
    Extended(Extension),
    /// Answer to [`crate::core::Effect::EstimateFees`]: satoshis per 1,000 virtual bytes, if bitcoind has an estimate.
    Fees(Option<u64>),
    /// Somebody says that there is a transaction that we should know of.
    TransactionSeen(Txid),
    /// Answer to [`crate::core::Effect::LookUp`]: it is in the mempool.
    Unconfirmed(Box<Transaction>),
    /// A block is committed.
    Finalized {
        /// Its height.
        height: u64,
        /// What it states about the peg.
        facts: Vec<LedgerFact>,
    },
    /// Answer to [`crate::core::Effect::ReloadLedger`].
    Ledger {
        /// The head's height.
        height: u64,
        /// Everything stated so far.
        facts: Vec<LedgerFact>,
    },
    /// Engine saw burns in a block of this height.
    Burned {
        /// The height.
        height: u64,
    },
    /// A federation member's signatures for a payout.
    Signatures {
        /// To be answered.
        ticket: Ticket,
        /// The member's name.
        member: String,
        /// The payout.
        txid: Txid,
        /// Its signatures.
        signatures: Vec<InputSignature>,
    },
    /// What Bitcoin said to a payout that we gave it. `Err` is its reason.
    Broadcast {
        /// The payout.
        txid: Txid,
        /// Whether the mempool has it.
        outcome: Result<(), String>,
    },
}
