//! A topology: which roles run on which host. The one input of all that `alys generate` writes.
//!
//! | rule | why |
//! |---|---|
//! | every role but sync runs exactly once | singletons; a missing one would leave the others waiting |
//! | `sync` is a count, not a role of the list | its processes are numbered |
//! | several hosts have different addresses that are not loopback | links between hosts go there |
//! | names are lower case letters, digits, hyphens | they become names of files, units and Kubernetes objects |
//! | governance nodes and the cluster share no host, nor do two members | a member's key is nobody else's |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use alys_proto::Role;
use libp2p::Multiaddr;
use serde::{Deserialize, Deserializer};

use super::members::{Member, Watch, label};
use super::quantity::{Bytes, Cpu};
use crate::failure::{Failure, OrFail as _, Outcome};

/// The commented example that `alys generate topology` prints.
pub const EXAMPLE: &str = include_str!("../../../deploy/topology/federation-member.toml");

/// The roles that run once, in start order. The supervisor is none of them: a topology may do without, since systemd and
/// Kubernetes restart what they own.
pub const SINGLETONS: [Role; 6] = [Role::Storage, Role::Engine, Role::Chain, Role::Bridge, Role::Stream, Role::Network];

/// Where the ports of sync workers start, behind those of the singletons. The supervisor, who is no worker, has this one.
const FIRST_WORKER: usize = 9;

/// Most sync workers of a host: far above what a machine can feed.
const MOST_SYNC: u32 = 64;

/// A topology file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Names the overlay and the folder of hosts.
    pub name: String,
    /// What it is for, one line.
    pub about: String,
    /// `cluster.id`.
    pub cluster_id: String,
    /// Whether this node votes.
    pub validator: bool,
    /// `network.bootnodes`.
    #[serde(default)]
    pub bootnodes: Vec<Multiaddr>,
    /// By name.
    pub hosts: BTreeMap<String, Host>,
    /// The supervisor, where there is one.
    #[serde(default)]
    pub supervisor: Watch,
    /// Where others connect.
    #[serde(default)]
    pub ports: Ports,
    /// Who may use the Eth JSON-RPC.
    #[serde(default)]
    pub eth_rpc: EthRpc,
    /// Our Bitcoin node.
    pub bitcoind: Bitcoind,
    /// Governance nodes, by the name of their member.
    #[serde(default)]
    pub governance: BTreeMap<String, Member>,
    /// What differs from [`Resources::of`].
    #[serde(default)]
    resources: BTreeMap<RoleName, Change>,
    /// Only for Kubernetes.
    #[serde(default)]
    pub kubernetes: Kubernetes,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Where the other hosts reach it.
    pub address: IpAddr,
    /// Its singletons.
    #[serde(default, deserialize_with = "roles")]
    pub roles: Vec<Role>,
    /// Its sync workers.
    #[serde(default)]
    pub sync: u32,
}

/// Ports. All are TCP; that of libp2p is UDP too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ports {
    /// First of the ports for links between hosts.
    pub mesh: u16,
    /// First of the ports for metrics and probes.
    pub telemetry: u16,
    /// Eth JSON-RPC.
    pub eth_rpc: u16,
    /// gRPC for governance nodes.
    pub governance: u16,
    /// libp2p: TCP, and on the same number QUIC.
    pub p2p: u16,
}

/// Access to the Eth JSON-RPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EthRpc {
    /// From other machines.
    pub public: bool,
}

/// Our Bitcoin node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bitcoind {
    /// Its RPC.
    pub url: String,
    /// User of its RPC; the password is a credential.
    pub user: String,
}

/// What only Kubernetes needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kubernetes {
    /// Namespace of all objects.
    pub namespace: String,
    /// The container image, with its tag.
    pub image: String,
    /// Most sync workers.
    pub most_sync: u32,
    /// Class of the volumes; none: the cluster's default.
    pub storage_class: Option<String>,
}

