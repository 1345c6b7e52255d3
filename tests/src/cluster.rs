//! A whole cluster of real processes, started as an operator starts it (`alys up --dev`), and looked into as a debug node
//! looks into it. Dropping it ends every process, also when the test panics.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::testing::free_port;
use alys_cluster::{Cluster, Observed};
use alys_proto::cluster::{Health, Observation};
use alys_proto::role::ROLES;
use alys_proto::{Role, bridge, chain};
use eyre::{OptionExt as _, WrapErr as _, bail, ensure};
use rustix::process::Signal;

use crate::bitcoind::Bitcoind;
use crate::ethereum::Ethereum;
pub use crate::processes::{is_alive, signal};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long an orderly end may take before the harness kills what is left.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// What differs between clusters of tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bitcoin blocks until a deposit counts.
    pub confirmations: u32,
    /// Milliseconds of a slot.
    pub slot_millis: u64,
    /// Configuration over the defaults, as `--set` takes it.
    pub set: Vec<String>,
    /// Where the data goes; none: a folder in memory that goes with the cluster.
    pub data_dir: Option<PathBuf>,
    /// Be a full node of this chain instead of a chain of its own.
    pub join: Option<Join>,
    /// Make what is missing of a chain of its own (`up --dev`), or start what is there (`up`).
    pub dev: bool,
    /// The first of the three ports that are in the configuration of what is there; none: free ones.
    pub port_base: Option<u16>,
    /// Run on this host of a lab.
    pub host: Option<Host>,
}

/// A host of a lab.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its network namespace.
    pub namespace: String,
    /// Its address.
    pub address: String,
}

/// A chain that others run.
#[derive(Clone, Debug)]
pub struct Join {
    /// Its specification.
    pub spec_file: PathBuf,
    /// A node of it.
    pub bootnode: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            confirmations: 3,
            slot_millis: 1_000,
            set: Vec::new(),
            data_dir: None,
            join: None,
            dev: true,
            port_base: None,
            host: None,
        }
    }
}

/// A running `alys up`.
pub struct Alys {
    process: Option<Child>,
    folder: Folder,
    arguments: Vec<String>,
    cluster: Option<Cluster>,
    ethereum: Ethereum,
    host: Option<Host>,
}

enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

impl Alys {
    /// Starts a cluster on free ports and waits until all roles are ready.
    pub async fn up(bitcoind: &Bitcoind, options: Options) -> eyre::Result<Self> {
        let mut alys = Self::start(bitcoind, options)?;
        alys.attach().await?;
        alys.wait_ready(Duration::from_secs(30)).await?;
        Ok(alys)
    }

    /// Starts the processes and does not wait.
    pub fn start(bitcoind: &Bitcoind, mut options: Options) -> eyre::Result<Self> {
        let mut set = vec![
            format!("bridge.bitcoind.url={}", bitcoind.url()),
            format!("bridge.bitcoind.cookie_file={}", bitcoind.cookie_file().display()),
        ];
        set.append(&mut options.set);
        Self::start_alone(Options { set, ..options })
    }

    /// Starts the processes with the bitcoind that the options or the configuration name.
    pub fn start_alone(options: Options) -> eyre::Result<Self> {
        let folder = match &options.data_dir {
            Some(path) => Folder::Kept(path.clone()),
            None => Folder::Temporary(temporary_folder()?),
        };
        let eth_port = options.port_base.map_or_else(free_port, Ok)?;
        let mut arguments = vec!["up".to_owned(), format!("--data-dir={}", folder.path().display())];
        arguments.extend(match &options.join {
            Some(join) => vec![format!("--join={}", join.spec_file.display()), format!("--bootnode={}", join.bootnode)],
            None if !options.dev => Vec::new(),
            None => vec![
                "--dev".to_owned(),
                format!("--confirmations={}", options.confirmations),
                format!("--slot-millis={}", options.slot_millis),
            ],
        });
        let mut set = Vec::new();
        if options.port_base.is_none() {
            set.extend([
                format!("engine.rpc.listen=127.0.0.1:{eth_port}"),
                format!("stream.listen=127.0.0.1:{}", free_port()?),
                format!("network.listen=[\"/ip4/127.0.0.1/tcp/{}\"]", free_port()?),
            ]);
        }
        let address = options.host.as_ref().map_or("127.0.0.1", |host| &host.address);
        if options.host.is_some() {
            set.push(format!("engine.rpc.listen={address}:{eth_port}"));
        }
        let ethereum = Ethereum::new(&format!("http://{address}:{eth_port}"))?;
        set.extend(options.set);
        for value in set {
            arguments.extend(["--set".to_owned(), value]);
        }
        let host = options.host;
        let mut alys = Self { process: None, folder, arguments, cluster: None, ethereum, host };
        alys.launch()?;
        Ok(alys)
    }

