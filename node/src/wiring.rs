//! The only place that knows every role: configuration → actor → process.

use alys_blocks::ChainSpec;
use alys_cluster::{Identity, exit, run, try_run};
use alys_engine::{Backend, ClientActor, EngineActor};
use alys_proto::Role;
use alys_proto::role::ROLES;
use alys_supervisor::{ChildSpec, Console, Peers, Plan, SupervisorActor};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Loaded, NodeConfig, Override, digest};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::live;
use crate::prepare::keys::{Kind, Secret};
use crate::prepare::member_name;

/// What a role process is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Which role.
    pub role: Role,
    /// Which one of its role.
    pub instance: String,
    /// Its configuration.
    pub loaded: Loaded,
    /// The flags that led to it, handed on to children.
    pub overrides: Vec<Override>,
    /// The supervisor is `alys up`: it shows progress and ends when a role cannot start.
    pub up: bool,
    /// `alys up` also shows what the children print.
    pub verbose: bool,
}

/// Runs a role until it ends; the exit code of the process.
pub async fn role(mut launch: Launch) -> Outcome<u8> {
    let spec = launch.loaded.spec()?;
    let metrics = launch.loaded.config.local.metrics_listen(launch.role, &launch.instance);
    let telemetry = &mut launch.loaded.config.cluster.telemetry;
    telemetry.listen = metrics.or(telemetry.listen);
    launch.loaded.config.cluster.origin = digest::origin(&launch.loaded, &launch.overrides, launch.role)?;
    let identity = Identity::new(launch.role, &launch.instance);
    let config = &launch.loaded.config;
    let cluster = &config.cluster;
    Ok(match launch.role {
        Role::Supervisor => return supervisor(&launch, &spec, identity).await,
        Role::Storage => run(cluster, identity, |_| alys_storage::StorageActor::new(config.storage.clone(), &spec)).await,
        Role::Engine => match config.engine.backend {
            Backend::Embedded => run(cluster, identity, |mesh| EngineActor::new(config.engine.clone(), spec, mesh.into())).await,
            Backend::EngineApi => run(cluster, identity, |mesh| ClientActor::new(config.engine.clone(), spec, mesh.into())).await,
        },
        Role::Chain => {
            Box::pin(run(cluster, identity, |mesh| alys_chain::ChainActor::new(config.chain.clone(), spec, mesh.into()))).await
        }
        Role::Bridge => {
            run(cluster, identity, |mesh| alys_bridge::BridgeActor::new(config.bridge.clone(), spec, mesh.into())).await
        }
        Role::Stream => {
            run(cluster, identity, |mesh| alys_stream::StreamActor::new(config.stream.clone(), spec, mesh.into())).await
        }
        Role::Network => {
            run(cluster, identity, |mesh| alys_network::NetworkActor::new(config.network.clone(), spec, mesh.into())).await
        }
        Role::Sync => run(cluster, identity, |mesh| alys_sync::SyncActor::new(config.sync.clone(), &spec, mesh.into())).await,
        Role::Debug | Role::Unspecified => return Err(Failure::usage(format!("{} is not a role to start", launch.role))),
    })
}

async fn supervisor(launch: &Launch, spec: &ChainSpec, identity: Identity) -> Outcome<u8> {
    let config = &launch.loaded.config;
    let _held = live::take(&config.data_dir)?;
    live::record(&config.data_dir, &launch.overrides)?;
    let console = Console { enabled: launch.up, verbose: launch.verbose, banner: banner(config, spec) };
    let outlive = !launch.up && !config.supervision.embedded;
    let plan = Plan { children: children(launch, outlive)?, console, fail_fast: launch.up, outlive };
    let mut cluster = config.cluster.clone();
    // Its drain is the drain of all: five phases, and a second to reap what had to be killed.
    cluster.drain_budget = config.supervisor.phase_budget.saturating_mul(6);
    let (settings, supervision) = (config.supervisor.clone(), config.supervision.clone());
    let ended =
        try_run(&cluster, identity, |mesh| SupervisorActor::new(settings, supervision, plan, Peers::new(mesh, &cluster))).await;
    ended.map(|()| exit::DONE).map_err(|error| Failure { code: error.exit_code(), report: eyre::Report::new(error), help: None })
}

