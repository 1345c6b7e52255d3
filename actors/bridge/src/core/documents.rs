//! What bridge keeps in storage beyond the ledger, as named documents: things that are not a function of the sidechain.
//!
//! | key | value | is |
//! |---|---|---|
//! | `block/<height>` | hash | a block of the followed tail; the highest is the cursor |
//! | `coin/<txid>:<vout>` | [`Coin`] as JSON | an output that pays the federation |
//! | `spend/<txid>` | [`Spend`] as JSON | a transaction that spends such outputs |
//! | `signature/<txid>/<input>/<key>` | 64 bytes | one member's signature for one input of a payout |
//!
//! Blocks, coins and spends of one step are put in one transaction, so cursor and findings never disagree. They can
//! always be found again: whatever does not decode makes bridge look at Bitcoin from the start height again.

use std::str::FromStr;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{XOnlyPublicKey, schnorr::Signature};
use bitcoin::{BlockHash, OutPoint, Txid};

use crate::core::follow::BlockRef;
use crate::core::sightings::{Coin, Spend};

/// A document to put, or to delete when there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name among bridge's.
    pub key: String,
    /// Its content.
    pub value: Option<Vec<u8>>,
}

/// A document, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A followed block.
    Block(BlockRef),
    /// A federation output.
    Coin(OutPoint, Box<Coin>),
    /// A spending transaction.
    Spend(Txid, Spend),
    /// A partial signature.
    Signature(SignatureKey, Signature),
}

/// Which signature it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignatureKey {
    /// The payout.
    pub txid: Txid,
    /// The input.
    pub input: u32,
    /// The member's key.
    pub key: XOnlyPublicKey,
}

/// The document is not one that this version writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document `{0}` does not decode")]
pub struct Unreadable(pub String);

impl Document {
    /// A followed block.
    pub fn block(block: BlockRef) -> Self {
        Self { key: block_key(block.height), value: Some(block.hash.to_byte_array().to_vec()) }
    }

    /// The block is no longer followed, or has left the tail.
    pub fn no_block(height: u32) -> Self {
        Self { key: block_key(height), value: None }
    }

    /// A federation output.
    pub fn coin(outpoint: &OutPoint, coin: &Coin) -> Self {
        Self { key: format!("coin/{outpoint}"), value: Some(json(coin)) }
    }

    /// The output is gone.
    pub fn no_coin(outpoint: &OutPoint) -> Self {
        Self { key: format!("coin/{outpoint}"), value: None }
    }

    /// A spending transaction.
    pub fn spend(txid: &Txid, spend: &Spend) -> Self {
        Self { key: format!("spend/{txid}"), value: Some(json(spend)) }
    }

    /// The spending transaction is gone.
    pub fn no_spend(txid: &Txid) -> Self {
        Self { key: format!("spend/{txid}"), value: None }
    }

    /// A partial signature.
    pub fn signature(of: &SignatureKey, signature: &Signature) -> Self {
        Self { key: signature_key(of), value: Some(signature.serialize().to_vec()) }
    }

    /// The payout is done: the signature is no longer needed.
    pub fn no_signature(of: &SignatureKey) -> Self {
        Self { key: signature_key(of), value: None }
    }

    /// Whether it belongs to the scan of Bitcoin, which can be repeated.
    pub fn is_scan(key: &str) -> bool {
        ["block/", "coin/", "spend/"].iter().any(|prefix| key.starts_with(prefix))
    }
}

impl Stored {
    /// Reads a document. `None` for a name that this version does not know: a newer one may have written it.
    pub fn read(key: &str, value: &[u8]) -> Result<Option<Self>, Unreadable> {
        let Some((kind, name)) = key.split_once('/') else { return Ok(None) };
        let stored = match kind {
            "block" => read_block(name, value),
            "coin" => read_coin(name, value),
            "spend" => read_spend(name, value),
            "signature" => read_signature(name, value),
            _ => return Ok(None),
        };
        stored.map(Some).ok_or_else(|| Unreadable(key.to_owned()))
    }
}

fn block_key(height: u32) -> String {
    format!("block/{height:010}")
}

fn signature_key(of: &SignatureKey) -> String {
    format!("signature/{}/{:05}/{}", of.txid, of.input, of.key)
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own structures hold nothing that JSON lacks")
}

fn read_block(name: &str, value: &[u8]) -> Option<Stored> {
    let hash = BlockHash::from_byte_array(value.try_into().ok()?);
    Some(Stored::Block(BlockRef { hash, height: name.parse().ok()? }))
}

fn read_coin(name: &str, value: &[u8]) -> Option<Stored> {
    Some(Stored::Coin(OutPoint::from_str(name).ok()?, serde_json::from_slice(value).ok()?))
}

fn read_spend(name: &str, value: &[u8]) -> Option<Stored> {
    Some(Stored::Spend(name.parse().ok()?, serde_json::from_slice(value).ok()?))
}

fn read_signature(name: &str, value: &[u8]) -> Option<Stored> {
    let mut parts = name.split('/');
    let key =
        SignatureKey { txid: parts.next()?.parse().ok()?, input: parts.next()?.parse().ok()?, key: parts.next()?.parse().ok()? };
    Some(Stored::Signature(key, Signature::from_slice(value).ok()?))
}
