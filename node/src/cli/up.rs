//! `alys up`: make what is missing, then become the supervisor.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use libp2p::Multiaddr;

use super::args::Place;
use super::configure;
use crate::config::{Override, load};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::prepare::files::Made;
use crate::prepare::{self, DevChain};

/// `alys up`.
#[derive(Clone, Debug, Args)]
pub struct Up {
    /// Make a regtest chain with keys, certificates and configuration if there is none yet
    #[arg(long)]
    pub dev: bool,
    /// Be a full node of the chain with this specification; makes certificates and configuration if there are none yet
    #[arg(long, value_name = "CHAIN.TOML", conflicts_with = "dev")]
    pub join: Option<PathBuf>,
    /// Node to connect to, like /ip4/192.0.2.1/tcp/30333/p2p/12D3…; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    pub bootnode: Vec<Multiaddr>,
    /// First of three ports: Eth JSON-RPC, governance gRPC, peer-to-peer [default: 8545, 50051, 30333]
    #[arg(long, env = "ALYS_PORT_BASE", value_name = "PORT")]
    pub port_base: Option<u16>,
    /// Address of the Eth JSON-RPC
    #[arg(long, value_name = "ADDRESS")]
    pub eth_rpc: Option<SocketAddr>,
    /// Address that governance nodes connect to
    #[arg(long, value_name = "ADDRESS")]
    pub grpc: Option<SocketAddr>,
    /// Address of the JSON-RPC for miners [default: none]
    #[arg(long, value_name = "ADDRESS")]
    pub mining_rpc: Option<SocketAddr>,
    /// Peer-to-peer port on 127.0.0.1
    #[arg(long, value_name = "PORT")]
    pub p2p_port: Option<u16>,
    /// First of the ports on 127.0.0.1 for metrics and probes, one a role, then one a local governance node from the 21st on: /metrics, /livez, /readyz [default: none]
    #[arg(long, env = "ALYS_METRICS_PORT_BASE", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_528))]
    pub metrics_port_base: Option<u16>,
    /// RPC of bitcoind. It may come later: until then the peg waits
    #[arg(long, env = "ALYS_BITCOIN_URL", value_name = "URL")]
    pub bitcoin_url: Option<String>,
    /// Cookie file of bitcoind
    #[arg(long, env = "ALYS_BITCOIN_COOKIE", value_name = "FILE")]
    pub bitcoin_cookie: Option<PathBuf>,
    /// Local governance nodes [default: as many as the test chain has members]
    #[arg(long, value_name = "COUNT")]
    pub governance: Option<u32>,
    /// Slot length of a chain that is made now: whole seconds, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2_000, requires = "dev")]
    pub slot_millis: u64,
    /// Bitcoin confirmations that a chain that is made now asks for
    #[arg(long, value_name = "BLOCKS", default_value_t = 6, requires = "dev", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub confirmations: u32,
    /// A chain that is made now is merge-mined, with an easy target; miners are served on 127.0.0.1:8555
    #[arg(long, requires = "dev")]
    pub work: bool,
    /// Show what the roles print
    #[arg(short, long)]
    pub verbose: bool,
}

pub(super) fn run(place: &Place, args: &Up) -> Outcome {
    let (data_dir, file) = (place.data_dir(args.dev), place.file(args.dev));
    if args.dev {
        let chain =
            DevChain { slot_millis: args.slot_millis, confirmations: args.confirmations, work: args.work, ..DevChain::default() };
        report(&data_dir, "a test chain", &prepare::dev(&data_dir, &chain)?);
    }
    if let Some(spec) = &args.join {
        report(&data_dir, "a full node", &prepare::join::full_node(&data_dir, spec, &args.bootnode)?);
    }
    let mut overrides = flags(args)?;
    overrides.extend(place.overrides());
    // Checked here, before anything runs: a wrong setting is one message, not eight.
    let loaded = load(&file, &overrides).map_err(|failure| missing(failure, &file, args.dev))?;
    let spec = loaded.spec()?;
    configure::secrets(&loaded)?;
    eprintln!("starting {} (chain id {}) in {}", spec.name, spec.chain_id, loaded.config.data_dir.display());

    let program = std::env::current_exe().or_bug("this program's own path is unknown")?;
    let mut command = Command::new(program);
    command.args(["role", "supervisor", "--up", "--config"]).arg(&file);
    if args.verbose {
        command.arg("--verbose");
    } else {
        // The terminal is for people; with --verbose they get all of it.
        command.stderr(log(&loaded.config.supervisor)?);
    }
    for set in &overrides {
        command.arg("--set").arg(format!("{}={}", set.path, set.text));
    }
    Err(command.exec()).or_bug("cannot become the supervisor")
}

