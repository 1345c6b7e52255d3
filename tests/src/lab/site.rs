//! A node on two hosts, installed as docs/deploy.md says: units and configuration from a topology, credentials a role,
//! roles started by systemd. bitcoind and the governance nodes run beside it, where the test runs.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alys::generate::topology::Topology;
use alys::generate::{credentials, systemd};
use alys::prepare::{DevChain, dev};
use alys_cluster::{ClusterConfig, MeshConfig};
use alys_proto::Role;
use alys_proto::cluster::{Health, Observation};
use eyre::{OptionExt as _, WrapErr as _, ensure};

use super::hosted::{Hosted, Reach};
use super::{Container, Lab, address, forward, own_address};
use crate::bitcoind::Bitcoind;
use crate::cluster::{binary, wait};
use crate::ethereum::Ethereum;

/// Governance nodes of the test chain.
const MEMBERS: u32 = 3;
const BITCOIND_PORT: u16 = 18_443;

/// What systemd runs on the two hosts, by unit.
pub const UNITS: [(usize, &str); 8] = [
    (0, "alys-storage"),
    (0, "alys-engine"),
    (0, "alys-chain"),
    (1, "alys-bridge"),
    (1, "alys-stream"),
    (1, "alys-network"),
    (1, "alys-sync@1"),
    (1, "alys-sync@2"),
];

/// The running node.
pub struct Site {
    /// The hosts.
    pub hosts: [Container; 2],
    reach: Reach,
    members: Vec<Child>,
}

impl Site {
    /// Installs and boots it. Does not wait for the roles.
    pub async fn boot(lab: &Lab, bitcoind: &Bitcoind, confirmations: u32) -> eyre::Result<Self> {
        let home = lab.folder().join("home");
        let failed = |failure: alys::failure::Failure| eyre::eyre!("{failure}");
        dev(&home, &DevChain { slot_millis: 1_000, confirmations, ..DevChain::default() }).map_err(failed)?;
        let bitcoin = format!("{}:{BITCOIND_PORT}", own_address());
        let rpc = bitcoind.url().trim_start_matches("http://").parse()?;
        forward(bitcoin.parse()?, rpc).await?;
        let cookie = std::fs::read_to_string(bitcoind.cookie_file())?;
        let (user, password) = cookie.trim().split_once(':').ok_or_eyre("bitcoind's cookie")?;

        let topology = Topology::parse(&topology(&format!("http://{bitcoin}"), user)).map_err(failed)?;
        let secrets = lab.folder().join("secrets");
        // The members' certificates and the roles' are of one authority.
        copy(&home.join("tls/ca.pem"), &secrets.join("authority/ca.pem"))?;
        copy(&home.join("tls/ca.key"), &secrets.join("authority/ca.key"))?;
        let (_, missing) = credentials::make(&topology, &secrets).map_err(failed)?;
        ensure!(missing.len() == 2, "validator key and password are ours to bring, not {missing:?}");
        copy(&home.join("keys/validator.key"), &secrets.join("chain/validator.key"))?;
        std::fs::write(secrets.join("bridge/bitcoind.password"), password)?;
        install_binary(lab)?;

        let units = lab.folder().join("units");
        systemd::generate(std::slice::from_ref(&topology)).write(&units).map_err(failed)?;
        let boot = |name: &str| {
            lab.boot(name, |root| install(root, &units, &units.join("lab").join(name), &secrets, &home.join("chain.toml")))
        };
        let hosts = [boot("a")?, boot("b")?];
        let members = (1..=MEMBERS).map(|member| governance(&home, member, bitcoind)).collect::<eyre::Result<_>>()?;
        let cluster = alys_cluster::attach(&debug_config(lab, &secrets)).await?;
        let ethereum = Ethereum::new(&format!("http://{}:8545", address(0)))?;
        Ok(Self { hosts, reach: Reach { cluster, ethereum, home }, members })
    }

    /// Observations of all live roles.
    pub async fn observations(&self) -> Vec<Observation> {
        let observed = self.reach.cluster.observe_all(Duration::from_secs(2)).await;
        observed.into_iter().filter_map(|seen| seen.observation.ok()).collect()
    }

    /// The newest incarnation of an instance, when it says that it is ready.
    pub async fn ready(&self, instance: &str) -> Option<Vec<u8>> {
        let seen = self.observations().await.into_iter().find(|seen| seen.instance == instance)?;
        (seen.health() == Health::Ready).then_some(seen.incarnation)
    }

    /// Waits until every unit is active and every role says that it is ready.
    pub async fn wait_ready(&self, patience: Duration) -> eyre::Result<()> {
        let ready = wait("all roles to be ready", patience, async || {
            let seen = self.observations().await;
            let is_ready = |unit: &str| seen.iter().any(|seen| seen.instance == instance(unit) && seen.health() == Health::Ready);
            let missing: Vec<&str> = UNITS.iter().map(|(_, unit)| *unit).filter(|unit| !is_ready(unit)).collect();
            ensure!(missing.is_empty(), "not ready, as a debug node sees it: {}", missing.join(", "));
            Ok(Some(()))
        });
        ready.await.wrap_err_with(|| self.report())
    }

    /// The host that runs a unit.
    pub fn host_of(&self, unit: &str) -> eyre::Result<&Container> {
        let place = UNITS.iter().find(|(_, name)| *name == unit).and_then(|(host, _)| self.hosts.get(*host));
        place.ok_or_else(|| eyre::eyre!("no host runs {unit}"))
    }
}

