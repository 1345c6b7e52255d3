//! What we have seen of the federation's coins on Bitcoin's best chain: every output that pays it, and every transaction
//! that spends such an output. A function of the followed blocks and nothing else, so a reorganisation undoes it exactly.
//!
//! Whether a sighting is a deposit to be minted, change, or a payout is decided elsewhere, from the ledger.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use alys_blocks::limits::{MaxMerkleBytes, MaxTransactionBytes};
use alys_peg::{Deposit, Federation, InvalidDeposit, PegRules, deposit};
use alys_proto::Sats;
use bitcoin::consensus::encode::serialize;
use bitcoin::{Block, MerkleBlock, OutPoint, Transaction, Txid, Witness};
use serde::{Deserialize, Serialize};
use ssz_types::typenum::Unsigned;

use crate::core::documents::Document;
use crate::core::follow::BlockRef;
use crate::core::hex_bytes;

/// An output that pays the federation, in a block of the best chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coin {
    /// Its value.
    pub value: Sats,
    /// The block that holds its transaction.
    pub block: BlockRef,
    /// Its transaction is a coinbase.
    pub coinbase: bool,
    /// What it is if it is a deposit.
    pub judged: Judged,
    /// Proof for others; kept while it may still have to be minted.
    pub evidence: Option<Evidence>,
    /// The transaction that spends it.
    pub spent_by: Option<Txid>,
}

/// Whether the output could be minted, as far as its transaction says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Judged {
    /// It names a recipient.
    Valid(Address),
    /// It cannot be minted; the reason. Change of our own payouts is of this kind too.
    Invalid(String),
}

/// What proves a deposit to somebody who has only Bitcoin's headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Consensus encoding, without witness.
    #[serde(with = "hex_bytes")]
    pub transaction: Vec<u8>,
    /// Bitcoin `MerkleBlock`, consensus encoding.
    #[serde(with = "hex_bytes")]
    pub merkle_proof: Vec<u8>,
}

/// A transaction of the best chain that spends coins of the federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// The block that holds it.
    pub block: BlockRef,
    /// Bitcoin `MerkleBlock`, consensus encoding.
    #[serde(with = "hex_bytes")]
    pub merkle_proof: Vec<u8>,
    /// Which of the coins it spends.
    pub coins: Vec<OutPoint>,
}

/// All sightings. Its size is bounded by what people pay for: each entry is a transaction with a fee on Bitcoin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    coins: BTreeMap<OutPoint, Coin>,
    spends: BTreeMap<Txid, Spend>,
}

impl Sightings {
    /// What was seen before a restart.
    pub const fn restore(coins: BTreeMap<OutPoint, Coin>, spends: BTreeMap<Txid, Spend>) -> Self {
        Self { coins, spends }
    }

    /// All outputs that pay the federation.
    pub const fn coins(&self) -> &BTreeMap<OutPoint, Coin> {
        &self.coins
    }

    /// The transaction, if it spends coins of the federation in the best chain.
    pub fn spend(&self, txid: &Txid) -> Option<&Spend> {
        self.spends.get(txid)
    }

    /// Takes in the next block of the best chain. What changed comes back as documents.
    pub fn apply(&mut self, place: BlockRef, block: &Block, federation: &Federation, rules: &PegRules) -> Vec<Document> {
        let mut documents = Vec::new();
        for transaction in &block.txdata {
            self.apply_spends(place, block, transaction, &mut documents);
            for found in deposit::find(transaction, federation, rules) {
                let (outpoint, coin) = sight(place, block, transaction, found);
                documents.push(Document::coin(&outpoint, &coin));
                self.coins.insert(outpoint, coin);
            }
        }
        documents
    }

