//! Processes of this program that a measurement starts.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use eyre::{WrapErr as _, ensure};

/// A process that ends with the measurement.
pub(super) struct Own(pub(super) Child);

impl Own {
    /// Starts this program with other arguments.
    pub(super) fn start(arguments: &[&OsStr]) -> eyre::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().map(Self).wrap_err("cannot start a process")
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Kills it and waits for its end.
    pub(super) fn end(&mut self) -> eyre::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ended = self.end();
    }
}

/// Runs one part of this program to its end, in a process of its own: the mesh is a static of the process.
pub(super) fn run_beside(arguments: &[&str]) -> eyre::Result<()> {
    let status = Command::new(std::env::current_exe()?).args(arguments).status()?;
    ensure!(status.success(), "`{}` ended with {status}", arguments.join(" "));
    Ok(())
}
