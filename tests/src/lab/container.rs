//! One host: a systemd that boots from the Debian tree with a writable layer of its own above it, which survives reboots.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use eyre::{OptionExt as _, WrapErr as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{run, tree};

const BOOT_PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// A booted host.
pub struct Container {
    folder: PathBuf,
    namespace: String,
}

impl Container {
    pub(super) fn boot(folder: &Path, namespace: &str, prepare: impl FnOnce(&Path) -> eyre::Result<()>) -> eyre::Result<Self> {
        let part = |name: &str| folder.join(name);
        for name in ["upper", "work", "root"] {
            std::fs::create_dir_all(part(name))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            tree::debian()?.display(),
            part("upper").display(),
            part("work").display()
        );
        run("mount", &["-t", "overlay", "overlay", "-o", &layers, &part("root").display().to_string()])?;
        prepare(&part("root"))?;
        let container = Self { folder: folder.to_owned(), namespace: namespace.to_owned() };
        container.start()?;
        Ok(container)
    }

    /// Where its files are, seen from outside.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// A file that only the host itself has, such as a socket under `/run`, seen from outside.
    pub fn inside(&self, path: &str) -> eyre::Result<PathBuf> {
        let leader = self.leader().ok_or_eyre("the container does not run")?;
        Ok(PathBuf::from(format!("/proc/{leader}/root")).join(path.trim_start_matches('/')))
    }

    /// Runs a command inside.
    pub fn output(&self, command: &[&str]) -> eyre::Result<Output> {
        let leader = self.leader().ok_or_eyre("the container does not run")?.to_string();
        Command::new("nsenter")
            .args(["-t", &leader, "-m", "-p", "-u", "-i", "-n", "-C", "--"])
            .args(command)
            .stdin(Stdio::null())
            .output()
            .wrap_err("nsenter")
    }

    /// Runs a command inside that must succeed; its standard output.
    pub fn succeed(&self, command: &[&str]) -> eyre::Result<String> {
        let output = self.output(command)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{}` ended with {}: {}", command.join(" "), output.status, said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> eyre::Result<String> {
        Ok(self.succeed(&["systemctl", "show", "--value", "--property", name, unit])?.trim().to_owned())
    }

    /// What the units said, newest last.
    pub fn journal(&self, unit: &str) -> String {
        let read = self.succeed(&["journalctl", "--no-pager", "--output=cat", "--lines=60", "--unit", unit]);
        read.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Shuts the host down in order and starts it again.
    pub fn reboot(&self) -> eyre::Result<()> {
        // The connection goes with it.
        let _gone = self.output(&["systemctl", "--no-block", "poweroff"]);
        let begun = Instant::now();
        while self.machine().is_some() {
            ensure!(begun.elapsed() < BOOT_PATIENCE, "the host did not shut down within {BOOT_PATIENCE:?}");
            std::thread::sleep(LOOK);
        }
        self.start()
    }

    fn start(&self) -> eyre::Result<()> {
        let console = std::fs::File::create(self.folder.join("console.log"))?;
        let binaries = self.folder.parent().unwrap_or(&self.folder).join("opt");
        let name = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or("host");
        let process = tree::program("systemd-nspawn")?
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"])
            .arg(format!("--machine={name}"))
            .arg(format!("--directory={}", self.root().display()))
            .arg(format!("--network-namespace-path=/run/netns/{}", self.namespace))
            .arg(format!("--bind-ro={}:/opt/alys", binaries.display()))
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0)
            .spawn()
            .wrap_err("systemd-nspawn")?;
        std::fs::write(self.folder.join("pid"), process.id().to_string())?;
        let begun = Instant::now();
        let mut process = process;
        loop {
            if let Some(status) = process.try_wait()? {
                bail!("the host ended with {status} while booting: {}", self.console());
            }
            // "degraded" would be a unit that failed; the caller looks at its own.
            if self.leader().is_some()
                && self.output(&["systemctl", "show", "--property=Version"]).is_ok_and(|out| out.status.success())
            {
                break;
            }
            ensure!(begun.elapsed() < BOOT_PATIENCE, "the host did not boot within {BOOT_PATIENCE:?}: {}", self.console());
            std::thread::sleep(LOOK);
        }
        // Reaped in the background, so that its end can be seen.
        std::thread::spawn(move || process.wait());
        Ok(())
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.folder.join("console.log")).unwrap_or_default()
    }

    fn machine(&self) -> Option<u32> {
        machine(&self.folder)
    }

    /// Pid of the systemd inside.
    fn leader(&self) -> Option<u32> {
        leader(self.machine()?)
    }
}

/// The `systemd-nspawn` of a host, while it runs.
fn machine(folder: &Path) -> Option<u32> {
    let pid = std::fs::read_to_string(folder.join("pid")).ok()?.parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    // The number may be another process's by now.
    String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy()).then_some(pid)
}

/// The first process inside.
fn leader(machine: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{machine}/task/{machine}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Ends a host and takes its layers away, whatever state it is in.
pub(super) fn remove(folder: &Path) {
    if let Some(machine_pid) = machine(folder) {
        // All processes inside end with the first one.
        for pid in [leader(machine_pid), Some(machine_pid)].into_iter().flatten() {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let _ended_by_itself = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
        let begun = Instant::now();
        while machine(folder).is_some() && begun.elapsed() < BOOT_PATIENCE {
            std::thread::sleep(LOOK);
        }
    }
    let root = folder.join("root").display().to_string();
    let begun = Instant::now();
    // Busy until the last process inside is gone.
    while run("mountpoint", &["-q", &root]).is_ok() && run("umount", &[&root]).is_err() {
        if begun.elapsed() > BOOT_PATIENCE {
            eprintln!("{root} is still mounted");
            return;
        }
        std::thread::sleep(LOOK);
    }
}