/// What a process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Limit.
    pub memory: Bytes,
    /// Share.
    pub cpu: Cpu,
    /// Size of its volume; none: it keeps nothing.
    pub disk: Option<Bytes>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Change {
    memory: Option<Bytes>,
    cpu: Option<Cpu>,
    disk: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct RoleName(Role);

impl TryFrom<String> for RoleName {
    type Error = alys_proto::role::UnknownRole;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Role>, D::Error> {
    Ok(Vec::<RoleName>::deserialize(deserializer)?.into_iter().map(|name| name.0).collect())
}

impl Ports {
    /// Where the topology does not say, and in every pod: there each process has an address of its own.
    pub const USUAL: Self = Self { mesh: 9_100, telemetry: 9_200, eth_rpc: 8_545, governance: 50_051, p2p: 30_333 };
}

impl Default for Ports {
    fn default() -> Self {
        Self::USUAL
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self { namespace: "alys".into(), image: format!("alys:{}", env!("CARGO_PKG_VERSION")), most_sync: 4, storage_class: None }
    }
}

impl Resources {
    /// The built-in figures. Memory: what the caches of `alys.toml`'s defaults need and four times as much again.
    fn of(role: Role) -> Self {
        let (memory, millis, disk) = match role {
            Role::Storage => (1_024, 500, Some(100)),
            Role::Engine => (2_048, 1_000, Some(100)),
            Role::Network => (512, 250, Some(1)),
            Role::Chain | Role::Sync => (1_024, 500, None),
            _ => (512, 250, None),
        };
        Self { memory: Bytes::mebi(memory), cpu: Cpu::millis(millis), disk: disk.map(Bytes::gibi) }
    }
}

impl Topology {
    /// Reads and checks a topology.
    pub fn parse(text: &str) -> Outcome<Self> {
        let topology: Self = toml::from_str(text)
            .or_configuration("not a topology")
            .map_err(|failure| failure.help("`alys generate topology` prints a commented one"))?;
        let problems = topology.problems();
        if problems.is_empty() {
            return Ok(topology);
        }
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Err(Failure::configuration(list.join("\n       ")).help("`alys generate topology` prints a commented example"))
    }

    /// Whether links between hosts are needed.
    pub fn meshed(&self) -> bool {
        self.hosts.len() > 1
    }

    /// Sync workers of all hosts.
    pub fn sync(&self) -> u32 {
        self.hosts.values().map(|host| host.sync).fold(0, u32::saturating_add)
    }

    /// The host of the supervisor, if there is one.
    pub fn supervisor_host(&self) -> Option<&str> {
        match &self.supervisor {
            Watch::Wanted(false) => None,
            Watch::Wanted(true) => {
                let host = self.hosts.iter().find(|(_, host)| host.roles.contains(&Role::Storage));
                host.map(|(name, _)| name.as_str())
            }
            Watch::On(name) => Some(name),
        }
    }

    /// What runs on a host: role, and number of a worker or 0.
    pub fn processes<'a>(&'a self, name: &str, host: &'a Host) -> impl Iterator<Item = (Role, u32)> + use<'a> {
        let supervisor = (self.supervisor_host() == Some(name)).then_some((Role::Supervisor, 0));
        let workers = (1..=host.sync).map(|worker| (Role::Sync, worker));
        host.roles.iter().map(|role| (*role, 0)).chain(supervisor).chain(workers)
    }

    /// What a process of a role may use.
    pub fn resources(&self, role: Role) -> Resources {
        let usual = Resources::of(role);
        let change = self.resources.get(&RoleName(role)).cloned().unwrap_or_default();
        Resources {
            memory: change.memory.unwrap_or(usual.memory),
            cpu: change.cpu.unwrap_or(usual.cpu),
            disk: usual.disk.map(|disk| change.disk.unwrap_or(disk)),
        }
    }

    /// The port on which a process of a host accepts links of other hosts; workers are counted from 1.
    pub fn mesh_port(&self, role: Role, worker: u32) -> Option<u16> {
        port(self.ports.mesh, role, worker)
    }

    /// The port on which a process of a host answers metrics and probes.
    pub fn telemetry_port(&self, role: Role, worker: u32) -> Option<u16> {
        port(self.ports.telemetry, role, worker)
    }

    /// What the types do not rule out.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let members = self.governance.iter().flat_map(|(name, member)| [name, &member.host]);
        let names = [&self.name, &self.kubernetes.namespace].into_iter().chain(self.hosts.keys()).chain(members);
        problems.extend(names.filter(|name| !is_name(name)).map(|name| Problem::Name(name.clone())));
        problems.extend(
            [&self.about, &self.cluster_id, &self.kubernetes.image]
                .into_iter()
                .chain(self.governance.values().filter_map(|member| member.stream.as_ref()))
                .chain(self.bitcoinds().flat_map(|bitcoind| [&bitcoind.url, &bitcoind.user]))
                .filter(|text| text.is_empty() || text.contains(|c: char| c.is_control() || c == '"' || c == '\\'))
                .map(|text| Problem::Text(text.clone())),
        );
        for role in SINGLETONS {
            let count = self.hosts.values().flat_map(|host| &host.roles).filter(|one| **one == role).count();
            if count != 1 {
                problems.push(Problem::Count(role, count));
            }
        }
        let strangers = self.hosts.values().flat_map(|host| &host.roles).filter(|role| !SINGLETONS.contains(role));
        problems.extend(strangers.map(|role| Problem::NotHere(*role)));
        problems.extend(self.hosts.iter().filter(|(_, host)| host.sync > MOST_SYNC).map(|(name, _)| Problem::Sync(name.clone())));
        let addresses: BTreeSet<IpAddr> = self.hosts.values().map(|host| host.address).collect();
        let reachable = |host: &Host| !host.address.is_loopback() && !host.address.is_unspecified();
        if self.meshed() && (addresses.len() < self.hosts.len() || !self.hosts.values().all(reachable)) {
            problems.push(Problem::Addresses);
        }
        if let Some(host) = self.supervisor_host().filter(|host| !self.hosts.contains_key(*host)) {
            problems.push(Problem::NoHost(host.to_owned()));
        }
        problems.extend(self.members_problems());
        let highest = [self.mesh_port(Role::Sync, MOST_SYNC), self.telemetry_port(Role::Sync, MOST_SYNC)];
        if highest.contains(&None) || self.ports.mesh == 0 || self.ports.telemetry == 0 {
            problems.push(Problem::Ports);
        }
        problems
    }
}

impl Topology {
    fn bitcoinds(&self) -> impl Iterator<Item = &Bitcoind> {
        std::iter::once(&self.bitcoind).chain(self.governance.values().map(|member| &member.bitcoind))
    }

    fn members_problems(&self) -> Vec<Problem> {
        let mut hosts: BTreeSet<&String> = self.hosts.keys().collect();
        let shared = self.governance.iter().filter(|(_, member)| !hosts.insert(&member.host));
        let mut problems: Vec<Problem> =
            shared.map(|(name, member)| Problem::Shared(name.clone(), member.host.clone())).collect();
        for (name, member) in &self.governance {
            match member.stream(self) {
                None => problems.push(Problem::NoStream(name.clone())),
                Some(stream) if !stream.starts_with("https://") => problems.push(Problem::NoStream(name.clone())),
                Some(_) => {}
            }
            if label(name).len() > LONGEST_NAME {
                problems.push(Problem::Name(name.clone()));
            }
        }
        problems
    }
}

/// Singletons take the first ports in their order, workers follow.
fn port(first: u16, role: Role, worker: u32) -> Option<u16> {
    let position = SINGLETONS.iter().position(|one| *one == role).unwrap_or(FIRST_WORKER);
    let offset = u32::try_from(position).ok()?.checked_add(worker)?;
    first.checked_add(u16::try_from(offset).ok()?)
}

/// Why a topology cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Name(String),
    Text(String),
    Count(Role, usize),
    NotHere(Role),
    Sync(String),
    Addresses,
    Ports,
    NoHost(String),
    Shared(String, String),
    NoStream(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}` is no name: lower case letters, digits and hyphens, at most 40"),
            Self::Text(text) => write!(f, "`{}` may be neither empty nor hold quotes or line breaks", text.escape_debug()),
            Self::Count(role, 0) => write!(f, "no host runs {role}: every role but sync runs exactly once"),
            Self::Count(role, count) => write!(f, "{role} runs {count} times: every role but sync runs exactly once"),
            Self::NotHere(Role::Sync) => f.write_str("sync is a count, `sync = 2`, not one of the roles of a host"),
            Self::NotHere(Role::Supervisor) => {
                f.write_str("supervisor is a setting, `supervisor = true`, not one of the roles of a host")
            }
            Self::NotHere(role) => write!(f, "{role} is not started by systemd or Kubernetes"),
            Self::Sync(host) => write!(f, "host {host} has more than {MOST_SYNC} sync workers"),
            Self::Addresses => f.write_str("several hosts need different addresses at which the others reach them"),
            Self::NoHost(host) => write!(f, "supervisor = \"{host}\" names no host: true, false, or the name of one"),
            Self::Shared(name, host) => write!(f, "governance.{name} needs a host of its own: {host} has another process"),
            Self::NoStream(name) => {
                write!(f, "governance.{name} needs `stream`, an https:// URL: the cluster's is reached on its own host only")
            }
            Self::Ports => f.write_str("ports.mesh or ports.telemetry leaves no room for a port for each process"),
        }
    }
}

/// Kubernetes allows 63, with what we put before it.
const LONGEST_NAME: usize = 40;

fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fine) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
