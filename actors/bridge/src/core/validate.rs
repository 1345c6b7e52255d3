//! Whether the peg claims of a proposed block hold against our own bitcoind [PEG-4]. Pure: what bitcoind says about each
//! Bitcoin block comes in as a [`Headers`] table.
//!
//! | the block's Bitcoin view | a claim | verdict |
//! |---|---|---|
//! | unknown here, or on another branch than our best chain | any | lagging: wait, or vote nil |
//! | in our best chain, at another height than said | any | invalid |
//! | in our best chain | its proof does not hold, or not deep enough under the view | invalid |
//! | in our best chain | its block is not in the best chain, or not at that height, or has other transactions | invalid |
//! | in our best chain | else | holds |
//!
//! A claim's block that our best chain lacks is not an ancestor of a view that our best chain has.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use alys_blocks::BitcoinView;
use alys_peg::proof::{Included, verify, verify_inclusion};
use alys_peg::{Federation, InclusionProof, PegInProof, PegRules};
use alys_proto::bridge::ValidatePegOperations;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

/// What our bitcoind says of a Bitcoin block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It has never seen it.
    Unknown,
    /// It is on a branch that is not the best chain.
    Stale,
    /// It is in the best chain.
    Best {
        /// Its height.
        height: u32,
        /// How many transactions it has.
        transactions: u32,
    },
}

/// What our bitcoind says, by block.
pub type Headers = BTreeMap<BlockHash, Header>;

/// The answer to chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every claim holds.
    Valid,
    /// A claim does not hold; nobody honest would have proposed it.
    Invalid(String),
    /// We cannot tell yet.
    Lagging(String),
}

/// Claims whose proofs hold by themselves, with what is left to ask bitcoind.
#[derive(Clone, Debug)]
pub struct Claims {
    view: BitcoinView,
    included: Vec<Included>,
}

impl Claims {
    /// Checks all that can be checked without bitcoind. `Err` is the reason for which the block is invalid.
    pub fn check(question: &ValidatePegOperations, federation: &Federation, rules: &PegRules) -> Result<Self, String> {
        let view = question.bitcoin_view.as_ref().ok_or("the block has no Bitcoin view")?;
        let view = BitcoinView { hash: hash(&view.hash, "bitcoin_view")?, height: view.height };
        let mut included = Vec::new();
        for claim in &question.peg_ins {
            let proof = PegInProof::try_from(claim).map_err(|refused| format!("peg-in: {refused}"))?;
            let verified =
                verify(&proof, &view, federation, rules).map_err(|refused| format!("peg-in {}: {refused}", proof.outpoint))?;
            included.push(verified.included);
        }
        for claim in &question.settlements {
            let block = claim.bitcoin_block.as_ref().ok_or("a settlement names no Bitcoin block")?;
            let proof = InclusionProof::from_parts(&claim.txid, &claim.merkle_proof, block.height)
                .map_err(|refused| format!("settlement: {refused}"))?;
            let block_hash = hash(&block.hash, "settlement block")?;
            let inclusion = verify_inclusion(&proof, block_hash, &view, rules)
                .map_err(|refused| format!("settlement {}: {refused}", proof.txid))?;
            included.push(inclusion);
        }
        Ok(Self { view, included })
    }

    /// The Bitcoin blocks to ask bitcoind for. The view comes first and last: if bitcoind turns to another branch between
    /// two answers, the view has two answers.
    pub fn blocks(&self) -> Vec<BlockHash> {
        let mut blocks: BTreeSet<BlockHash> = self.included.iter().map(|included| block_hash(included.block.hash)).collect();
        let view = block_hash(self.view.hash);
        blocks.remove(&view);
        [view].into_iter().chain(blocks).chain([view]).collect()
    }

    /// Judges the claims by what bitcoind says.
    pub fn judge(&self, headers: &Headers) -> Verdict {
        let known = |hash: B256| headers.get(&block_hash(hash)).copied().unwrap_or(Header::Unknown);
        match known(self.view.hash) {
            Header::Unknown => {
                return Verdict::Lagging(format!(
                    "our bitcoind does not know the block's Bitcoin view at height {}",
                    self.view.height
                ));
            }
            Header::Stale => {
                return Verdict::Lagging(format!("the Bitcoin view at height {} is not in our best chain", self.view.height));
            }
            Header::Best { height, .. } if height != self.view.height => {
                return Verdict::Invalid(format!("the Bitcoin view is at height {height}, not {}", self.view.height));
            }
            Header::Best { .. } => {}
        }
        for included in &self.included {
            if let Err(reason) = judge_one(included, known(included.block.hash)) {
                return Verdict::Invalid(reason);
            }
        }
        Verdict::Valid
    }
}

fn judge_one(included: &Included, header: Header) -> Result<(), String> {
    let block = included.block;
    match header {
        Header::Unknown | Header::Stale => {
            Err(format!("Bitcoin block {} is not in the chain of the view", block_hash(block.hash)))
        }
        Header::Best { height, .. } if height != block.height => {
            Err(format!("Bitcoin block {} is at height {height}, not {}", block_hash(block.hash), block.height))
        }
        // CVE-2017-12842: a transaction that poses as an inner node makes the tree look deeper.
        Header::Best { transactions, .. } if transactions != included.transactions => Err(format!(
            "Bitcoin block {} has {transactions} transactions, not {}",
            block_hash(block.hash),
            included.transactions
        )),
        Header::Best { .. } => Ok(()),
    }
}

fn hash(bytes: &[u8], field: &str) -> Result<B256, String> {
    B256::try_from(bytes).map_err(|_| format!("{field} is not a hash"))
}

fn block_hash(bytes: B256) -> BlockHash {
    BlockHash::from_byte_array(bytes.0)
}