    fn apply_spends(&mut self, place: BlockRef, block: &Block, transaction: &Transaction, documents: &mut Vec<Document>) {
        let spent: Vec<OutPoint> = transaction
            .input
            .iter()
            .map(|input| input.previous_output)
            .filter(|outpoint| self.coins.contains_key(outpoint))
            .collect();
        if spent.is_empty() {
            return;
        }
        let txid = transaction.compute_txid();
        for outpoint in &spent {
            if let Some(coin) = self.coins.get_mut(outpoint) {
                coin.spent_by = Some(txid);
                documents.push(Document::coin(outpoint, coin));
            }
        }
        let spend = Spend { block: place, merkle_proof: merkle_proof(block, &txid), coins: spent };
        documents.push(Document::spend(&txid, &spend));
        self.spends.insert(txid, spend);
    }

    /// Takes a block back: its outputs are gone, and what it spent is unspent. Also returns the deposits that were lost.
    pub fn undo(&mut self, place: BlockRef) -> (Vec<Document>, Vec<(OutPoint, Coin)>) {
        let mut documents = Vec::new();
        let undone: Vec<Txid> = self.spends.iter().filter(|(_, spend)| spend.block == place).map(|(txid, _)| *txid).collect();
        for txid in undone {
            let Some(spend) = self.spends.remove(&txid) else { continue };
            documents.push(Document::no_spend(&txid));
            for outpoint in &spend.coins {
                if let Some(coin) = self.coins.get_mut(outpoint) {
                    coin.spent_by = None;
                    documents.push(Document::coin(outpoint, coin));
                }
            }
        }
        let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.coins).into_iter().partition(|(_, coin)| coin.block == place);
        self.coins = kept;
        documents.extend(gone.keys().map(Document::no_coin));
        (documents, gone.into_iter().collect())
    }

    /// Drops what nobody will ask for again, of blocks below `horizon`: proofs of minted deposits, and coins with their
    /// spend once the spending payout is settled.
    pub fn forget(&mut self, horizon: u32, minted: impl Fn(&OutPoint) -> bool, settled: impl Fn(&Txid) -> bool) -> Vec<Document> {
        let mut documents = Vec::new();
        let done: Vec<Txid> = self
            .spends
            .iter()
            .filter(|(txid, spend)| spend.block.height < horizon && settled(txid))
            .map(|(txid, _)| *txid)
            .collect();
        for txid in done {
            let coins = self.spends.remove(&txid).map(|spend| spend.coins).unwrap_or_default();
            documents.push(Document::no_spend(&txid));
            for outpoint in coins {
                self.coins.remove(&outpoint);
                documents.push(Document::no_coin(&outpoint));
            }
        }
        for (outpoint, coin) in &mut self.coins {
            if coin.evidence.is_some() && coin.block.height < horizon && minted(outpoint) {
                coin.evidence = None;
                documents.push(Document::coin(outpoint, coin));
            }
        }
        documents
    }
}

/// What an output that pays us is, with its proof if it can be minted.
fn sight(place: BlockRef, block: &Block, transaction: &Transaction, found: Result<Deposit, InvalidDeposit>) -> (OutPoint, Coin) {
    let coinbase = transaction.is_coinbase();
    let coin = |value, judged, evidence| Coin { value, block: place, coinbase, judged, evidence, spent_by: None };
    match found {
        Err(invalid) => (invalid.outpoint, coin(invalid.value, Judged::Invalid(invalid.reason.to_string()), None)),
        Ok(deposit) => {
            let evidence = Evidence {
                transaction: serialize(&without_witness(transaction)),
                merkle_proof: merkle_proof(block, &deposit.outpoint.txid),
            };
            let fits =
                evidence.transaction.len() <= MaxTransactionBytes::USIZE && evidence.merkle_proof.len() <= MaxMerkleBytes::USIZE;
            let found = if fits {
                coin(deposit.value, Judged::Valid(deposit.recipient), Some(evidence))
            } else {
                coin(deposit.value, Judged::Invalid("transaction too large".into()), None)
            };
            (deposit.outpoint, found)
        }
    }
}

fn without_witness(transaction: &Transaction) -> Transaction {
    let mut bare = transaction.clone();
    for input in &mut bare.input {
        input.witness = Witness::new();
    }
    bare
}

fn merkle_proof(block: &Block, txid: &Txid) -> Vec<u8> {
    serialize(&MerkleBlock::from_block_with_predicate(block, |candidate| candidate == txid))
}
