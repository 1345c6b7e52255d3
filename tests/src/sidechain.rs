//! A running sidechain node, however it was started: what demonstration, deposits and burns need of it.

use std::path::Path;
use std::process::{Command, Stdio};

use alys_cluster::Cluster;
use alys_proto::{bridge, chain};
use eyre::ensure;

use crate::cluster::{Alys, binary};
use crate::ethereum::Ethereum;

/// A node under test.
pub trait Sidechain {
    /// The mesh, as a debug node sees it.
    fn mesh(&self) -> eyre::Result<&Cluster>;

    /// The wallet's side.
    fn wallet(&self) -> &Ethereum;

    /// Folder of its files.
    fn home(&self) -> &Path;

    /// Runs a command of the binary on it that must succeed; its standard output.
    fn command_output(&self, arguments: &[&str]) -> eyre::Result<String>;

    /// The last words of its processes, for a test that failed.
    fn last_words(&self) -> String;

    /// The federation and its address.
    fn federation_now(&self) -> impl Future<Output = eyre::Result<bridge::Federation>> {
        async { Ok(self.mesh()?.remote::<bridge::Inbox>().ask(bridge::GetFederation {}).await?) }
    }

    /// Every deposit and burn, as bridge sees them.
    fn pegs_now(&self) -> impl Future<Output = eyre::Result<bridge::Pegs>> {
        async { Ok(self.mesh()?.remote::<bridge::Inbox>().ask(bridge::ListPegs {}).await?) }
    }

    /// Head of the chain role.
    fn head_now(&self) -> impl Future<Output = eyre::Result<chain::ChainHead>> {
        async { Ok(self.mesh()?.remote::<chain::Inbox>().ask(chain::GetChainHead {}).await?) }
    }
}

/// Runs a command of the binary on the files of a node; it must succeed.
pub(crate) fn command_on(home: &Path, arguments: &[&str]) -> eyre::Result<String> {
    let data_dir = format!("--data-dir={}", home.display());
    let output = Command::new(binary("alys")?).args(arguments).arg(data_dir).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`alys {}` ended with {}: {said}", arguments.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

impl Sidechain for Alys {
    fn mesh(&self) -> eyre::Result<&Cluster> {
        self.cluster()
    }

    fn wallet(&self) -> &Ethereum {
        self.ethereum()
    }

    fn home(&self) -> &Path {
        self.data_dir()
    }

    fn command_output(&self, arguments: &[&str]) -> eyre::Result<String> {
        self.succeed(arguments)
    }

    fn last_words(&self) -> String {
        self.log_tail()
    }
}
