//! `alys generate`: from one topology to systemd units or Kubernetes manifests. Pure: a topology goes in, files come out,
//! always the same ones; `deploy/` holds what comes out of `deploy/topology/` and a test keeps it so.

pub mod config;
pub mod credentials;
pub mod kubernetes;
pub mod members;
pub mod quantity;
pub mod systemd;
pub mod topology;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use alys_proto::Role;

use crate::failure::{OrFail as _, Outcome};

/// Files to write, by path relative to the output folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, String>);

impl Tree {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: impl Into<String>) {
        self.0.insert(path.into(), text.into());
    }

    /// The files in order.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// Writes all of them, over what is there. Scripts can be run.
    pub fn write(&self, out: &Path) -> Outcome {
        for (path, text) in &self.0 {
            let path = out.join(path);
            let written = || -> std::io::Result<()> {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                std::fs::write(&path, text)?;
                let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
            };
            written().or_configuration(format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// What a role does, in a line that operators read.
pub const fn job(role: Role) -> &'static str {
    match role {
        Role::Storage => "the database of blocks, ledger and documents",
        Role::Engine => "EVM execution, transaction pool and Eth JSON-RPC",
        Role::Chain => "consensus and block rules",
        Role::Bridge => "watches Bitcoin, pays burns",
        Role::Stream => "gRPC streams to governance nodes",
        Role::Network => "peer-to-peer network",
        Role::Sync => "downloads and serves ranges of blocks",
        Role::Supervisor => "watches the other roles",
        Role::Debug | Role::Unspecified => "commands of operators",
    }
}

#[cfg(test)]
mod committed;
