//! Makes the namespaces of a test and takes everything away again, however the test ends: passed, failed, or told to stop. What
//! a killed guardian left, the next one takes away.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eyre::{ensure, eyre};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::{HUB, INSIDE, container, namespace, run};
use crate::processes;

/// What was killed is gone within this.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// Folder of the labs, in memory: the disks of a test must not be slowed down by others.
const LABS: &str = "/dev/shm";
const PREFIX: &str = "alys-lab-";
/// A file in a lab's folder that its guardian has locked as long as it lives.
const ALIVE: &str = "guardian";

/// Runs a test inside a lab of its own.
pub(super) async fn guard(test: &str, hosts: &[&str]) -> eyre::Result<()> {
    requirements()?;
    take_away_the_forsaken()?;
    let folder = tempfile::Builder::new().prefix(PREFIX).rand_bytes(6).tempdir_in(LABS)?;
    let hosts = hosts.iter().map(ToString::to_string).collect();
    let guardian = Guardian { folder: folder.path().to_owned(), hosts, _alive: live(folder.path())? };
    // Before anything is made: from now on nobody is ended by a signal without cleaning up.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    guardian.wire()?;
    // Not `ip netns exec`: it would also hide the control groups.
    let mut inside = tokio::process::Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", namespace(folder.path(), HUB)))
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let status = tokio::select! {
        status = inside.wait() => status?,
        _ = terminate.recv() => return Err(eyre!("told to end (SIGTERM)")),
        _ = interrupt.recv() => return Err(eyre!("told to end (SIGINT)")),
    };
    ensure!(status.success(), "inside its lab the test ended with {status}; see above");
    Ok(())
}

/// Everything that must be there, or what to do about it.
fn requirements() -> eyre::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test runs hosts in network namespaces: run it as root");
    ensure!(Path::new("/dev/net/tun").exists(), "this test joins hosts by TAP devices: there is no /dev/net/tun");
    for program in ["ip", "nsenter", "mount", "umount", "chroot"] {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|folder| folder.join(program).is_file())
        });
        ensure!(found, "this test runs hosts in namespaces: `{program}` is not installed (Debian: iproute2, util-linux)");
    }
    Ok(())
}

/// Locks the file that says so. Under another name at first: nobody finds it unlocked.
fn live(folder: &Path) -> io::Result<File> {
    let unborn = folder.join("guardian.new");
    let alive = File::create(&unborn)?;
    alive.lock()?;
    std::fs::rename(unborn, folder.join(ALIVE))?;
    Ok(alive)
}

/// Takes every lab away whose guardian was killed.
fn take_away_the_forsaken() -> eyre::Result<()> {
    for entry in std::fs::read_dir(LABS)? {
        let folder = entry?.path();
        let is_lab = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        // One without the file is just being made, or taken away.
        let Some(alive) = is_lab.then(|| File::open(folder.join(ALIVE)).ok()).flatten() else { continue };
        if alive.try_lock().is_err() {
            continue;
        }
        drop(Guardian { hosts: hosts_of(&folder)?, folder: folder.clone(), _alive: alive });
        if let Err(cause) = std::fs::remove_dir_all(&folder) {
            eprintln!("{} stays: {cause}", folder.display());
        }
    }
    Ok(())
}

/// Hosts of a lab, by their namespaces.
fn hosts_of(folder: &Path) -> eyre::Result<Vec<String>> {
    let prefix = namespace(folder, "");
    let known = run("ip", &["netns", "list"])?;
    let names = known.lines().filter_map(|line| line.split(' ').next()?.strip_prefix(&prefix));
    Ok(names.filter(|name| *name != HUB).map(ToOwned::to_owned).collect())
}

struct Guardian {
    folder: PathBuf,
    hosts: Vec<String>,
    _alive: File,
}

impl Guardian {
    fn wire(&self) -> eyre::Result<()> {
        for name in self.namespaces() {
            run("ip", &["netns", "add", &name])?;
            run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn namespaces(&self) -> impl Iterator<Item = String> {
        [HUB].into_iter().chain(self.hosts.iter().map(String::as_str)).map(|host| namespace(&self.folder, host))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        for host in &self.hosts {
            container::remove(&self.folder.join(host));
        }
        for name in self.namespaces() {
            end_all_in(&name);
            let _never_made = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
        unmount_below(&self.folder);
    }
}

/// Kills whatever runs in a namespace. Nothing but this test's processes was ever put there.
fn end_all_in(name: &str) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let Ok(pids) = run("ip", &["netns", "pids", name]) else { return };
        let pids: Vec<u32> =
            pids.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| processes::is_alive(*pid)).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ended_by_itself = processes::signal(pid, Signal::KILL);
        }
        std::thread::sleep(LOOK);
    }
    eprintln!("a process in {name} does not end");
}

/// Small disks of a test.
fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|point| Path::new(point).starts_with(folder));
    for point in points {
        if let Err(cause) = run("umount", &["--lazy", point]) {
            eprintln!("{cause:#}");
        }
    }
}
