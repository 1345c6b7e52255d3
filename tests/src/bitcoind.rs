//! A real `bitcoind` on regtest for a test: started on free ports with its data in memory, asked through RPC, and
//! stopped by its pid when dropped, also when the test panics.
//!
//! The program is `$ALYS_BITCOIND`, else `.tools/bin/bitcoind` of the project (`tests/tools/install-bitcoind.sh` puts it
//! there), else the one on the `PATH`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::testing::free_port;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Address, Amount, BlockHash, Network, Transaction, Txid};
use corepc_client::{Auth, Client};
use eyre::{OptionExt, WrapErr, bail, ensure};
use rustix::process::{Pid, Signal};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a start or a stop may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Another process may take a free port between our look and bitcoind's bind.
const START_ATTEMPTS: u32 = 5;
/// A coinbase can be spent after 100 more blocks.
const MATURE: u64 = 101;
/// The wallet that mines and funds.
const WALLET: &str = "miner";

/// A running regtest node. Dropping it ends the process and removes its data.
pub struct Bitcoind {
    process: Option<Child>,
    directory: TempDir,
    ports: Ports,
    client: Client,
}

#[derive(Clone, Copy)]
struct Ports {
    rpc: u16,
    p2p: u16,
}

impl Bitcoind {
    /// Starts a node with an empty chain and a wallet to mine to.
    pub async fn start() -> eyre::Result<Self> {
        let directory = data_directory()?;
        for attempt in 1.. {
            let ports = Ports { rpc: free_port()?, p2p: free_port()? };
            match launch(directory.path(), ports).await {
                Ok((process, client)) => {
                    let node = Self { process: Some(process), directory, ports, client };
                    node.create_wallet().await?;
                    return Ok(node);
                }
                Err(cause) if attempt == START_ATTEMPTS => return Err(cause),
                Err(_) => {}
            }
        }
        bail!("not reached: the loop returns")
    }

    /// Ends the process as an operator would; the data stays for [`Bitcoind::resume`].
    pub fn stop(&mut self) -> eyre::Result<()> {
        match self.process.take() {
            Some(mut process) => end(&mut process),
            None => Ok(()),
        }
    }

    /// Starts the process again on the same data and ports.
    pub async fn resume(&mut self) -> eyre::Result<()> {
        self.stop()?;
        let (process, client) = launch(self.directory.path(), self.ports).await?;
        self.process = Some(process);
        self.client = client;
        Ok(())
    }

    /// Stops and starts the process.
    pub async fn restart(&mut self) -> eyre::Result<()> {
        self.resume().await
    }

