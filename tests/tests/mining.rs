//! Merged mining: four validators of one chain and a real miner on a real bitcoind.
#![allow(missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use alys_proto::Role;
use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::binary;
use alys_tests::node::Node;
use alys_tests::validators::Validators;
use eyre::{WrapErr as _, ensure};
use serde_json::{Value, json};

const MAX_BLOCKS_WITHOUT_POW: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(90);
const SLOT: Duration = Duration::from_secs(1);
const ALL: [usize; 4] = [0, 1, 2, 3];

#[tokio::test(flavor = "multi_thread")]
async fn bitcoin_blocks_settle_ours_and_without_a_miner_the_chain_waits_for_one() -> eyre::Result<()> {
    let bitcoind = Bitcoind::start().await?;
    let net = Validators::mined(&bitcoind, 4, 2, MAX_BLOCKS_WITHOUT_POW)?;
    net.nodes[0].wait_working().await?;
    let mut miner = Miner::start(&net.nodes[0], &bitcoind)?;
    // Further than it comes without work: settlement moves, bundle after bundle.
    net.wait_height(&ALL, MAX_BLOCKS_WITHOUT_POW * 2, PATIENCE).await?;
    for node in &net.nodes {
        node.wait_row(Role::Chain, "settlement to move", |row| Ok(row.count("bundles")? >= 2)).await?;
    }
    carries_our_commitment(&bitcoind, &miner.solved()?).await?;

    miner.kill()?;
    for node in &net.nodes {
        node.wait_row(Role::Chain, "the chain to wait for work", |row| {
            Ok(row.status.get("waits_for_work").is_some_and(|waits| waits == "true"))
        })
        .await?;
    }
    let halted = net.highest().await;
    // That nothing happens can only be seen by waiting: a turn of each validator, and more.
    tokio::time::sleep(SLOT * 6).await;
    for node in &net.nodes {
        ensure!(node.height().await? == halted, "a block without work:\n{}", net.show());
        ensure!(node.row(Role::Chain)?.count("blocks_since_work")? == MAX_BLOCKS_WITHOUT_POW, "{}", net.show());
    }

    let miner = Miner::start(&net.nodes[1], &bitcoind)?;
    net.wait_height(&ALL, halted + MAX_BLOCKS_WITHOUT_POW, PATIENCE).await?;
    miner.solved()?;
    net.ensure_same_block(&ALL, halted + 2).await?;
    for node in &net.nodes {
        ensure!(node.row(Role::Chain)?.count("settled_height")? >= halted, "{}", net.show());
        node.ensure_no_panic()?;
    }
    Ok(())
}

/// The block is in bitcoind's best chain, and its coinbase has the 44 bytes.
async fn carries_our_commitment(bitcoind: &Bitcoind, solved: &Value) -> eyre::Result<()> {
    ensure!(solved["bitcoin"] == "accepted" && solved["alys"] == "accepted", "{solved}");
    let block: Value = bitcoind.call("getblock", &[solved["bitcoin_block"].clone(), json!(2)]).await?;
    ensure!(block["confirmations"].as_i64().is_some_and(|depth| depth >= 1), "not in the best chain: {block}");
    let script = block["tx"][0]["vin"][0]["coinbase"].as_str().unwrap_or_default();
    ensure!(script.matches("fabe6d6d").count() == 1, "the coinbase script is {script}");
    Ok(())
}

/// `alys miner` beside a validator.
struct Miner {
    process: Child,
    lines: Receiver<String>,
}

impl Miner {
    fn start(node: &Node, bitcoind: &Bitcoind) -> eyre::Result<Self> {
        let mut process = Command::new(binary("alys")?)
            .arg("miner")
            .arg("--data-dir")
            .arg(node.home())
            .args(["--bitcoin-url", &bitcoind.url(), "--bitcoin-cookie"])
            .arg(bitcoind.cookie_file())
            .args(["--fee-recipient", "0x0909090909090909090909090909090909090909", "--output", "json"])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or_else(|| eyre::eyre!("the miner has no output"))?;
        let (told, lines) = channel();
        std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Ok(Self { process, lines })
    }

    /// What it said first.
    fn solved(&self) -> eyre::Result<Value> {
        let line = self.lines.recv_timeout(PATIENCE).wrap_err("the miner has solved nothing")?;
        Ok(serde_json::from_str(&line)?)
    }

    fn kill(&mut self) -> eyre::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ended = self.kill();
    }
}