    /// Starts the supervisor as a role of its own on the data that `up` made, and does not wait. The roles outlive it.
    pub fn launch_supervisor(&mut self) -> eyre::Result<()> {
        let settings = self.arguments.iter().position(|argument| argument == "--set").map_or(&[][..], |at| &self.arguments[at..]);
        let data_dir = format!("--data-dir={}", self.folder.path().display());
        let arguments = ["role", "supervisor", &data_dir].into_iter().map(str::to_owned).chain(settings.iter().cloned());
        self.run(&arguments.collect::<Vec<_>>())
    }

    /// Starts the processes, again after an end, and does not wait.
    pub fn launch(&mut self) -> eyre::Result<()> {
        self.run(&self.arguments.clone())
    }

    fn run(&mut self, arguments: &[String]) -> eyre::Result<()> {
        let log = std::fs::File::create(self.folder.path().join("up.log")).or_else(|_missing| {
            std::fs::create_dir_all(self.folder.path())?;
            std::fs::File::create(self.folder.path().join("up.log"))
        })?;
        let mut command = match &self.host {
            Some(host) => {
                let mut command = Command::new("nsenter");
                // It becomes the program: the process id stays the same.
                command.arg(format!("--net=/run/netns/{}", host.namespace)).arg(binary("alys")?);
                command
            }
            None => Command::new(binary("alys")?),
        };
        let process = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .wrap_err("cannot start `alys`")?;
        self.process = Some(process);
        Ok(())
    }

    /// Joins the mesh as a hidden node, once the cluster's files are there.
    pub async fn attach(&mut self) -> eyre::Result<()> {
        let config_file = self.data_dir().join("alys.toml");
        wait("the first run to write its configuration", Duration::from_secs(10), async || {
            Ok(config_file.exists().then_some(()))
        })
        .await?;
        let loaded = alys::config::load(&config_file, &[]).map_err(|failure| eyre::eyre!("{failure}"))?;
        self.cluster = Some(alys_cluster::attach(&loaded.config.cluster).await?);
        Ok(())
    }

    /// Waits until each of the eight roles says that it is ready.
    pub async fn wait_ready(&mut self, patience: Duration) -> eyre::Result<()> {
        let ready = wait("all roles to be ready", patience, async || {
            let observations = self.observations().await?;
            let is_ready = |role: Role| observations.iter().any(|seen| seen.role() == role && seen.health() == Health::Ready);
            Ok(ROLES.into_iter().all(is_ready).then_some(()))
        })
        .await;
        if ready.is_err()
            && let Some(process) = &mut self.process
            && let Some(status) = process.try_wait()?
        {
            bail!("`alys up` ended with {status}:\n{}", self.log_tail());
        }
        ready.wrap_err_with(|| format!("log of `alys up`:\n{}", self.log_tail()))
    }

    /// The mesh, as a debug node sees it.
    pub fn cluster(&self) -> eyre::Result<&Cluster> {
        self.cluster.as_ref().ok_or_eyre("not attached")
    }

    /// Observations of all live roles.
    pub async fn observations(&self) -> eyre::Result<Vec<Observation>> {
        let observed: Vec<Observed> = self.cluster()?.observe_all(Duration::from_secs(2)).await;
        Ok(observed.into_iter().filter_map(|seen| seen.observation.ok()).collect())
    }

    /// Observation of one role, if it lives.
    pub async fn observation(&self, role: Role) -> eyre::Result<Option<Observation>> {
        Ok(self.observations().await?.into_iter().find(|seen| seen.role() == role))
    }

    /// One field of a role's own status.
    pub async fn status_field(&self, role: Role, name: &str) -> eyre::Result<Option<String>> {
        let observation = self.observation(role).await?;
        let find = |seen: Observation| seen.status.into_iter().find(|field| field.name == name);
        Ok(observation.and_then(find).map(|field| field.value))
    }

    /// The wallet's side.
    pub const fn ethereum(&self) -> &Ethereum {
        &self.ethereum
    }

    /// Head of the chain role.
    pub async fn head(&self) -> eyre::Result<chain::ChainHead> {
        Ok(self.cluster()?.remote::<chain::Inbox>().ask(chain::GetChainHead {}).await?)
    }

    /// Every deposit and burn, as bridge sees them.
    pub async fn pegs(&self) -> eyre::Result<bridge::Pegs> {
        Ok(self.cluster()?.remote::<bridge::Inbox>().ask(bridge::ListPegs {}).await?)
    }

    /// The federation and its address.
    pub async fn federation(&self) -> eyre::Result<bridge::Federation> {
        Ok(self.cluster()?.remote::<bridge::Inbox>().ask(bridge::GetFederation {}).await?)
    }

    /// Where the cluster's files are.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Runs another command of the binary against this cluster.
    pub fn command(&self, arguments: &[&str]) -> eyre::Result<Output> {
        Ok(Command::new(binary("alys")?)
            .args(arguments)
            .arg(format!("--data-dir={}", self.data_dir().display()))
            .stdin(Stdio::null())
            .output()?)
    }

