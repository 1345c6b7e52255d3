//! A node on hosts of a lab, as demonstration, deposits and burns need it.

use std::path::{Path, PathBuf};

use alys_cluster::Cluster;

use crate::ethereum::Ethereum;
use crate::sidechain::{Sidechain, command_on};

/// How the test reaches a node.
pub struct Reach {
    /// The mesh, as a debug node sees it.
    pub cluster: Cluster,
    /// The wallet's side.
    pub ethereum: Ethereum,
    /// Folder of the files that are outside of the hosts.
    pub home: PathBuf,
}

/// A node on hosts of a lab.
pub trait Hosted {
    /// How the test reaches it.
    fn reach(&self) -> &Reach;

    /// What its processes say of themselves, for a test that failed.
    fn report(&self) -> String;
}

impl<N: Hosted> Sidechain for N {
    fn mesh(&self) -> eyre::Result<&Cluster> {
        Ok(&self.reach().cluster)
    }

    fn wallet(&self) -> &Ethereum {
        &self.reach().ethereum
    }

    fn home(&self) -> &Path {
        &self.reach().home
    }

    fn command_output(&self, arguments: &[&str]) -> eyre::Result<String> {
        command_on(self.home(), arguments)
    }

    fn last_words(&self) -> String {
        self.report()
    }
}
