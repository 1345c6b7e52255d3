//! A node whose roles are plain processes on several hosts, linked over TLS: each with a certificate of its own role, started
//! again when it ends. bitcoind and the governance nodes run beside it, where the test runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use alys::prepare::tls::{Authority, mesh_names};
use alys::prepare::{DevChain, dev};
use alys_cluster::{ClusterConfig, MeshConfig};
use alys_proto::cluster::{Health, Observation};
use alys_proto::{Role, storage};
use eyre::{OptionExt as _, WrapErr as _, ensure};

use super::hosted::{Hosted, Reach};
use super::platform::{Platform, Service};
use super::{Lab, address, forward, own_address};
use crate::bitcoind::Bitcoind;
use crate::cluster::{binary, wait};
use crate::ethereum::Ethereum;
use crate::sidechain::Sidechain as _;

/// Governance nodes of the test chain.
const MEMBERS: u32 = 3;
const BITCOIND_PORT: u16 = 18_443;
const ETH_PORT: u16 = 8_545;
const STREAM_PORT: u16 = 50_051;
/// First of the ports for links, one for each place.
const MESH_PORT: u16 = 9_100;
/// First of the ports for metrics and probes, in the same order.
const TELEMETRY_PORT: u16 = 9_200;

/// One process of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of its host, from 0 in the order of the lab.
    pub host: u8,
    /// Its role.
    pub role: Role,
    /// Its name.
    pub instance: &'static str,
}

/// A place, short enough for a table of them.
pub const fn place(host: u8, role: Role, instance: &'static str) -> Place {
    Place { host, role, instance }
}