/// Every role but the supervisor, and the local governance nodes.
fn children(launch: &Launch, outlive: bool) -> Outcome<Vec<ChildSpec>> {
    let program = std::env::current_exe().or_bug("this program's own path is unknown")?;
    let file = std::path::absolute(&launch.loaded.file).or_bug("there is no current directory")?;
    let tail = |mut args: Vec<std::ffi::OsString>| {
        if !outlive {
            args.push("--lifeline".into());
        }
        args.extend(["--config".into(), file.clone().into()]);
        for set in &launch.overrides {
            args.extend(["--set".into(), format!("{}={}", set.path, set.text).into()]);
        }
        args
    };
    let roles = ROLES.into_iter().filter(|role| *role != Role::Supervisor).map(|role| ChildSpec {
        name: role.name().to_owned(),
        role: Some(role),
        after: role.depends_on().to_vec(),
        program: program.clone(),
        args: tail(vec!["role".into(), role.name().into()]),
    });
    let members = (1..=launch.loaded.config.local.governance).map(|number| ChildSpec {
        name: member_name(number),
        role: None,
        after: vec![Role::Stream],
        program: program.clone(),
        args: tail(vec!["governance".into(), "--member".into(), number.to_string().into()]),
    });
    Ok(roles.chain(members).collect())
}

/// What `alys up` prints when all is ready.
fn banner(config: &NodeConfig, spec: &ChainSpec) -> String {
    let data_dir = config.data_dir.display();
    format!(
        "\n  chain          {} (chain id {}, {} s slots, {} on Bitcoin {})\n  Eth JSON-RPC   http://{}\n  governance     https://{}\n  peer-to-peer   {}\n  bitcoind       {}\n  logs           {}\n\n  look inside    alys --data-dir {data_dir} status\n  deposit        alys --data-dir {data_dir} peg-in address\n  stop           Ctrl-C\n",
        spec.name,
        spec.chain_id,
        spec.slot_millis / 1_000,
        format_args!("{} confirmations", spec.bitcoin.confirmations),
        spec.bitcoin.network,
        config.engine.rpc.listen,
        config.stream.listen,
        multiaddr(&config.network),
        config.bridge.bitcoind.url,
        config.supervisor.log_dir.display(),
    )
}

/// What other nodes give as `--bootnode`.
fn multiaddr(config: &alys_network::Config) -> String {
    let Some(address) = config.listen.first() else { return "only dials".to_owned() };
    // Where there is no identity yet, network makes one in a moment; its status shows it.
    match Secret::read(Kind::Network, &config.data_dir.join("p2p.key")).and_then(|key| key.public()) {
        Ok(peer) => format!("{address}/p2p/{peer}"),
        Err(_) => address.to_string(),
    }
}

/// The configuration of a governance node: its own section, or that of the n-th local member of a test chain.
pub fn governance_config(config: &NodeConfig, spec: &ChainSpec, member: Option<u32>) -> Outcome<alys_governance::Config> {
    let mut settings = config.governance.clone();
    settings.listen = config.cluster.telemetry.listen;
    let Some(number) = member else { return Ok(settings) };
    settings.listen = config.local.member_metrics_listen(number);
    let position = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(member) = spec.federation.members.get(position).filter(|_| number > 0) else {
        let count = spec.federation.members.len();
        return Err(Failure::usage(format!("--member {number}: the federation has members 1 to {count}")));
    };
    let name = member.name.clone();
    let tls = config.data_dir.join("tls");
    settings.key_file = config.data_dir.join("keys").join(format!("{name}.key"));
    settings.data_dir = config.data_dir.join("governance").join(&name);
    settings.stream = format!("https://{}", config.stream.listen);
    settings.tls.ca = tls.join("ca.pem");
    settings.tls.cert = tls.join(format!("{name}.pem"));
    settings.tls.key = tls.join(format!("{name}.key"));
    settings.name = name;
    if settings.bitcoin.url.is_empty() {
        let bitcoind = &config.bridge.bitcoind;
        settings.bitcoin = alys_governance::BitcoinConfig {
            url: bitcoind.url.clone(),
            cookie_file: bitcoind.cookie_file.clone(),
            user: bitcoind.user.clone(),
            password: None,
            password_file: bitcoind.password_file.clone(),
        };
    }
    Ok(settings)
}

/// Runs a governance node until it ends; the exit code of the process.
pub async fn governance(loaded: &Loaded, member: Option<u32>) -> Outcome<u8> {
    let spec = loaded.spec()?;
    let settings = governance_config(&loaded.config, &spec, member)?;
    let _telemetry =
        alys_cluster::telemetry::init(&loaded.config.cluster.telemetry, &Identity::new(Role::Unspecified, &settings.name))
            .or_configuration("telemetry")?;
    let mut terminate = signal(SignalKind::terminate()).or_bug("cannot listen for signals")?;
    let asked_to_end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    match alys_governance::run(settings, ChainSpec::clone(&spec), asked_to_end).await {
        Ok(()) => Ok(exit::DONE),
        Err(error) if error.is_configuration() => Err(error).or_configuration("governance node"),
        Err(error) if error.is_temporary() => Err(error).or_temporary("governance node"),
        Err(error) => Err(error).or_bug("governance node"),
    }
}
