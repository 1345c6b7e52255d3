//! A test chain of several validators, each a node of real processes in a folder that `alys testnet` made.

use std::process::Command;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use alys_cluster::testing::free_ports;
use alys_proto::Role;
use eyre::{WrapErr as _, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bitcoind::Bitcoind;
use crate::cluster::{Alys, Host, Options, binary, temporary_folder, wait};
use crate::lab::{Lab, address, forward, own_address};
use crate::node::Node;

/// What `alys testnet` leaves between the ports of two validators.
const PORTS_EACH: u16 = 10;

const BITCOIND_PORT: u16 = 18_443;
/// Where a test says nothing else.
const SLOT: Duration = Duration::from_secs(1);

/// The validators, in the order of the specification.
pub struct Validators {
    /// Each of them.
    pub nodes: Vec<Node>,
    // Behind the nodes, so that it goes after them.
    _folder: TempDir,
}

impl Validators {
    /// Makes a chain of so many validators with slots of a second, and starts them all; with settings over the defaults.
    /// Does not wait.
    pub fn start(bitcoind: &Bitcoind, count: u16, confirmations: u32, settings: &[String]) -> eyre::Result<Self> {
        let settings = [&bitcoind_settings(bitcoind, &bitcoind.url()), settings].concat();
        Self::make(count, Vec::new(), confirmations, SLOT, &settings, &[])
    }

    /// The same with other slots, in whole seconds.
    pub fn with_slots(bitcoind: &Bitcoind, count: u16, confirmations: u32, slot: Duration) -> eyre::Result<Self> {
        let settings = bitcoind_settings(bitcoind, &bitcoind.url());
        Self::make(count, Vec::new(), confirmations, slot, &settings, &[])
    }

    /// The same, merge-mined: so many blocks may wait for work.
    pub fn mined(bitcoind: &Bitcoind, count: u16, confirmations: u32, max_blocks_without_pow: u64) -> eyre::Result<Self> {
        let settings = bitcoind_settings(bitcoind, &bitcoind.url());
        let work = ["--work".to_owned(), format!("--max-blocks-without-pow={max_blocks_without_pow}")];
        Self::make(count, Vec::new(), confirmations, SLOT, &settings, &work)
    }

    /// The same with one validator on each host of a lab.
    pub async fn spread(
        lab: &Lab,
        hosts: &[&str],
        bitcoind: &Bitcoind,
        confirmations: u32,
        settings: &[String],
    ) -> eyre::Result<Self> {
        let bitcoin = format!("{}:{BITCOIND_PORT}", own_address());
        forward(bitcoin.parse()?, bitcoind.url().trim_start_matches("http://").parse()?).await?;
        let settings = [&bitcoind_settings(bitcoind, &format!("http://{bitcoin}")), settings].concat();
        let host = |(number, name): (u8, &&str)| Host { namespace: lab.namespace(name), address: address(number) };
        let hosts: Vec<Host> = (0..).zip(hosts).map(host).collect();
        Self::make(u16::try_from(hosts.len())?, hosts, confirmations, SLOT, &settings, &[])
    }

    fn make(
        count: u16,
        hosts: Vec<Host>,
        confirmations: u32,
        slot: Duration,
        settings: &[String],
        arguments: &[String],
    ) -> eyre::Result<Self> {
        let folder = temporary_folder()?;
        let first_port = free_ports(count * PORTS_EACH)?;
        let home = folder.path().join("net");
        let made = Command::new(binary("alys")?)
            .arg("testnet")
            .arg(&home)
            .args([format!("--validators={count}"), format!("--port-base={first_port}")])
            .args(hosts.iter().map(|host| format!("--host={}", host.address)))
            .arg(format!("--confirmations={confirmations}"))
            .arg(format!("--slot-millis={}", slot.as_millis()))
            .args(arguments)
            .output()?;
        ensure!(made.status.success(), "`alys testnet` says {}", String::from_utf8_lossy(&made.stderr));
        let start = |number: u16| {
            let options = Options {
                data_dir: Some(home.join(format!("validator-{number}"))),
                dev: false,
                port_base: Some(first_port + (number - 1) * PORTS_EACH),
                set: settings.to_vec(),
                host: hosts.get(usize::from(number - 1)).cloned(),
                ..Options::default()
            };
            Ok(Node::of(Alys::start_alone(options)?))
        };
        let nodes = (1..=count).map(start).collect::<eyre::Result<_>>()?;
        Ok(Self { nodes, _folder: folder })
    }

    /// Waits until these have a block.
    pub async fn wait_height(&self, nodes: &[usize], height: u64, patience: Duration) -> eyre::Result<()> {
        let what = format!("block {height} at {nodes:?}");
        wait(&what, patience, async || {
            for node in nodes {
                let theirs = self.nodes[*node].height().await?;
                ensure!(theirs >= height, "validator {node} is at {theirs}");
            }
            Ok(Some(()))
        })
        .await
        .wrap_err_with(|| self.show())
    }

    /// Height of the highest head.
    pub async fn highest(&self) -> u64 {
        let mut highest = 0;
        for node in &self.nodes {
            highest = highest.max(node.height().await.unwrap_or(0));
        }
        highest
    }

    /// The same block on each of these, in every field that execution decides.
    pub async fn ensure_same_block(&self, nodes: &[usize], height: u64) -> eyre::Result<()> {
        let mut first: Option<Value> = None;
        for node in nodes {
            let block: Value =
                self.nodes[*node].ethereum().call("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await?;
            ensure!(block["hash"].is_string(), "validator {node} has no block {height}");
            let known = first.get_or_insert_with(|| block.clone());
            ensure!(*known == block, "block {height} differs: {known} and {block}");
        }
        Ok(())
    }

    /// Waits until an account has so much everywhere.
    pub async fn wait_balance(&self, account: Address, balance: U256, patience: Duration) -> eyre::Result<()> {
        wait("the balance to be the same everywhere", patience, async || {
            for (number, node) in self.nodes.iter().enumerate() {
                let theirs = node.ethereum().balance(account).await?;
                ensure!(theirs == balance, "{theirs} wei on validator {number}, not {balance}");
            }
            Ok(Some(()))
        })
        .await
        .wrap_err_with(|| self.show())
    }

    /// What an operator sees of every chain, for a test that failed.
    pub fn show(&self) -> String {
        let row = |node: &Node| node.row(Role::Chain).map_or_else(|cause| cause.to_string(), |row| format!("{:?}", row.status));
        self.nodes.iter().map(row).collect::<Vec<_>>().join("\n")
    }
}

fn bitcoind_settings(bitcoind: &Bitcoind, url: &str) -> Vec<String> {
    vec![format!("bridge.bitcoind.url={url}"), format!("bridge.bitcoind.cookie_file={}", bitcoind.cookie_file().display())]
}
