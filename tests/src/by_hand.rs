//! A cluster whose roles are started one by one, as by units or pods: no supervisor restarts or kills any of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use alys::prepare::{DevChain, dev};
use alys_cluster::Cluster;
use alys_cluster::testing::free_port;
use alys_proto::cluster::Observation;
use alys_proto::{Role, chain, storage};
use eyre::{OptionExt as _, WrapErr as _, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::bitcoind::Bitcoind;
use crate::cluster::{binary, temporary_folder, wait};
use crate::processes::signal;

/// The roles that make blocks.
pub const ROLES: [Role; 6] = [Role::Storage, Role::Engine, Role::Chain, Role::Bridge, Role::Network, Role::Stream];

/// Roles by the name under which the test started them. Dropping it kills what is left.
pub struct ByHand {
    folder: TempDir,
    settings: Vec<String>,
    children: BTreeMap<String, Child>,
    cluster: Cluster,
}

impl ByHand {
    /// Makes a test chain with slots of one second and starts [`ROLES`]; `settings` as `--set` takes them.
    pub async fn start(bitcoind: &Bitcoind, settings: &[&str]) -> eyre::Result<Self> {
        let mut all = vec![
            format!("bridge.bitcoind.url={}", bitcoind.url()),
            format!("bridge.bitcoind.cookie_file={}", bitcoind.cookie_file().display()),
            format!("engine.rpc.listen=127.0.0.1:{}", free_port()?),
            format!("stream.listen=127.0.0.1:{}", free_port()?),
            format!("network.listen=[\"/ip4/127.0.0.1/tcp/{}\"]", free_port()?),
        ];
        all.extend(settings.iter().map(|&setting| setting.to_owned()));
        let mut by_hand = Self::empty().await?;
        by_hand.settings = all;
        for role in ROLES {
            by_hand.run(role, role.name(), role.name())?;
        }
        Ok(by_hand)
    }

    /// The files of a test chain, and no role yet.
    pub async fn empty() -> eyre::Result<Self> {
        let folder = temporary_folder()?;
        let chain = DevChain { slot_millis: 1_000, confirmations: 3, ..DevChain::default() };
        dev(folder.path(), &chain).map_err(|failure| eyre::eyre!("{failure}"))?;
        let file = folder.path().join("alys.toml");
        let loaded = alys::config::load(&file, &[]).map_err(|failure| eyre::eyre!("{failure}"))?;
        let cluster = alys_cluster::attach(&loaded.config.cluster).await?;
        Ok(Self { folder, settings: Vec::new(), children: BTreeMap::new(), cluster })
    }

    /// Starts one process of a role. `name` is the test's name for it, and of its log.
    pub fn run(&mut self, role: Role, instance: &str, name: &str) -> eyre::Result<u32> {
        let mut arguments = vec!["role".to_owned(), role.name().to_owned(), format!("--instance={instance}")];
        arguments.push(format!("--data-dir={}", self.folder.path().display()));
        for setting in &self.settings {
            arguments.extend(["--set".to_owned(), setting.clone()]);
        }
        self.spawn("alys", &arguments, name)
    }

    /// Starts a program of this workspace.
    pub fn spawn(&mut self, program: &str, arguments: &[String], name: &str) -> eyre::Result<u32> {
        let log = std::fs::File::create(self.log_file(name))?;
        let child = Command::new(binary(program)?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .wrap_err_with(|| format!("cannot start {name}"))?;
        let pid = child.id();
        if self.children.insert(name.to_owned(), child).is_some() {
            bail!("{name} was started before");
        }
        Ok(pid)
    }

    /// Kills a process and waits for its end.
    pub fn kill(&mut self, name: &str) -> eyre::Result<()> {
        let mut child = self.children.remove(name).ok_or_else(|| eyre::eyre!("{name} was not started"))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The mesh, as a debug node sees it.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Folder of the chain's files.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The process id behind a name.
    pub fn pid(&self, name: &str) -> eyre::Result<u32> {
        self.children.get(name).map(Child::id).ok_or_else(|| eyre::eyre!("{name} was not started"))
    }

    /// Sends a signal to one of the processes.
    pub fn signal(&self, name: &str, kind: Signal) -> eyre::Result<()> {
        signal(self.pid(name)?, kind)
    }

    /// Waits until a process has ended by itself.
    pub async fn ended(&mut self, name: &str, patience: Duration) -> eyre::Result<ExitStatus> {
        let mut child = self.children.remove(name).ok_or_else(|| eyre::eyre!("{name} was not started"))?;
        let started = tokio::time::Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.children.insert(name.to_owned(), child);
        bail!("{name} did not end within {patience:?}:\n{}", self.log(name)?)
    }

    /// What a process has printed.
    pub fn log(&self, name: &str) -> eyre::Result<String> {
        Ok(std::fs::read_to_string(self.log_file(name))?)
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.by-hand.log"))
    }

    /// What the process with this id says of itself.
    pub async fn observation(&self, pid: u32) -> eyre::Result<Option<Observation>> {
        let observed = self.cluster.observe_all(Duration::from_secs(2)).await;
        Ok(observed.into_iter().filter_map(|seen| seen.observation.ok()).find(|seen| seen.pid == pid))
    }

    /// The lease of a role, as storage has it.
    pub async fn lease(&self, role: Role) -> eyre::Result<storage::Lease> {
        let leases = self.cluster.remote::<storage::Inbox>().ask(storage::GetLeases {}).await?;
        leases.leases.into_iter().find(|lease| lease.role() == role).ok_or_eyre("nobody has ever held it")
    }

    /// Head of the chain role that serves.
    pub async fn head(&self) -> eyre::Result<chain::ChainHead> {
        let question = chain::GetChainHead {};
        Ok(self.cluster.remote::<chain::Inbox>().ask_within(Duration::from_secs(1), question).await?)
    }

    /// Waits until the chain has grown by so many blocks.
    pub async fn wait_blocks(&self, count: u64, patience: Duration) -> eyre::Result<()> {
        let wanted = wait("a head", patience, async || Ok(Some(self.head().await?.height + count))).await?;
        wait(&format!("block {wanted}"), patience, async || Ok((self.head().await?.height >= wanted).then_some(()))).await
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _already_gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
