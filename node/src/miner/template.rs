//! bitcoind's `getblocktemplate`, made into a block that carries a commitment.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hashes::Hash as _;
use bitcoin::script::{Builder, PushBytes};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness,
};
use serde::Deserialize;

use crate::failure::{Failure, OrFail as _, Outcome};

/// What a miner needs of it.
#[derive(Debug, Deserialize)]
pub(super) struct Template {
    version: i32,
    previousblockhash: BlockHash,
    transactions: Vec<Entry>,
    coinbasevalue: u64,
    bits: String,
    height: i64,
    curtime: u32,
    default_witness_commitment: Option<ScriptBuf>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    data: String,
}

impl Template {
    /// The block without its nonce.
    pub(super) fn block(&self, commitment: &[u8], pays: &Script) -> Outcome<Block> {
        let bits = u32::from_str_radix(&self.bits, 16).or_temporary("bitcoind answered with malformed bits")?;
        let mut txdata = vec![self.coinbase(commitment, pays)?];
        for entry in &self.transactions {
            txdata.push(deserialize_hex(&entry.data).or_temporary("bitcoind answered with a malformed transaction")?);
        }
        let header = Header {
            version: Version::from_consensus(self.version),
            prev_blockhash: self.previousblockhash,
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.curtime,
            bits: CompactTarget::from_consensus(bits),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().ok_or_else(|| Failure::bug("a block without coinbase"))?;
        Ok(block)
    }

    fn coinbase(&self, commitment: &[u8], pays: &Script) -> Outcome<Transaction> {
        let commitment: &PushBytes = commitment.try_into().or_bug("a commitment is 44 bytes")?;
        let mut output = vec![TxOut { value: Amount::from_sat(self.coinbasevalue), script_pubkey: pays.to_owned() }];
        let witness = self.default_witness_commitment.clone();
        output.extend(witness.map(|script_pubkey| TxOut { value: Amount::ZERO, script_pubkey }));
        Ok(Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                // Height first, as BIP 34 asks.
                script_sig: Builder::new().push_int(self.height).push_slice(commitment).into_script(),
                sequence: Sequence::MAX,
                witness: Witness::from_slice(&[[0; 32]]),
            }],
            output,
        })
    }
}
