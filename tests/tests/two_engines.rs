//! The embedded engine and somebody else's execution client, EthereumJS over its Engine API, on the same random blocks.
#![allow(missing_docs)]

mod random_blocks;

use std::time::{Duration, Instant};

use alloy_consensus::{Block, Transaction as _, TxEnvelope};
use alloy_primitives::{Address, B256};
use alloy_rpc_types_engine::ExecutionPayloadV3;
use alys_blocks::ChainSpec;
use alys_engine::client::{self, Client, ClientEngine};
use alys_engine::core::block::ExecutedBlock;
use alys_engine::core::geth::genesis_file;
use alys_engine::core::header::next_base_fee;
use alys_engine::engine::{Engine, Execution};
use alys_engine::io::store::Options;
use alys_tests::cluster::temporary_folder;
use alys_tests::execution_client::ExecutionClient;
use eyre::{OptionExt as _, WrapErr as _, bail, ensure, eyre};
use random_blocks::{Contracts, Generator};
use tempfile::TempDir;

/// Blocks of `make test`; `ALYS_RANDOM_BLOCKS` says another number, `ALYS_RANDOM_SEED` another chain.
const BLOCKS: u64 = 150;
const SEED: u64 = 1;
/// Every so many blocks their neighbours with one wrong field come first.
const SPOILT: u64 = 20;

fn setting(name: &str, default: u64) -> eyre::Result<u64> {
    std::env::var(name).ok().map_or(Ok(default), |value| value.parse().wrap_err_with(|| format!("{name}={value}")))
}

/// One embedded engine with a database of its own, in memory: what is on disk is for other tests.
struct Embedded {
    engine: Engine,
    _folder: TempDir,
}

impl Embedded {
    fn open(spec: &ChainSpec) -> eyre::Result<Self> {
        let folder = temporary_folder()?;
        let options = Options { cache_bytes: 16 << 20, quick_repair: false };
        Ok(Self { engine: Engine::open(folder.path(), options, spec)?, _folder: folder })
    }
}

/// What was in the blocks, so that a chain of nothing does not pass.
#[derive(Debug, Default)]
struct Tally {
    transactions: u64,
    failed: u64,
    logs: u64,
    burns: u64,
    withdrawals: u64,
    creations: u64,
    /// Calls of a contract that gives all it has away, and contracts that were made and ended by one transaction.
    emptied: u64,
    ended: u64,
    spoilt: u64,
    /// Blocks that let the base fee rise.
    full: u64,
    types: [u64; 3],
}

impl Tally {
    fn count(&mut self, block: &ExecutedBlock, contracts: &Contracts) -> eyre::Result<()> {
        for (transaction, receipt) in block.block.body.transactions.iter().zip(&block.receipts) {
            self.transactions += 1;
            self.failed += u64::from(!receipt.status());
            self.logs += u64::try_from(receipt.logs().len())?;
            self.creations += u64::from(transaction.is_create() && receipt.status());
            self.emptied += u64::from(transaction.to() == Some(contracts.bomb) && receipt.status());
            for log in receipt.logs().iter().filter(|log| log.address == contracts.factory) {
                // Whether the call went well, and of whom.
                let [called, made] = log.topics() else { continue };
                let is_there = block.diff.accounts.contains_key(&Address::from_word(*made));
                self.ended += u64::from(*called == B256::with_last_byte(1) && !made.is_zero() && !is_there);
            }
            let kind = usize::from(u8::from(transaction.tx_type()));
            *self.types.get_mut(kind).ok_or_eyre("a type that was not made")? += 1;
        }
        self.full += u64::from(block.header().gas_used > block.header().gas_limit / 2);
        self.burns += u64::try_from(block.burns.len())?;
        self.withdrawals += u64::try_from(block.block.body.withdrawals.as_ref().map_or(0, |mints| mints.len()))?;
        Ok(())
    }

    fn is_of_everything(&self) -> bool {
        let of = [
            self.failed,
            self.logs,
            self.burns,
            self.withdrawals,
            self.creations,
            self.emptied,
            self.ended,
            self.spoilt,
            self.full,
        ];
        of.iter().chain(&self.types).all(|count| *count > 0)
    }
}

fn payload(block: &Block<TxEnvelope>) -> Vec<u8> {
    alys_blocks::encode_payload(&ExecutionPayloadV3::from_block_unchecked(block.header.hash_slow(), block))
}

fn root(block: &Block<TxEnvelope>) -> B256 {
    block.header.parent_beacon_block_root.unwrap_or_default()
}