/// What a test sets.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The processes, each role at least once.
    pub places: Vec<Place>,
    /// Names of the hosts, in the order of the lab.
    pub hosts: Vec<&'static str>,
    /// Bitcoin blocks until a deposit counts.
    pub confirmations: u32,
    /// Configuration of all over the defaults: dotted path and value.
    pub settings: Vec<(String, String)>,
    /// Environment of single processes: instance, name, value.
    pub environment: Vec<(&'static str, String, String)>,
    /// Processes that are `alys-test-role`, with its arguments.
    pub test_roles: Vec<(&'static str, Vec<String>)>,
}

/// The running node.
pub struct Spread {
    /// What keeps its processes running.
    pub platform: Platform,
    plan: Plan,
    reach: Reach,
}

impl Spread {
    /// Starts all places, and the governance nodes if there is a stream for them. Does not wait.
    pub async fn start(lab: &Lab, bitcoind: Option<&Bitcoind>, plan: Plan) -> eyre::Result<Self> {
        let mut files = Files::make(lab, &plan)?;
        if let Some(bitcoind) = bitcoind {
            let bitcoin = format!("{}:{BITCOIND_PORT}", own_address());
            forward(bitcoin.parse()?, bitcoind.url().trim_start_matches("http://").parse()?).await?;
            files.set("bridge.bitcoind.url", format!("http://{bitcoin}"));
            files.set("bridge.bitcoind.cookie_file", bitcoind.cookie_file().display());
        }
        for (path, value) in &plan.settings {
            files.set(path, value);
        }
        for (number, host) in (1..).zip(&plan.hosts) {
            std::fs::create_dir_all(lab.folder().join(host))?;
            std::fs::write(lab.folder().join(host).join("boot_id"), format!("00000000-0000-4000-8000-{number:012}\n"))?;
        }
        let platform = Platform::new()?;
        for (number, place) in (0_u16..).zip(&plan.places) {
            platform.add(place.instance, files.service(lab, &plan, number, place)?)?;
        }
        let is_governed = plan.places.iter().any(|place| place.role == Role::Stream);
        for member in 1..=if is_governed { MEMBERS } else { 0 } {
            let name = format!("governance-{member}");
            platform.add(&name, files.outside(lab, &name, &["governance", "--member", &member.to_string()])?)?;
        }
        let cluster = alys_cluster::attach(&files.debug(lab, &plan)).await?;
        let engine = plan.places.iter().find(|place| place.role == Role::Engine).ok_or_eyre("a node without an engine")?;
        let ethereum = Ethereum::new(&format!("http://{}:{ETH_PORT}", address(engine.host)))?;
        Ok(Self { platform, plan, reach: Reach { cluster, ethereum, home: files.home } })
    }

    /// Observations of all processes that answer in time.
    pub async fn observations(&self) -> Vec<Observation> {
        let observed = self.reach.cluster.observe_all(Duration::from_secs(1)).await;
        observed.into_iter().filter_map(|seen| seen.observation.ok()).collect()
    }

    /// Waits until one process of each role serves; those that wait for another's lease do not.
    pub async fn wait_ready(&self, patience: Duration) -> eyre::Result<()> {
        let ready = wait("all roles to serve", patience, async || {
            let seen = self.observations().await;
            let serves = |role: Role| seen.iter().any(|seen| seen.role() == role && seen.health() == Health::Ready);
            let missing: Vec<&str> =
                self.plan.places.iter().filter(|place| !serves(place.role)).map(|place| place.instance).collect();
            ensure!(missing.is_empty(), "not ready, as a debug node sees it: {}", missing.join(", "));
            Ok(Some(()))
        });
        ready.await.wrap_err_with(|| self.platform.report())
    }

    /// Waits until the chain has grown by so many blocks.
    pub async fn wait_blocks(&self, count: u64, patience: Duration) -> eyre::Result<()> {
        let wanted = wait("a head", patience, async || Ok(Some(self.head_now().await?.height + count))).await?;
        let what = format!("block {wanted}");
        let reached = wait(&what, patience, async || Ok((self.head_now().await?.height >= wanted).then_some(())));
        reached.await.wrap_err_with(|| self.platform.report())
    }

    /// Whether the test's own process has a process in view.
    pub fn in_view(&self, instance: &str) -> bool {
        self.reach.cluster.instances().iter().any(|seen| seen.identity.instance == instance)
    }

    /// The leases, as storage has them.
    pub async fn leases(&self) -> eyre::Result<storage::Leases> {
        Ok(self.reach.cluster.remote::<storage::Inbox>().ask_within(Duration::from_secs(1), storage::GetLeases {}).await?)
    }

    /// The lease of a role, as storage has it.
    pub async fn lease(&self, role: Role) -> eyre::Result<storage::Lease> {
        let lease = self.leases().await?.leases.into_iter().find(|lease| lease.role() == role);
        lease.ok_or_eyre("nobody has ever held it")
    }

    /// Where a process answers metrics and probes.
    pub fn metrics(&self, instance: &str) -> eyre::Result<SocketAddr> {
        self.address_of(instance, TELEMETRY_PORT)
    }

    /// Where a process accepts links.
    pub fn mesh_address(&self, instance: &str) -> eyre::Result<SocketAddr> {
        self.address_of(instance, MESH_PORT)
    }

    fn address_of(&self, instance: &str, first: u16) -> eyre::Result<SocketAddr> {
        let found = (first..).zip(&self.plan.places).find(|(_, place)| place.instance == instance);
        let (port, place) = found.ok_or_eyre("there is no such process")?;
        Ok(format!("{}:{port}", address(place.host)).parse()?)
    }
}

impl Hosted for Spread {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn report(&self) -> String {
        self.platform.report()
    }
}

/// Files and settings that the processes share.
struct Files {
    home: PathBuf,
    secrets: PathBuf,
    settings: Vec<(String, String)>,
}

impl Files {
    fn make(lab: &Lab, plan: &Plan) -> eyre::Result<Self> {
        let failed = |failure: alys::failure::Failure| eyre::eyre!("{failure}");
        let (home, secrets) = (lab.folder().join("home"), lab.folder().join("secrets"));
        let chain = DevChain { slot_millis: 1_000, confirmations: plan.confirmations, ..DevChain::default() };
        dev(&home, &chain).map_err(failed)?;
        let mut made = Vec::new();
        let authority = Authority::open(&home.join("tls"), "alys", &mut made).map_err(failed)?;
        for role in plan.places.iter().map(|place| place.role).chain([Role::Debug]) {
            std::fs::create_dir_all(secrets.join(role.name()))?;
            let names = mesh_names(&[role]);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            authority.write(&secrets.join(role.name()), "mesh", role.name(), &names, &mut made).map_err(failed)?;
        }
        let mut files = Self { home, secrets, settings: Vec::new() };
        let host_of = |role: Role| plan.places.iter().find(|place| place.role == role).map(|place| address(place.host));
        if let Some(host) = host_of(Role::Stream) {
            std::fs::create_dir_all(files.secrets.join("grpc"))?;
            authority.write(&files.secrets.join("grpc"), "stream", "stream", &[&host], &mut made).map_err(failed)?;
            files.set("stream.listen", format!("{host}:{STREAM_PORT}"));
            files.set("stream.tls.cert", files.secrets.join("grpc/stream.pem").display());
            files.set("stream.tls.key", files.secrets.join("grpc/stream.key").display());
        }
        if let Some(host) = host_of(Role::Engine) {
            files.set("engine.rpc.listen", format!("{host}:{ETH_PORT}"));
        }
        if let Some(host) = host_of(Role::Network) {
            files.set("network.listen", format!("[\"/ip4/{host}/tcp/30333\"]"));
        }
        Ok(files)
    }

    /// As an environment variable, which every program of ours reads.
    fn set(&mut self, path: &str, value: impl std::fmt::Display) {
        self.settings.push((variable(path), value.to_string()));
    }

    /// A process of the node.
    fn service(&self, lab: &Lab, plan: &Plan, number: u16, place: &Place) -> eyre::Result<Service> {
        let host = plan.hosts.get(usize::from(place.host)).ok_or_eyre("there is no such host")?;
        let mut service = self.outside(lab, place.instance, &["role", place.role.name(), "--instance", place.instance])?;
        if let Some((_, arguments)) = plan.test_roles.iter().find(|(instance, _)| *instance == place.instance) {
            service.program = binary("alys-test-role")?;
            let config = format!("--config={}", self.home.join("alys.toml").display());
            service.arguments = [place.role.name().to_owned(), config].into_iter().chain(arguments.iter().cloned()).collect();
        }
        service.namespace = lab.namespace(host);
        service.boot_id = lab.folder().join(host).join("boot_id");
        let mesh = self.mesh(plan, place.role, Some(format!("{}:{}", address(place.host), MESH_PORT + number).parse()?));
        service.environment.extend([
            (variable("cluster.run_dir"), lab.folder().join(host).join("run").display().to_string()),
            (variable("cluster.mesh"), inline(&mesh)),
            (variable("cluster.telemetry.listen"), format!("{}:{}", address(place.host), TELEMETRY_PORT + number)),
        ]);
        let own = plan.environment.iter().filter(|(instance, ..)| *instance == place.instance);
        service.environment.extend(own.map(|(_, name, value)| (name.clone(), value.clone())));
        Ok(service)
    }

    /// A process that is none of the node, where the test runs.
    fn outside(&self, lab: &Lab, name: &str, arguments: &[&str]) -> eyre::Result<Service> {
        let data_dir = format!("--data-dir={}", self.home.display());
        Ok(Service {
            namespace: lab.namespace("hub"),
            boot_id: "/proc/sys/kernel/random/boot_id".into(),
            program: binary("alys")?,
            arguments: arguments.iter().map(ToString::to_string).chain([data_dir]).collect(),
            environment: self.settings.clone(),
            log: lab.folder().join(format!("{name}.log")),
        })
    }

    fn mesh(&self, plan: &Plan, role: Role, listen: Option<SocketAddr>) -> MeshConfig {
        let file = |name: &str| self.secrets.join(role.name()).join(name);
        MeshConfig {
            listen,
            seeds: seeds(plan),
            ca_file: self.home.join("tls/ca.pem"),
            certificate_file: file("mesh.pem"),
            key_file: file("mesh.key"),
        }
    }

    /// The test's own way in.
    fn debug(&self, lab: &Lab, plan: &Plan) -> ClusterConfig {
        ClusterConfig {
            run_dir: lab.folder().join("run"),
            cookie_file: self.home.join("cookie"),
            mesh: Some(self.mesh(plan, Role::Debug, None)),
            ..ClusterConfig::default()
        }
    }
}

fn seeds(plan: &Plan) -> Vec<String> {
    (0_u16..).zip(&plan.places).map(|(number, place)| format!("{}:{}", address(place.host), MESH_PORT + number)).collect()
}

/// `cluster.run_dir` is `ALYS_CLUSTER__RUN_DIR`.
fn variable(path: &str) -> String {
    format!("ALYS_{}", path.replace('.', "__").to_ascii_uppercase())
}

/// A table in one value: with half of it set there is no configuration.
fn inline(mesh: &MeshConfig) -> String {
    let MeshConfig { listen, seeds, ca_file, certificate_file, key_file } = mesh;
    let listen = listen.map(|address| format!("listen = \"{address}\", ")).unwrap_or_default();
    // Paths of a lab are plain, so they are quoted alike in TOML and here.
    format!(
        "{{ {listen}seeds = {seeds:?}, ca_file = {ca_file:?}, certificate_file = {certificate_file:?}, key_file = {key_file:?} }}"
    )
}