/// The supervisor's own log, appended to; an overlong one is moved away first.
fn log(config: &alys_supervisor::Config) -> Outcome<File> {
    let path = config.log_dir.join("supervisor.log");
    let open = || -> std::io::Result<File> {
        std::fs::create_dir_all(&config.log_dir)?;
        if std::fs::metadata(&path).is_ok_and(|log| log.len() > config.log_bytes) {
            std::fs::rename(&path, path.with_extension("log.1"))?;
        }
        File::options().create(true).append(true).open(&path)
    };
    open().or_configuration(format!("cannot write the log {}", path.display()))
}

fn report(data_dir: &Path, what: &str, made: &[Made]) {
    if made.is_empty() {
        return;
    }
    eprintln!("made {what} in {}:", data_dir.display());
    for thing in made {
        let path = thing.path.strip_prefix(data_dir).unwrap_or(&thing.path);
        eprintln!("  {:<28} {}", path.display(), thing.what);
    }
}

fn missing(failure: Failure, file: &Path, dev: bool) -> Failure {
    if dev || file.exists() {
        return failure;
    }
    failure.help("`alys up --dev` makes a test chain on regtest, `alys up --join` a full node; --data-dir names a folder with another node")
}

/// What the flags of `up` set.
fn flags(args: &Up) -> Outcome<Vec<Override>> {
    let mut sets = Vec::new();
    if let Some(base) = args.port_base {
        let next = |offset: u16| {
            base.checked_add(offset).ok_or_else(|| Failure::usage(format!("--port-base {base} leaves no room for three ports")))
        };
        sets.push(Override::new("engine.rpc.listen", format!("127.0.0.1:{base}"), "--port-base"));
        sets.push(Override::new("stream.listen", format!("127.0.0.1:{}", next(1)?), "--port-base"));
        sets.push(p2p(next(2)?, "--port-base"));
    }
    if let Some(address) = args.eth_rpc {
        sets.push(Override::new("engine.rpc.listen", address, "--eth-rpc"));
    }
    if let Some(address) = args.grpc {
        sets.push(Override::new("stream.listen", address, "--grpc"));
    }
    if let Some(address) = args.mining_rpc {
        sets.push(Override::new("chain.mining.listen", address, "--mining-rpc"));
    }
    if let Some(port) = args.p2p_port {
        sets.push(p2p(port, "--p2p-port"));
    }
    if let Some(base) = args.metrics_port_base {
        sets.push(Override::new("local.metrics_port_base", base, "--metrics-port-base"));
    }
    if let Some(url) = &args.bitcoin_url {
        sets.push(Override::new("bridge.bitcoind.url", url, "--bitcoin-url"));
    }
    if let Some(cookie) = &args.bitcoin_cookie {
        // Typed in a shell: relative to where it was typed, not to the data directory.
        let cookie = std::path::absolute(cookie).or_configuration("there is no current directory")?;
        sets.push(Override::new("bridge.bitcoind.cookie_file", cookie.display(), "--bitcoin-cookie"));
    }
    if !args.bootnode.is_empty() {
        let addresses: Vec<String> = args.bootnode.iter().map(|address| format!("\"{address}\"")).collect();
        sets.push(Override::new("network.bootnodes", format!("[{}]", addresses.join(", ")), "--bootnode"));
    }
    if let Some(count) = args.governance {
        sets.push(Override::new("local.governance", count, "--governance"));
    }
    Ok(sets)
}

fn p2p(port: u16, flag: &str) -> Override {
    let listen = format!("[\"/ip4/127.0.0.1/tcp/{port}\", \"/ip4/127.0.0.1/udp/{port}/quic-v1\"]");
    Override::new("network.listen", listen, flag)
}