    /// The client that the harness itself uses.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Where a role or a governance node reaches the RPC server.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.rpc)
    }

    /// The file with the RPC server's user and password. New content after each start, same path.
    pub fn cookie_file(&self) -> PathBuf {
        self.directory.path().join("regtest").join(".cookie")
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Calls any RPC method.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, arguments: &[Value]) -> eyre::Result<T> {
        self.client.call(method, arguments).await.wrap_err_with(|| format!("bitcoind {method}"))
    }

    /// A new address of the node's own wallet.
    pub async fn new_address(&self) -> eyre::Result<Address> {
        let text: String = self.call("getnewaddress", &[]).await?;
        Ok(text.parse::<Address<_>>()?.require_network(Network::Regtest)?)
    }

    /// Mines `blocks` to `address`; their hashes in order.
    pub async fn mine_to(&self, blocks: u64, address: &Address) -> eyre::Result<Vec<BlockHash>> {
        self.call("generatetoaddress", &[json!(blocks), json!(address.to_string())]).await
    }

    /// Mines `blocks` to the node's own wallet. To a fresh address each time, so that a replaced block never returns.
    pub async fn mine(&self, blocks: u64) -> eyre::Result<Vec<BlockHash>> {
        let address = self.new_address().await?;
        self.mine_to(blocks, &address).await
    }

    /// Mines one block with no transaction of the mempool in it.
    pub async fn mine_empty(&self) -> eyre::Result<BlockHash> {
        #[derive(serde::Deserialize)]
        struct Generated {
            hash: BlockHash,
        }
        let address = self.new_address().await?;
        let generated: Generated = self.call("generateblock", &[json!(address.to_string()), json!([])]).await?;
        Ok(generated.hash)
    }

    /// Gives the node's wallet coins to spend.
    pub async fn mine_coins(&self) -> eyre::Result<()> {
        self.mine(MATURE).await.map(drop)
    }

    /// Sends `amount` from the node's wallet to `address`, mining coins first when there are none. Not yet in a block.
    pub async fn fund(&self, address: &Address, amount: Amount) -> eyre::Result<Txid> {
        self.send(&[json!({ address.to_string(): amount.to_btc() })]).await
    }

    /// Sends a deposit: `amount` to `address` and an `OP_RETURN` with `data`. Not yet in a block.
    pub async fn deposit(&self, address: &Address, amount: Amount, data: &[u8]) -> eyre::Result<Txid> {
        self.send(&[json!({ address.to_string(): amount.to_btc() }), json!({ "data": hex::encode(data) })]).await
    }

    /// Sends a transaction with exactly these outputs (as `send` of the RPC takes them) from the node's wallet.
    pub async fn send(&self, outputs: &[Value]) -> eyre::Result<Txid> {
        #[derive(serde::Deserialize)]
        struct Sent {
            txid: Txid,
        }
        let balance: f64 = self.call("getbalance", &[]).await?;
        if balance < 40.0 {
            self.mine_coins().await?;
        }
        let rate = json!(5);
        let sent: Sent = self.call("send", &[json!(outputs), Value::Null, json!("unset"), rate]).await?;
        Ok(sent.txid)
    }

    /// Hands a signed transaction to the mempool.
    pub async fn broadcast(&self, transaction: &Transaction) -> eyre::Result<Txid> {
        self.call("sendrawtransaction", &[json!(serialize_hex(transaction))]).await
    }

    /// A transaction of the node's own wallet.
    pub async fn wallet_transaction(&self, txid: &Txid) -> eyre::Result<Transaction> {
        #[derive(serde::Deserialize)]
        struct Known {
            hex: String,
        }
        let known: Known = self.call("gettransaction", &[json!(txid)]).await?;
        Ok(deserialize_hex(&known.hex)?)
    }

    /// Whether the mempool holds the transaction.
    pub async fn in_mempool(&self, txid: &Txid) -> eyre::Result<bool> {
        let held: Vec<Txid> = self.call("getrawmempool", &[]).await?;
        Ok(held.contains(txid))
    }

    /// The unspent output's value, or `None` when it is spent or was never there. Looks at blocks only.
    pub async fn unspent(&self, txid: &Txid, output: u32) -> eyre::Result<Option<Amount>> {
        #[derive(serde::Deserialize)]
        struct Unspent {
            #[serde(with = "bitcoin::amount::serde::as_btc")]
            value: Amount,
        }
        let found: Option<Unspent> = self.call("gettxout", &[json!(txid), json!(output), json!(false)]).await?;
        Ok(found.map(|unspent| unspent.value))
    }

    /// Height of the best chain's tip.
    pub async fn height(&self) -> eyre::Result<u32> {
        self.call("getblockcount", &[]).await
    }

    /// Hash of the best chain's tip.
    pub async fn best_hash(&self) -> eyre::Result<BlockHash> {
        self.call("getbestblockhash", &[]).await
    }

    /// Hash of the best chain's block at `height`.
    pub async fn hash_at(&self, height: u32) -> eyre::Result<BlockHash> {
        self.call("getblockhash", &[json!(height)]).await
    }

    /// Makes the node turn away from this block and all after it: the first half of a reorganisation.
    pub async fn invalidate_block(&self, hash: &BlockHash) -> eyre::Result<()> {
        self.call("invalidateblock", &[json!(hash)]).await
    }

    /// Takes [`Bitcoind::invalidate_block`] back.
    pub async fn reconsider_block(&self, hash: &BlockHash) -> eyre::Result<()> {
        self.call("reconsiderblock", &[json!(hash)]).await
    }

    /// Replaces the last `depth` blocks by `depth + 1` empty ones, as if other miners had found a longer branch.
    /// Transactions of the lost blocks return to the mempool.
    pub async fn reorganise(&self, depth: u32) -> eyre::Result<()> {
        ensure!(depth > 0, "a reorganisation replaces at least one block");
        let height = self.height().await?;
        let first_lost = height.checked_sub(depth - 1).ok_or_eyre("deeper than the chain")?;
        self.invalidate_block(&self.hash_at(first_lost).await?).await?;
        for _ in 0..=depth {
            self.mine_empty().await?;
        }
        Ok(())
    }

    async fn create_wallet(&self) -> eyre::Result<()> {
        let (not, empty, descriptors, load_on_startup) = (json!(false), json!(""), json!(true), json!(true));
        let arguments = [json!(WALLET), not.clone(), not.clone(), empty, not, descriptors, load_on_startup];
        self.call::<Value>("createwallet", &arguments).await.map(drop)
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take()
            && end(&mut process).is_err()
        {
            // It did not end in time: the data is thrown away anyway.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The program to start.
fn program() -> PathBuf {
    if let Some(chosen) = std::env::var_os("ALYS_BITCOIND") {
        return PathBuf::from(chosen);
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/bitcoind");
    if installed.exists() { installed } else { PathBuf::from("bitcoind") }
}

/// In memory where that exists: the wallet's fsyncs make a disk many times slower.
fn data_directory() -> eyre::Result<TempDir> {
    let memory = crate::lab::inside().unwrap_or_else(|| PathBuf::from("/dev/shm"));
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("alys-bitcoind-");
        builder
    };
    if memory.is_dir()
        && let Ok(directory) = builder().tempdir_in(&memory)
    {
        return Ok(directory);
    }
    builder().tempdir().wrap_err("no folder for bitcoind's data")
}

/// Nothing leaves the loopback interface.
fn command(directory: &Path, ports: Ports) -> Command {
    let mut command = Command::new(program());
    command
        .arg(format!("-datadir={}", directory.display()))
        .arg(format!("-rpcport={}", ports.rpc))
        .arg(format!("-bind=127.0.0.1:{}", ports.p2p))
        .args(["-regtest", "-server", "-daemon=0", "-printtoconsole=0", "-fallbackfee=0.0001", "-rpcworkqueue=64"])
        .args(["-natpmp=0", "-dnsseed=0", "-fixedseeds=0", "-discover=0", "-listenonion=0", "-connect=0"])
        .args(["-whitelist=noban@127.0.0.1", "-addresstype=bech32m", "-changetype=bech32m", "-dbcache=16", "-par=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

async fn launch(directory: &Path, ports: Ports) -> eyre::Result<(Child, Client)> {
    let mut process = command(directory, ports)
        .spawn()
        .wrap_err_with(|| format!("{} does not start; run tests/tools/install-bitcoind.sh", program().display()))?;
    match wait_until_ready(&mut process, directory, ports).await {
        Ok(client) => Ok((process, client)),
        Err(cause) => {
            let _ = process.kill();
            let _ = process.wait();
            Err(cause)
        }
    }
}

/// Ready means that it answers: polled, because the process tells nobody.
async fn wait_until_ready(process: &mut Child, directory: &Path, ports: Ports) -> eyre::Result<Client> {
    let cookie = directory.join("regtest").join(".cookie");
    let url = format!("http://127.0.0.1:{}", ports.rpc);
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = process.try_wait()? {
            let mut said = String::new();
            if let Some(mut stderr) = process.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut said)?;
            }
            bail!("bitcoind ended with {status}: {}", said.trim());
        }
        if let Ok(client) = Client::new_with_auth(&url, Auth::CookieFile(cookie.clone()))
            && client.call::<u32>("getblockcount", &[]).await.is_ok()
        {
            return Ok(client);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("bitcoind did not answer within {PATIENCE:?}")
}

/// SIGTERM to this pid, then waits for its end.
fn end(process: &mut Child) -> eyre::Result<()> {
    if process.try_wait()?.is_some() {
        return Ok(());
    }
    rustix::process::kill_process(Pid::from_child(process), Signal::TERM)?;
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        if process.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("bitcoind did not end within {PATIENCE:?}")
}
