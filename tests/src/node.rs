//! A node of real processes beside others. A process can look into one mesh only, so everything is asked as people ask it:
//! through `alys status -o json` and the Eth JSON-RPC.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use alys_proto::Role;
use eyre::{OptionExt as _, WrapErr as _, bail, ensure};
use rustix::process::Signal;
use serde::Deserialize;

use crate::bitcoind::Bitcoind;
use crate::cluster::{Alys, Join, Options, signal, wait};
use crate::ethereum::Ethereum;
use crate::processes::{self, has_closed_its_files};

/// For what the kernel does.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// What `alys status -o json` says of one process.
#[derive(Clone, Debug, Deserialize)]
pub struct Shown {
    /// Role.
    pub role: String,
    /// Which one of its role.
    pub instance: String,
    /// Process id; 0: none.
    pub pid: u32,
    /// Changes with every start.
    pub incarnation: String,
    /// As people read it.
    pub health: String,
    /// Head, for roles that have one.
    pub head: Option<u64>,
    /// The role's own fields.
    pub status: BTreeMap<String, String>,
}

impl Shown {
    /// A field that is a number.
    pub fn count(&self, name: &str) -> eyre::Result<u64> {
        let field = self.status.get(name).ok_or_else(|| eyre::eyre!("{} does not show {name}", self.role))?;
        field.parse().wrap_err_with(|| format!("{name} of {} is `{field}`", self.role))
    }
}

/// A running `alys up`.
pub struct Node {
    alys: Alys,
}

impl Node {
    /// One that has been started.
    pub const fn of(alys: Alys) -> Self {
        Self { alys }
    }

    /// Joins the chain of a specification through a running validator, and waits until every role works.
    pub async fn join(bitcoind: &Bitcoind, validator: &Alys, spec_file: &Path) -> eyre::Result<Self> {
        let node = Self::begin(bitcoind, validator, spec_file, Vec::new()).await?;
        node.wait_working().await?;
        Ok(node)
    }

    /// Starts to join, with settings over the defaults, and does not wait.
    pub async fn begin(bitcoind: &Bitcoind, validator: &Alys, spec_file: &Path, set: Vec<String>) -> eyre::Result<Self> {
        let bootnode = validator.status_field(Role::Network, "addresses").await?.ok_or_eyre("the validator does not listen")?;
        let join = Join { spec_file: spec_file.to_owned(), bootnode };
        Ok(Self { alys: Alys::start(bitcoind, Options { join: Some(join), set, ..Options::default() })? })
    }

    /// Runs a command of the binary on it that must succeed; its standard output.
    pub fn succeed(&self, arguments: &[&str]) -> eyre::Result<String> {
        self.alys.succeed(arguments)
    }

    /// Waits until every role works.
    pub async fn wait_working(&self) -> eyre::Result<()> {
        let working = wait("the node's roles", Duration::from_secs(30), async || {
            let rows = self.rows()?;
            Ok(rows.iter().all(|row| ["ready", "degraded", "running"].contains(&row.health.as_str())).then_some(()))
        });
        working.await.wrap_err_with(|| format!("log of `alys up`:\n{}", self.alys.log_tail()))
    }

    /// Every role.
    pub fn rows(&self) -> eyre::Result<Vec<Shown>> {
        let output = self.alys.command(&["status", "-o", "json"])?;
        if output.stdout.is_empty() {
            bail!("`alys status` says: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// One role.
    pub fn row(&self, role: Role) -> eyre::Result<Shown> {
        self.rows()?.into_iter().find(|row| row.role == role.name()).ok_or_else(|| eyre::eyre!("no {role}"))
    }

    /// Waits until a role's row is as it should be.
    pub async fn wait_row(&self, role: Role, what: &str, holds: impl Fn(&Shown) -> eyre::Result<bool>) -> eyre::Result<Shown> {
        wait(what, Duration::from_secs(60), async || {
            let row = self.row(role)?;
            Ok(holds(&row)?.then_some(row))
        })
        .await
        .wrap_err_with(|| format!("status: {:#?}", self.rows()))
    }

    /// Kills the process of a role with SIGKILL; returns what it was.
    pub fn kill(&self, role: Role) -> eyre::Result<Shown> {
        let row = self.row(role)?;
        signal(row.pid, Signal::KILL)?;
        Ok(row)
    }

    /// Kills every process with SIGKILL, as a power cut does.
    pub fn kill_all(&mut self) -> eyre::Result<()> {
        let pids: Vec<u32> = self.rows()?.into_iter().map(|row| row.pid).filter(|pid| *pid > 0).collect();
        // Its parent first: it must not start any again.
        self.alys.kill_parent()?;
        for pid in &pids {
            // With their parent gone some have ended.
            let _ended = signal(*pid, Signal::KILL);
        }
        let started = Instant::now();
        loop {
            // One that the supervisor has started meanwhile is none of those above.
            let later = processes::of(self.home())?.into_iter().map(|process| process.pid);
            let left: Vec<u32> = pids.iter().copied().chain(later).filter(|pid| !has_closed_its_files(*pid)).collect();
            if left.is_empty() {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "processes {left:?} were killed and do not end");
            for pid in left {
                let _ended = signal(pid, Signal::KILL);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Height of its head, as wallets see it.
    pub async fn height(&self) -> eyre::Result<u64> {
        self.alys.ethereum().height().await
    }

    /// Where deposits go.
    pub fn federation_address(&self) -> eyre::Result<bitcoin::Address> {
        let shown: serde_json::Value = serde_json::from_str(&self.alys.succeed(&["peg-in", "address", "-o", "json"])?)?;
        let address = shown.get("address").and_then(serde_json::Value::as_str).ok_or_eyre("no address")?;
        Ok(address.parse::<bitcoin::Address<_>>()?.assume_checked())
    }

    /// Folder of its files.
    pub fn home(&self) -> &Path {
        self.alys.data_dir()
    }

    /// The logs of all its processes.
    pub fn logs(&self) -> eyre::Result<String> {
        self.alys.logs()
    }

    /// Fails when any process has panicked, also one that was caught.
    pub fn ensure_no_panic(&self) -> eyre::Result<()> {
        self.alys.ensure_no_panic()
    }

    /// The wallet's side.
    pub const fn ethereum(&self) -> &Ethereum {
        self.alys.ethereum()
    }

    /// Ends all processes; the exit code.
    pub fn stop(&mut self) -> eyre::Result<Option<i32>> {
        self.alys.stop()
    }

    /// Starts it again with the same command, and does not wait.
    pub fn launch(&mut self) -> eyre::Result<()> {
        self.alys.launch()
    }

    /// Starts it again with the same command.
    pub async fn resume(&mut self) -> eyre::Result<()> {
        self.alys.launch()?;
        self.wait_working().await
    }
}
