//! Hosts for a test: network namespaces, joined by a switch that the test holds in its hands, so that it can cut a host off or
//! make the line bad. In them run roles as plain processes ([`spread`]) or a real systemd in a container ([`site`]). Needs
//! root; nothing of the machine's own network is touched.
//!
//! The test is started twice: as guardian it makes the namespaces, runs itself inside, and takes everything away again
//! however that ends; inside it is the test.

mod container;
mod forward;
mod guardian;
pub mod hosted;
pub mod platform;
pub mod preload;
pub mod site;
pub mod spread;
mod switch;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eyre::{OptionExt as _, WrapErr as _, bail};

use switch::Switch;

pub use container::Container;
pub use forward::forward;
pub use switch::Weather;
pub use tree::{chroot, debian};

/// Set inside: the folder of the lab.
const INSIDE: &str = "ALYS_TEST_LAB";

/// The host that the test itself is on.
const HUB: &str = "hub";

/// The first three parts of all addresses in a lab; the test is `.1`.
const NET: &str = "10.77.0";

/// Hosts, folders and wires of one test.
pub struct Lab {
    folder: PathBuf,
    /// The first is the test itself.
    hosts: Vec<String>,
    switch: Switch,
}

/// The test inside its lab; outside `None`, after the test has passed inside.
///
/// # Errors
/// The machine cannot do it, and the error says what is missing; or the test failed inside.
pub async fn enter(test: &str, hosts: &[&str]) -> eyre::Result<Option<Lab>> {
    let Some(folder) = inside() else {
        guardian::guard(test, hosts).await?;
        return Ok(None);
    };
    let hosts: Vec<String> = [HUB].iter().chain(hosts).map(ToString::to_string).collect();
    let addresses = std::iter::once(own_address()).chain((0..).map(address));
    let wires = hosts.iter().zip(addresses).map(|(host, address)| (namespace(&folder, host), address)).collect();
    Ok(Some(Lab { folder, hosts, switch: Switch::plug(wires)? }))
}

/// The folder of the lab that this process is in. Whatever is put there goes with it, however the test ends.
pub(crate) fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
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

    /// Name of a host's network namespace. The test's own is that of `hub`.
    pub fn namespace(&self, host: &str) -> String {
        namespace(&self.folder, host)
    }

    /// What happens from now on to what one host sends to another.
    pub fn weather(&self, from: &str, to: &str, weather: Weather) -> eyre::Result<()> {
        self.switch.set(self.port(from)?, self.port(to)?, weather);
        Ok(())
    }

    /// The same weather in both directions between a host and others.
    pub fn between(&self, host: &str, others: &[&str], weather: Weather) -> eyre::Result<()> {
        others.iter().try_for_each(|other| {
            self.weather(host, other, weather)?;
            self.weather(other, host, weather)
        })
    }

    /// Takes a host off the network: neither the others nor the test reach it.
    pub fn cut_off(&self, host: &str) -> eyre::Result<()> {
        let others: Vec<&str> = self.hosts.iter().map(String::as_str).filter(|other| *other != host).collect();
        self.between(host, &others, Weather::BLACK_HOLE)
    }

    /// Fine weather everywhere.
    pub fn heal(&self) {
        self.switch.clear();
    }

    fn port(&self, host: &str) -> eyre::Result<u8> {
        let number = (1..).zip(&self.hosts).find(|(_, name)| *name == host).map(|(number, _)| number);
        number.ok_or_eyre("there is no such host")
    }
}

fn namespace(folder: &Path, host: &str) -> String {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    format!("alys-{}-{host}", name.trim_start_matches("alys-lab-"))
}

/// Address of a host of the lab, counted from 0 in the order of [`enter`].
pub fn address(host: u8) -> String {
    format!("{NET}.{}", host.saturating_add(2))
}

/// Address of the test itself.
pub fn own_address() -> String {
    format!("{NET}.1")
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
