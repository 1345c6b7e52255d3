//! A lab leaves nothing behind: neither when its test ends nor, from the next lab on, when its guardian was killed.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alys_tests::cluster::wait;
use alys_tests::lab;
use eyre::{OptionExt as _, ensure};

/// Where a lab that is to stay writes its folder down.
const STAYS: &str = "ALYS_TEST_LAB_STAYS";
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_goes_when_its_test_has_passed() -> eyre::Result<()> {
    let Some(lab) = lab::enter("a_lab_goes_when_its_test_has_passed", &["a"]).await? else { return Ok(()) };
    if let Some(file) = std::env::var_os(STAYS).map(PathBuf::from) {
        std::fs::write(file.with_extension("new"), lab.folder().display().to_string())?;
        std::fs::rename(file.with_extension("new"), file)?;
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_guardian_left_goes_with_the_next_lab() -> eyre::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("lab");
    let mut guardian = Guardian(test().env(STAYS, &file).spawn()?);
    let left = wait("the lab", PATIENCE, async || Ok(std::fs::read_to_string(&file).ok().map(PathBuf::from))).await?;
    guardian.0.kill()?;
    guardian.0.wait()?;
    ensure!(left.exists() && namespaces(&left)? == 2, "the guardian took its lab away though it was killed: nothing is tested");
    ensure!(test().status()?.success(), "the next lab");
    ensure!(!left.exists() && namespaces(&left)? == 0, "{} is still there", left.display());
    Ok(())
}

/// The other test, in a process of its own.
fn test() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", "a_lab_goes_when_its_test_has_passed"]).stdin(Stdio::null());
    command
}

/// How many namespaces of a lab there are.
fn namespaces(folder: &Path) -> eyre::Result<usize> {
    let number = folder.file_name().and_then(|name| name.to_str()?.rsplit('-').next()).ok_or_eyre("a lab has a number")?;
    let known = Command::new("ip").args(["netns", "list"]).output()?;
    Ok(String::from_utf8_lossy(&known.stdout).lines().filter(|line| line.starts_with(&format!("alys-{number}-"))).count())
}

struct Guardian(Child);

impl Drop for Guardian {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _reaped = self.0.wait();
    }
}
