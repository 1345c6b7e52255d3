//! Hosts with a real systemd: containers made of Debian packages, each in a network namespace of its own, joined by a
//! bridge in one more namespace, where the test itself runs. Needs root; nothing of the machine's own network is touched.
//!
//! The test is started twice: as guardian it makes the namespaces, runs itself inside, and takes everything away again
//! however that ends; inside it is the test.

mod container;
mod forward;
pub mod site;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eyre::{WrapErr as _, bail, ensure};

pub use container::Container;
pub use forward::forward;
pub use tree::{chroot, debian};

/// Set inside: the folder of the lab.
const INSIDE: &str = "ALYS_TEST_LAB";

/// The first three parts of all addresses in a lab; the test is `.1`.
const NET: &str = "10.77.0";

/// Namespaces, folders and processes of one test.
pub struct Lab {
    folder: PathBuf,
    name: String,
}

/// The test inside its lab; outside `None`, after the test has passed inside.
///
/// # Errors
/// The machine cannot do it, and the error says what is missing; or the test failed inside.
pub fn enter(test: &str, hosts: &[&str]) -> eyre::Result<Option<Lab>> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let folder = PathBuf::from(folder);
        let name =
            folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().trim_start_matches("alys-lab-").to_owned();
        return Ok(Some(Lab { folder, name }));
    }
    requirements()?;
    let folder = tempfile::Builder::new().prefix("alys-lab-").rand_bytes(6).tempdir_in("/dev/shm")?;
    let name =
        folder.path().file_name().and_then(|name| name.to_str()).unwrap_or_default().trim_start_matches("alys-lab-").to_owned();
    let lab =
        Guardian { lab: Lab { folder: folder.path().to_owned(), name }, hosts: hosts.iter().map(ToString::to_string).collect() };
    lab.wire()?;
    // Not `ip netns exec`: it would also hide the control groups.
    let status = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", lab.lab.namespace("hub")))
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, folder.path())
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "inside its lab the test ended with {status}; see above");
    Ok(None)
}

/// Everything that must be there, or what to do about it.
fn requirements() -> eyre::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test boots systemd in containers: run it as root");
    for program in ["ip", "nsenter", "mount", "umount", "chroot"] {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|folder| folder.join(program).is_file())
        });
        ensure!(found, "this test boots systemd in containers: `{program}` is not installed (Debian: iproute2, util-linux)");
    }
    tree::debian().map(drop)
}

impl Lab {
    /// Boots a host; `prepare` puts files into its root before.
    pub fn boot(&self, name: &str, prepare: impl FnOnce(&Path) -> eyre::Result<()>) -> eyre::Result<Container> {
        Container::boot(&self.folder.join(name), &self.namespace(name), prepare)
    }

    /// A folder that goes with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn namespace(&self, host: &str) -> String {
        format!("alys-{}-{host}", self.name)
    }
}

/// Address of a host of the lab, counted from 0 in the order of [`enter`].
pub fn address(host: u8) -> String {
    format!("{NET}.{}", host.saturating_add(2))
}

/// Address of the test itself.
pub fn own_address() -> String {
    format!("{NET}.1")
}

struct Guardian {
    lab: Lab,
    hosts: Vec<String>,
}

impl Guardian {
    fn wire(&self) -> eyre::Result<()> {
        let hub = self.lab.namespace("hub");
        run("ip", &["netns", "add", &hub])?;
        run("ip", &["-n", &hub, "link", "set", "lo", "up"])?;
        run("ip", &["-n", &hub, "link", "add", "bridge0", "type", "bridge"])?;
        run("ip", &["-n", &hub, "address", "add", &format!("{}/24", own_address()), "dev", "bridge0"])?;
        run("ip", &["-n", &hub, "link", "set", "bridge0", "up"])?;
        for (number, host) in (0_u8..).zip(&self.hosts) {
            let (namespace, port) = (self.lab.namespace(host), format!("port-{host}"));
            run("ip", &["netns", "add", &namespace])?;
            run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
            run("ip", &["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            run("ip", &["-n", &hub, "link", "set", &port, "master", "bridge0", "up"])?;
            run("ip", &["-n", &namespace, "address", "add", &format!("{}/24", address(number)), "dev", "eth0"])?;
            run("ip", &["-n", &namespace, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        for host in &self.hosts {
            container::remove(&self.lab.folder.join(host));
        }
        for host in self.hosts.iter().map(String::as_str).chain(["hub"]) {
            let _never_made = Command::new("ip").args(["netns", "del", &self.lab.namespace(host)]).stderr(Stdio::null()).status();
        }
    }
}

/// Runs a program that must succeed; its standard output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> eyre::Result<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().wrap_err_with(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
