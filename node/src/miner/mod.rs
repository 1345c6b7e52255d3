//! A miner for test networks: real double SHA-256 over a block of a bitcoind, whose coinbase carries our commitment.
//!
//! It works until a hash meets Alys's target. When it meets Bitcoin's too, which is the harder one except on regtest, the
//! block goes to bitcoind as well. Work is begun anew every few seconds, so that neither chain's head grows old under it.

mod solve;
mod template;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use alys_pow::{AuxPow, MergedTree, MinedHash, Target};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Block, ScriptBuf};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::rpc::Rpc;
use crate::io::table::{Output, print};
use template::Template;

/// How long one template is worked on.
const FRESH: Duration = Duration::from_secs(5);
/// A node that has nothing to mine, or is away, is asked again after this.
const PAUSE: Duration = Duration::from_millis(300);

/// Who earns.
#[derive(Clone, Debug)]
pub struct Pays {
    alys: Address,
    bitcoin: ScriptBuf,
}

impl Pays {
    /// Without a Bitcoin address anybody may take the coins.
    pub fn new(alys: Address, bitcoin: Option<&str>) -> Outcome<Self> {
        let bitcoin = match bitcoin {
            Some(text) => {
                let address: bitcoin::Address<_> =
                    text.parse().map_err(|cause| Failure::usage(format!("--bitcoin-address {text}: {cause}")))?;
                address.assume_checked().script_pubkey()
            }
            None => ScriptBuf::from(vec![bitcoin::opcodes::OP_TRUE.to_u8()]),
        };
        Ok(Self { alys, bitcoin })
    }
}

/// What mines, for whom and with what.
#[derive(Debug)]
pub struct Miner {
    /// Wants work.
    pub alys: Rpc,
    /// Has blocks.
    pub bitcoind: Rpc,
    /// Who earns.
    pub pays: Pays,
    /// Threads that hash.
    pub threads: NonZeroUsize,
    /// Form of what is printed.
    pub output: Output,
}

/// `createauxblock`'s answer, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Wanted {
    hash: String,
    chainid: u32,
    height: u64,
    #[serde(rename = "_target")]
    target: String,
}

/// One solved block.
#[derive(Debug, Serialize)]
struct Solved {
    /// Settled by it.
    up_to_height: u64,
    bitcoin_block: String,
    hashes: u64,
    seconds: f64,
    bitcoin: String,
    alys: String,
}

impl Miner {
    /// Until so many bundles are accepted, else for ever.
    pub async fn run(&self, count: Option<u64>) -> Outcome {
        let (mut accepted, mut said) = (0_u64, String::new());
        while count.is_none_or(|count| accepted < count) {
            match self.round().await {
                Ok(Some(solved)) => {
                    accepted = accepted.saturating_add(u64::from(solved.alys == ACCEPTED));
                    self.tell(&solved)?;
                }
                Ok(None) => {}
                Err(failure) => {
                    // A reason is told when it is another than before, not three times a second.
                    let reason = failure.report.to_string();
                    if reason != said {
                        eprintln!("waiting: {reason}");
                    }
                    said = reason;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// One template. `None`: not solved in its time.
    async fn round(&self) -> Outcome<Option<Solved>> {
        let wanted: Wanted = self.alys.call("createauxblock", &[json!(self.pays.alys.to_string())]).await?;
        let malformed = |what: &str| Failure::temporary(format!("Alys answered createauxblock with a malformed {what}"));
        let hash: MinedHash = wanted.hash.parse().map_err(|_| malformed("hash"))?;
        let target = U256::try_from_le_slice(&hex::decode(&wanted.target).map_err(|_| malformed("_target"))?);
        let target = Target(target.ok_or_else(|| malformed("_target"))?);
        let tree = MergedTree::new(&[(wanted.chainid, hash.0)]).or_bug("a tree of one chain")?;
        let rules = json!({ "rules": ["segwit"] });
        let template: Template = self.bitcoind.call("getblocktemplate", &[rules]).await?;
        let block = template.block(&tree.commitment().to_bytes(), &self.pays.bitcoin)?;
        let begun = Instant::now();
        let Some((block, hashes)) = self.solve(block, target).await? else { return Ok(None) };
        let proof =
            AuxPow::from_block(&block, tree.branch(wanted.chainid)).ok_or_else(|| Failure::bug("a block without coinbase"))?;
        let bitcoin = self.submit_bitcoin(&block).await?;
        let alys: Outcome<bool> =
            self.alys.call("submitauxblock", &[json!(wanted.hash), json!(hex::encode(proof.encode()))]).await;
        Ok(Some(Solved {
            up_to_height: wanted.height.saturating_sub(1),
            bitcoin_block: block.block_hash().to_string(),
            hashes,
            seconds: begun.elapsed().as_secs_f64(),
            bitcoin,
            alys: alys.map_or_else(|failure| failure.report.to_string(), |_| ACCEPTED.to_owned()),
        }))
    }

    async fn solve(&self, block: Block, target: Target) -> Outcome<Option<(Block, u64)>> {
        let (search, _ends_with_us) = solve::Search::new(block.header, target, FRESH);
        let threads = self.threads;
        let found = tokio::task::spawn_blocking(move || search.run(threads)).await.or_bug("a mining thread died")?;
        Ok(found.map(|found| (Block { header: found.header, ..block }, found.hashes)))
    }

    async fn submit_bitcoin(&self, block: &Block) -> Outcome<String> {
        if !block.header.target().is_met_by(block.block_hash()) {
            return Ok("not enough work".into());
        }
        let answer: Value = self.bitcoind.call("submitblock", &[json!(serialize_hex(block))]).await?;
        Ok(answer.as_str().map_or_else(|| ACCEPTED.to_owned(), str::to_owned))
    }

    fn tell(&self, solved: &Solved) -> Outcome {
        let line = match self.output {
            Output::Json => serde_json::to_string(solved).or_bug("the answer is not JSON")?,
            Output::Table => format!(
                "blocks up to {}: solved in {:.1} s with {} hashes; Bitcoin {}: {}; Alys: {}",
                solved.up_to_height, solved.seconds, solved.hashes, solved.bitcoin_block, solved.bitcoin, solved.alys
            ),
        };
        print(&format!("{line}\n"));
        Ok(())
    }
}

const ACCEPTED: &str = "accepted";