impl Hosted for Site {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn report(&self) -> String {
        let mut text = String::new();
        for (_, unit) in UNITS {
            let Ok(host) = self.host_of(unit) else { continue };
            let state = host.property(unit, "ActiveState").unwrap_or_else(|error| format!("{error:#}"));
            let tail: Vec<String> = host.journal(unit).lines().rev().take(6).map(ToOwned::to_owned).collect();
            text.push_str(&format!("== {unit}: {state}\n{}\n", tail.into_iter().rev().collect::<Vec<_>>().join("\n")));
        }
        text
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ended_by_itself = member.kill();
            let _reaped = member.wait();
        }
    }
}

/// Name of the instance that a unit runs.
pub fn instance(unit: &str) -> String {
    unit.trim_start_matches("alys-").replace('@', "-")
}

fn topology(bitcoin: &str, user: &str) -> String {
    format!(
        "name = \"lab\"\nabout = \"a validator on two hosts, for a test\"\ncluster_id = \"lab\"\nvalidator = true\n\
         [hosts.a]\naddress = \"{}\"\nroles = [\"storage\", \"engine\", \"chain\"]\n\
         [hosts.b]\naddress = \"{}\"\nroles = [\"bridge\", \"stream\", \"network\"]\nsync = 2\n\
         [eth_rpc]\npublic = true\n[bitcoind]\nurl = \"{bitcoin}\"\nuser = \"{user}\"\n",
        address(0),
        address(1)
    )
}

/// Two files of one program: the running one, and one to upgrade to.
fn install_binary(lab: &Lab) -> eyre::Result<()> {
    let opt = lab.folder().join("opt");
    std::fs::create_dir_all(&opt)?;
    let previous = std::env::var_os("ALYS_PREVIOUS_BIN_DIR").map(|folder| PathBuf::from(folder).join("alys"));
    copy(&previous.map_or_else(|| binary("alys"), Ok)?, &opt.join("alys-previous"))?;
    copy(&binary("alys")?, &opt.join("alys-next"))
}

/// Puts a host's files where docs/deploy.md says.
fn install(root: &Path, units: &Path, host: &Path, secrets: &Path, spec: &Path) -> eyre::Result<()> {
    copy_folder(&units.join("units/system"), &root.join("etc/systemd/system"))?;
    copy_folder(&host.join("etc"), &root.join("etc"))?;
    copy(&units.join("units/sysusers.conf"), &root.join("usr/lib/sysusers.d/alys.conf"))?;
    copy(&units.join("units/tmpfiles.conf"), &root.join("usr/lib/tmpfiles.d/alys.conf"))?;
    copy(&units.join("units/alysctl"), &root.join("usr/local/bin/alysctl"))?;
    copy(spec, &root.join("etc/alys/chain.toml"))?;
    for role in credentials::holders() {
        let folder = root.join("etc/alys/credentials");
        if role == Role::Debug || root.join(format!("etc/systemd/system/alys-{role}.service.d")).exists() || role == Role::Sync {
            copy_folder(&secrets.join(role.name()), &folder.join(role.name()))?;
        }
    }
    symlink("/opt/alys/alys-previous", root.join("usr/local/bin/alys"))?;
    // `systemctl enable alys.target`.
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants)?;
    Ok(symlink("/etc/systemd/system/alys.target", wants.join("alys.target"))?)
}

fn governance(home: &Path, member: u32, bitcoind: &Bitcoind) -> eyre::Result<Child> {
    let log = std::fs::File::create(home.join(format!("governance-{member}.log")))?;
    let set = [
        format!("stream.listen={}:50051", address(1)),
        format!("bridge.bitcoind.url={}", bitcoind.url()),
        format!("bridge.bitcoind.cookie_file={}", bitcoind.cookie_file().display()),
    ];
    Command::new(binary("alys")?)
        .args(["governance", "--lifeline", "--member", &member.to_string()])
        .arg(format!("--data-dir={}", home.display()))
        .args(set.iter().flat_map(|value| ["--set", value]))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .wrap_err("cannot start a governance node")
}

/// The test's own way in: a debug node with a certificate of its own.
fn debug_config(lab: &Lab, secrets: &Path) -> ClusterConfig {
    let file = |name: &str| secrets.join("debug").join(name);
    let ports = [(0, [9_100, 9_101, 9_102].as_slice()), (1, [9_103, 9_104, 9_105, 9_110, 9_111].as_slice())];
    let seeds = ports.into_iter().flat_map(|(host, ports)| ports.iter().map(move |port| format!("{}:{port}", address(host))));
    ClusterConfig {
        id: "lab".into(),
        run_dir: lab.folder().join("run"),
        cookie_file: file("cookie"),
        mesh: Some(MeshConfig {
            listen: None,
            seeds: seeds.collect(),
            ca_file: file("ca.pem"),
            certificate_file: file("mesh.pem"),
            key_file: file("mesh.key"),
        }),
        ..ClusterConfig::default()
    }
}

fn copy(from: &Path, to: &Path) -> eyre::Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(from, to).wrap_err_with(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> eyre::Result<()> {
    for entry in std::fs::read_dir(from).wrap_err_with(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_folder(&entry.path(), &target)? } else { copy(&entry.path(), &target)? }
    }
    Ok(())
}