    /// Runs a command that must succeed; its standard output.
    pub fn succeed(&self, arguments: &[&str]) -> eyre::Result<String> {
        let output = self.command(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`alys {}` ended with {}: {said}", arguments.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Kills the process of a role with SIGKILL; returns its pid.
    pub async fn kill(&self, role: Role) -> eyre::Result<u32> {
        let seen = self.observation(role).await?.ok_or_else(|| eyre::eyre!("{role} does not live"))?;
        signal(seen.pid, Signal::KILL)?;
        Ok(seen.pid)
    }

    /// Process id of `alys up`, which is the supervisor.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Pids of all live roles.
    pub async fn pids(&self) -> eyre::Result<Vec<u32>> {
        Ok(self.observations().await?.into_iter().map(|seen| seen.pid).collect())
    }

    /// Whether `alys up` still runs.
    pub fn is_running(&self) -> bool {
        self.pid().is_some_and(is_alive)
    }

    /// Waits until `alys up` has ended by itself; its exit code.
    pub fn wait_end(&mut self, patience: Duration) -> eyre::Result<Option<i32>> {
        let Some(process) = &mut self.process else { bail!("it does not run") };
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = process.try_wait()? {
                self.process = None;
                return Ok(status.code());
            }
            std::thread::sleep(LOOK);
        }
        bail!("`alys up` did not end by itself within {patience:?}:\n{}", self.log_tail())
    }

    /// Ends the cluster with SIGTERM; its exit code.
    pub fn stop(&mut self) -> eyre::Result<Option<i32>> {
        let Some(mut process) = self.process.take() else { return Ok(None) };
        signal(process.id(), Signal::TERM)?;
        let started = Instant::now();
        while started.elapsed() < END_PATIENCE {
            if let Some(status) = process.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(LOOK);
        }
        process.kill()?;
        process.wait()?;
        bail!("`alys up` did not end within {END_PATIENCE:?}:\n{}", self.log_tail())
    }

    /// Starts it again on the same data.
    pub async fn resume(&mut self) -> eyre::Result<()> {
        self.launch()?;
        self.wait_ready(Duration::from_secs(30)).await
    }

    /// Takes the process out of the harness's care, as after a `kill -9` of the parent.
    pub fn kill_parent(&mut self) -> eyre::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// What `alys up` said to people.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    /// The logs of all processes.
    pub fn logs(&self) -> eyre::Result<String> {
        let mut all = String::new();
        let folder = self.folder.path().join("logs");
        // None before the first process.
        for entry in folder.is_dir().then(|| std::fs::read_dir(folder)).transpose()?.into_iter().flatten() {
            all.push_str(&String::from_utf8_lossy(&std::fs::read(entry?.path())?));
        }
        Ok(all)
    }

    /// Fails when any process has panicked, also one that was caught.
    pub fn ensure_no_panic(&self) -> eyre::Result<()> {
        let everything = self.said() + &self.logs()?;
        let panicked: Vec<&str> = everything.lines().filter(|line| line.contains("panicked at")).collect();
        ensure!(panicked.is_empty(), "a process panicked:\n{}", panicked.join("\n"));
        Ok(())
    }

    /// Waits until the chain has grown by so many blocks.
    pub async fn wait_blocks(&self, count: u64) -> eyre::Result<()> {
        let wanted = self.head().await?.height + count;
        let patience = Duration::from_secs(30 + 2 * count);
        wait(&format!("block {wanted}"), patience, async || Ok((self.head().await?.height >= wanted).then_some(()))).await
    }

    /// The last lines of what `alys up` said.
    pub fn log_tail(&self) -> String {
        let text = self.said();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(30)).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Alys {
    fn drop(&mut self) {
        if self.stop().is_err() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// Waits for a condition.
pub async fn wait<T>(what: &str, patience: Duration, condition: impl AsyncFn() -> eyre::Result<Option<T>>) -> eyre::Result<T> {
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < patience {
        match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => last = None,
            Err(cause) => last = Some(cause),
        }
        tokio::time::sleep(LOOK).await;
    }
    match last {
        Some(cause) => Err(cause.wrap_err(format!("waited {patience:?} for {what}"))),
        None => bail!("waited {patience:?} in vain for {what}"),
    }
}

/// A program of this workspace: in `ALYS_BIN_DIR` when that is set, else beside this one, or one folder up when this is a test.
pub fn binary(name: &str) -> eyre::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let chosen = std::env::var_os("ALYS_BIN_DIR").map(PathBuf::from);
    let beside = own.ancestors().skip(1).take(2).map(Path::to_owned);
    let found = chosen.into_iter().chain(beside).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| eyre::eyre!("{name} is not built: `make build`"))
}

/// A folder that goes with the value, in memory where that exists.
pub fn temporary_folder() -> eyre::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("alys-");
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
    folder.wrap_err("no folder for the cluster's data")
}
