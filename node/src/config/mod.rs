//! One file for the whole node, a section per role. Layered: flags > environment > file > defaults.

pub mod digest;
pub mod layers;
pub mod paths;
pub mod show;
mod wide;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alys_blocks::ChainSpec;
use alys_cluster::ClusterConfig;
use alys_proto::Role;
use alys_proto::role::ROLES;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::failure::{Failure, OrFail as _, Outcome};
use layers::{Layers, Origin, environment_path};

/// `alys.toml`. A field per role: a forgotten role does not compile.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// What relative paths in this file start at. Relative: to the file.
    pub data_dir: PathBuf,
    /// The chain specification.
    pub chain_spec_file: PathBuf,
    /// The shell that all roles share.
    pub cluster: ClusterConfig,
    /// What `alys up` runs besides the roles.
    pub local: LocalConfig,
    /// The supervisor role.
    pub supervisor: alys_supervisor::Config,
    /// Who restarts which role, and how patiently.
    pub supervision: alys_supervisor::Supervision,
    /// The storage role.
    pub storage: alys_storage::Config,
    /// The engine role.
    #[serde(with = "wide")]
    pub engine: alys_engine::Config,
    /// The chain role.
    pub chain: alys_chain::Config,
    /// The bridge role.
    pub bridge: alys_bridge::Config,
    /// The stream role.
    pub stream: alys_stream::Config,
    /// The network role.
    pub network: alys_network::Config,
    /// The sync role.
    pub sync: alys_sync::Config,
    /// A governance node (`alys governance`), not a role.
    pub governance: alys_governance::Config,
}

/// Sync is the last of the roles, and its workers come behind it.
const SYNC_OFFSET: u16 = 7;
/// Behind the twelfth worker come the governance nodes.
const MEMBER_OFFSET: u16 = 20;

/// What `alys up` runs on this host besides the roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalConfig {
    /// So many of the federation's members, the first ones, have their governance node here. 0 outside of test chains.
    pub governance: u32,
    /// First of the ports on 127.0.0.1 on which `alys up` and the roles that it starts answer metrics and probes, one each in
    /// the order supervisor, storage, engine, chain, bridge, stream, network, sync; then further sync workers, `sync-2` at
    /// the ninth after the first, up to `sync-12`; then the local governance nodes, member 1 at the 21st after the first.
    /// None: as `cluster.telemetry.listen` says.
    pub metrics_port_base: Option<u16>,
}

impl LocalConfig {
    /// Where an instance that `alys up` runs answers metrics and probes.
    pub fn metrics_listen(&self, role: Role, instance: &str) -> Option<SocketAddr> {
        let first = || u16::try_from(ROLES.iter().position(|other| *other == role)?).ok();
        let worker = || {
            let offset = instance.strip_prefix("sync-")?.parse::<u16>().ok()?.checked_add(SYNC_OFFSET)?;
            (offset < MEMBER_OFFSET).then_some(offset)
        };
        let offset = if instance == role.name() { first()? } else { worker()? };
        self.metrics_port(offset)
    }

    /// Where the governance node of the n-th member, counted from 1, answers metrics and probes.
    pub fn member_metrics_listen(&self, number: u32) -> Option<SocketAddr> {
        self.metrics_port(u16::try_from(number).ok()?.checked_add(MEMBER_OFFSET)?)
    }

    fn metrics_port(&self, offset: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, self.metrics_port_base?.checked_add(offset)?)))
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        let mut config = Self {
            data_dir: PathBuf::from("."),
            chain_spec_file: PathBuf::from("chain.toml"),
            cluster: ClusterConfig::default(),
            local: LocalConfig::default(),
            supervisor: alys_supervisor::Config::default(),
            supervision: alys_supervisor::Supervision::default(),
            storage: alys_storage::Config::default(),
            engine: alys_engine::Config::default(),
            chain: alys_chain::Config::default(),
            bridge: alys_bridge::Config::default(),
            stream: alys_stream::Config::default(),
            network: alys_network::Config::default(),
            sync: alys_sync::Config::default(),
            governance: alys_governance::Config::default(),
        };
        config.storage.data_dir = PathBuf::from("storage");
        config.engine.data_dir = PathBuf::from("engine");
        config.network.data_dir = PathBuf::from("network");
        config.stream.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_051));
        config.stream.tls.ca = PathBuf::from("tls/ca.pem");
        config.stream.tls.cert = PathBuf::from("tls/stream.pem");
        config.stream.tls.key = PathBuf::from("tls/stream.key");
        config
    }
}

