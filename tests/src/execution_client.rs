//! A whole execution client that is not ours: EthereumJS, as `tests/tools/execution-client` installs it, on free ports with
//! its data in memory. It ends with the value, also when the test panics.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alys_cluster::testing::free_port;
use eyre::{OptionExt as _, WrapErr as _, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::cluster::{temporary_folder, wait};
use crate::ethereum::{Ethereum, key_hex, random_key};
use crate::processes;

/// Node reads a lot of JavaScript first.
const PATIENCE: Duration = Duration::from_secs(60);

/// One client. Dropping it ends the process and removes its data.
pub struct ExecutionClient {
    process: Option<Child>,
    program: PathBuf,
    folder: TempDir,
    engine_port: u16,
    rpc_port: u16,
    ethereum: Ethereum,
}

impl ExecutionClient {
    /// Ports and secret for a client that is started later. `None`, and why on the error output: Node.js is not installed.
    pub fn prepare() -> eyre::Result<Option<Self>> {
        let Some(program) = program()? else { return Ok(None) };
        let folder = temporary_folder()?;
        // Any 32 bytes will do.
        std::fs::write(folder.path().join("jwt.hex"), key_hex(&random_key()))?;
        let (engine_port, rpc_port) = (free_port()?, free_port()?);
        let ethereum = Ethereum::new(&format!("http://127.0.0.1:{rpc_port}"))?;
        Ok(Some(Self { process: None, program, folder, engine_port, rpc_port, ethereum }))
    }

    /// What `alys` is told about it.
    pub fn settings(&self) -> Vec<String> {
        vec![
            "engine.backend=engine-api".into(),
            format!("engine.client.engine_url=http://127.0.0.1:{}", self.engine_port),
            format!("engine.client.rpc_url=http://127.0.0.1:{}", self.rpc_port),
            format!("engine.client.jwt_file={}", self.jwt_file().display()),
        ]
    }

    /// The secret that both sides share.
    pub fn jwt_file(&self) -> PathBuf {
        self.folder.path().join("jwt.hex")
    }

    /// Its own Eth JSON-RPC.
    pub const fn ethereum(&self) -> &Ethereum {
        &self.ethereum
    }

    /// Its port of the Engine API.
    pub const fn engine_port(&self) -> u16 {
        self.engine_port
    }

    /// Where its port of the Eth JSON-RPC is.
    pub const fn rpc_port(&self) -> u16 {
        self.rpc_port
    }

    /// Starts it on what data it has and waits until it answers.
    pub async fn start(&mut self, genesis: &Path) -> eyre::Result<()> {
        let log = File::create(self.log())?;
        let argument = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}");
        let mut command = Command::new("node");
        command
            .arg(&self.program)
            .args([
                argument("dataDir", &self.data().display()),
                argument("gethGenesis", &genesis.display()),
                argument("jwtSecret", &self.jwt_file().display()),
                argument("rpcEnginePort", &self.engine_port),
                argument("rpcPort", &self.rpc_port),
                argument("port", &free_port()?),
            ])
            .args(["--rpc", "--rpcEngine", "--rpcAddr=127.0.0.1", "--rpcEngineAddr=127.0.0.1", "--saveReceipts"])
            // It has no peers and is never behind but for what we give it.
            .args(["--discDns=false", "--discV4=false", "--maxPeers=0", "--minPeers=0", "--extIP=127.0.0.1"])
            .args(["--sync=full", "--isSingleNode=true", "--startExecution=true"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        self.process = Some(command.spawn().wrap_err("cannot start `node`")?);
        wait("the execution client to answer", PATIENCE, async || Ok(self.ethereum.height().await.ok()))
            .await
            .map(|_height| ())
            .wrap_err_with(|| format!("log of the execution client:\n{}", self.log_tail()))
    }

    /// Ends it with `kill -9`; its data stays.
    pub fn kill(&mut self) -> eyre::Result<()> {
        if let Some(mut process) = self.process.take() {
            processes::signal(process.id(), Signal::KILL)?;
            process.wait()?;
        }
        Ok(())
    }

    /// Forgets all of its data. It must not run.
    pub fn wipe(&self) -> eyre::Result<()> {
        ensure!(self.process.is_none(), "it runs");
        Ok(std::fs::remove_dir_all(self.data())?)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("client.log")
    }

    /// The end of what it says.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }
}

impl Drop for ExecutionClient {
    fn drop(&mut self) {
        // Nothing else can be done about it here.
        let _ended = self.kill();
    }
}

/// Where the client is, installed when it is not there yet.
fn program() -> eyre::Result<Option<PathBuf>> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/execution-client/setup.mjs");
    let Ok(output) = Command::new("node").arg(setup).stdin(Stdio::null()).output() else {
        eprintln!("skipped: `node` is not installed; with node and npm this test runs EthereumJS");
        return Ok(None);
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "EthereumJS cannot be installed: {said}");
    let shown = String::from_utf8(output.stdout)?;
    Ok(Some(shown.lines().last().ok_or_eyre("the installation names no program")?.into()))
}