/// The block with one field wrong, and a hash that is right for that.
fn spoilt(block: &Block<TxEnvelope>) -> [(&'static str, Block<TxEnvelope>); 4] {
    let with = |name, spoil: fn(&mut alloy_consensus::Header)| {
        let mut block = block.clone();
        spoil(&mut block.header);
        (name, block)
    };
    [
        with("state root", |header| header.state_root.0[31] ^= 1),
        with("receipts root", |header| header.receipts_root.0[31] ^= 1),
        with("gas used", |header| header.gas_used += 1),
        with("logs bloom", |header| header.logs_bloom.0[255] ^= 1),
    ]
}

fn valid(who: &str, execution: Execution, block: &ExecutedBlock) -> eyre::Result<()> {
    let number = block.header().number;
    let differs = match execution {
        Execution::Valid { hash, burns } if hash == block.hash && burns == block.burns => return Ok(()),
        other => other,
    };
    let receipts: Vec<_> = block.receipts.iter().map(|receipt| (receipt.status(), receipt.cumulative_gas_used())).collect();
    Err(eyre!("{who} at block {number}: {differs:?}; ours: {:?}\n{receipts:?}\n{:?}", block.header(), block.block.body))
}

fn invalid(who: &str, field: &str, execution: &Execution) -> eyre::Result<()> {
    ensure!(matches!(execution, Execution::Invalid { .. }), "{who} takes a block with a wrong {field}: {execution:?}");
    Ok(())
}

/// Builds, has it executed and committed everywhere, and demands the same head of all.
async fn run(theirs: &mut ClientEngine, spec: &ChainSpec, blocks: u64, seed: u64) -> eyre::Result<Tally> {
    let (mut builder, mut follower) = (Embedded::open(spec)?, Embedded::open(spec)?);
    let (mut generator, mut tally) = (Generator::new(seed, spec)?, Tally::default());
    ensure!(theirs.head().await?.0 == builder.engine.head().hash, "block 0 differs");
    for number in 1..=blocks {
        let parent = builder.engine.head();
        let base_fee = next_base_fee(&parent.header);
        let (attributes, transactions) = generator.block(&parent.header, base_fee)?;
        let count = transactions.len();
        let (block, left_out) = builder.engine.build(parent.hash, &attributes, |_| transactions, || false)?;
        ensure!(block.senders.len() == count, "block {number}: {left_out:?} of {count} cannot be in it");
        let (bytes, beacon) = (payload(&block.block), root(&block.block));
        if number % SPOILT == 0 {
            for (field, wrong) in spoilt(&block.block) {
                let bytes = payload(&wrong);
                invalid("the embedded engine", field, &follower.engine.execute(&bytes, beacon)?)?;
                invalid("the execution client", field, &theirs.execute(&bytes, beacon).await?)?;
                tally.spoilt += 1;
            }
        }
        valid("a second embedded engine", follower.engine.execute(&bytes, beacon)?, &block)?;
        valid("the execution client", theirs.execute(&bytes, beacon).await?, &block)?;
        builder.engine.commit(block.hash)?;
        let followed = follower.engine.commit(block.hash)?.head;
        let (hash, header) = theirs.commit(block.hash).await?.head;
        ensure!(followed.hash == block.hash && followed.header.state_root == block.header().state_root);
        ensure!(hash == block.hash && header == *block.header(), "block {number}: the heads differ");
        tally.count(&block, &generator.contracts)?;
    }
    // Not what it was told, but what it has.
    let (hash, header) = theirs.head().await?;
    let head = builder.engine.head();
    ensure!((hash, &header) == (head.hash, &head.header), "the client's head is {} {hash}", header.number);
    Ok(tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn random_blocks_have_the_same_hash_in_the_embedded_engine_and_in_an_execution_client() -> eyre::Result<()> {
    let (blocks, seed) = (setting("ALYS_RANDOM_BLOCKS", BLOCKS)?, setting("ALYS_RANDOM_SEED", SEED)?);
    let Some(mut process) = ExecutionClient::prepare()? else { return Ok(()) };
    let spec = random_blocks::spec()?;
    let folder = tempfile::tempdir()?;
    let genesis = folder.path().join("genesis.json");
    std::fs::write(&genesis, genesis_file(&spec)?.to_string())?;
    process.start(&genesis).await?;
    let config = client::Config {
        engine_url: format!("http://127.0.0.1:{}", process.engine_port()),
        rpc_url: format!("http://127.0.0.1:{}", process.rpc_port()),
        jwt_file: Some(process.jwt_file()),
        timeout: Duration::from_secs(30),
        ..client::Config::default()
    };
    let client = Client::new(&config).map_err(|reason| eyre!(reason))?;
    let mut theirs = ClientEngine::new(client, &config, &spec)?;
    let started = Instant::now();
    let tally = match Box::pin(run(&mut theirs, &spec, blocks, seed)).await {
        Ok(tally) => tally,
        Err(error) => bail!("seed {seed}: {error:?}\nlog of the execution client:\n{}", process.log_tail()),
    };
    println!("{blocks} blocks of seed {seed} in {:?}: {tally:?}", started.elapsed());
    ensure!(tally.is_of_everything(), "{tally:?}");
    process.kill()
}