/// A value that a flag sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Dotted path.
    pub path: String,
    /// The value as text.
    pub text: String,
    /// Which flag said so.
    pub flag: String,
}

impl Override {
    /// An override with the name of its flag.
    pub fn new(path: &str, text: impl ToString, flag: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_string(), flag: flag.to_owned() }
    }
}

/// A configuration and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values; paths are absolute.
    pub config: NodeConfig,
    /// The layers that made them.
    pub layers: Layers,
    /// The file.
    pub file: PathBuf,
}

impl Loaded {
    /// Reads the chain specification that the configuration names.
    pub fn spec(&self) -> Outcome<Arc<ChainSpec>> {
        let path = &self.config.chain_spec_file;
        let text = std::fs::read_to_string(path)
            .or_configuration(format!("cannot read the chain specification {} (chain_spec_file)", path.display()))
            .map_err(|failure| {
                failure.help("`alys up --dev` makes one for a test chain; for a real chain copy the one its operators published")
            })?;
        ChainSpec::from_toml(&text).map(Arc::new).or_configuration(format!("{} is not usable", path.display()))
    }
}

/// Loads from a file, the process's environment and flags.
pub fn load(file: &Path, overrides: &[Override]) -> Outcome<Loaded> {
    let text = std::fs::read_to_string(file)
        .or_configuration(format!("cannot read the configuration {}", file.display()))
        .map_err(|failure| failure.help("`alys up --dev` makes one for a test chain; --config or --data-dir name another"))?;
    let environment: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    layered(file, &text, &environment, overrides)
}

/// Loads from texts. Each layer is checked when it is laid, so an error names its origin.
pub fn layered(file: &Path, text: &str, environment: &[(String, String)], overrides: &[Override]) -> Outcome<Loaded> {
    let wrong = |what: String, cause: &toml::de::Error| {
        Failure::configuration(format!("{what}: {}", cause.to_string().trim_end()))
            .help("correct or remove it; `alys config show` prints every setting there is once it loads")
    };
    // Read on its own first: only then does an error know its line.
    toml::from_str::<NodeConfig>(text).map_err(|cause| wrong(file.display().to_string(), &cause))?;
    let layer: Table = toml::from_str(text).map_err(|cause| wrong(file.display().to_string(), &cause))?;
    let defaults = Table::try_from(NodeConfig::default()).or_bug("the defaults are not TOML")?;
    let mut layers = Layers::new(defaults);
    layers.merge(layer, &Origin::File(file.to_owned()));

    let from_environment = environment
        .iter()
        .filter_map(|(name, value)| Some((environment_path(name)?, value.clone(), Origin::Environment(name.clone()))));
    let from_flags = overrides.iter().map(|set| (set.path.clone(), set.text.clone(), Origin::Flag(set.flag.clone())));
    for (path, value, origin) in from_environment.chain(from_flags) {
        layers.set(&path, &value, origin.clone());
        let checked: Result<NodeConfig, _> = layers.table().clone().try_into();
        checked.map_err(|cause| wrong(format!("{origin} sets {path} to `{value}`"), &cause))?;
    }

    let home = std::path::absolute(file).or_configuration("there is no current directory")?;
    let home = home.parent().unwrap_or(Path::new("/")).to_owned();
    let data_dir = layers.get("data_dir").and_then(|value| value.as_str()).unwrap_or(".");
    let data_dir = paths::absolute(Path::new(data_dir), &home);
    paths::resolve(layers.table_mut(), &data_dir);
    let mut config: NodeConfig = layers.table().clone().try_into().map_err(|cause| wrong("configuration".into(), &cause))?;
    config.data_dir = data_dir;
    Ok(Loaded { config, layers, file: file.to_owned() })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
