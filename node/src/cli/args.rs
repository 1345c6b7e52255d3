//! The command line.

use std::path::PathBuf;

use alloy_primitives::Address;
use alys_proto::{Role, Sats};
use clap::{Args, Parser, Subcommand};

use super::evidence::EvidenceArgs;
use super::miner::MinerArgs;
use super::orders::{OrderArgs, RestartArgs, ScaleArgs};
use super::peers::PeersArgs;
use super::storage::Storage;
use super::testnet::TestnetArgs;
use super::up::Up;
use crate::debug::args::Debug;
use crate::io::table::Output;
use crate::prepare::keys::Kind;

const EXIT_CODES: &str = "\
Exit codes: 0 done · 64 wrong usage · 70 bug · 75 something outside is away, try again · 78 configuration, keys or data \
must be changed first · 80 restart me · 81 wedged · 82 fenced";

/// Alys: a merge-mined Bitcoin sidechain node that runs as a cluster of actor processes.
#[derive(Debug, Parser)]
#[command(name = "alys", version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// Where the node lives and what overrides its configuration.
    #[command(flatten)]
    pub place: Place,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the node lives and what overrides its configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct Place {
    /// Folder of the node [default: ./.run when it holds a node or with `up --dev`, else ~/.alys]
    #[arg(long, global = true, env = "ALYS_DATA_DIR", value_name = "DIR", help_heading = "Place")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file [default: alys.toml in the data directory]
    #[arg(long, global = true, env = "ALYS_CONFIG", value_name = "FILE", help_heading = "Place")]
    pub config: Option<PathBuf>,
    /// Override one setting, like engine.rpc.listen=127.0.0.1:9000; repeatable
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Place")]
    pub set: Vec<(String, String)>,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the whole node on this host: all roles and, on a test chain, the governance nodes. Ctrl-C stops all
    Up(Up),
    /// Run one role in this process (what `up`, systemd units and pods start)
    Role(RoleArgs),
    /// Run a governance node: one member of the federation, with its own key and its own checks
    Governance(Governance),
    /// Show every role: process, mailbox, health, head
    Status(Status),
    /// Show the nodes of others: address, head, behaviour, and who is banned and why
    Peers(PeersArgs),
    /// Show proofs that a validator signed two different things in one place
    Evidence(EvidenceArgs),
    /// Drain a role or an instance and start it again; also ends a quarantine. `--outdated`: all that run an old build or
    /// configuration
    Restart(RestartArgs),
    /// Let a role or an instance finish what it has begun, and keep it stopped
    Drain(OrderArgs),
    /// End a drain or a quarantine
    Resume(OrderArgs),
    /// Run so many processes of a role: `alys scale sync 3`
    Scale(ScaleArgs),
    /// Check, back up or restore the database
    #[command(subcommand)]
    Storage(Storage),
    /// What an execution client (Geth, Reth) of this chain needs
    #[command(subcommand)]
    Engine(Engine),
    /// Look inside running roles
    #[command(subcommand)]
    Debug(Debug),
    /// Bitcoin to the sidechain
    #[command(subcommand)]
    PegIn(PegIn),
    /// Sidechain to Bitcoin: burn here, be paid there
    PegOut(PegOut),
    /// Send coins on the sidechain
    Transfer(Transfer),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(Config),
    /// Make keys, or show their public halves
    #[command(subcommand)]
    Keys(Keys),
    /// Mine for test networks: Bitcoin blocks that carry the work for Alys too. Ctrl-C ends it
    Miner(MinerArgs),
    /// Make a test chain of several validators: a folder for each, which `alys up --data-dir` starts
    Testnet(TestnetArgs),
    /// Write what systemd or Kubernetes needs to run a node, from one topology file
    #[command(subcommand)]
    Generate(Generate),
    /// Show versions of program and message schema
    Version {
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Print shell completions: source <(alys completions bash)
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `alys engine`.
#[derive(Clone, Debug, Subcommand)]
pub enum Engine {
    /// Print the genesis file that an execution client is started with, in Geth's form
    Genesis {
        /// Write it to a file instead
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// `alys role`.
#[derive(Clone, Debug, Args)]
pub struct RoleArgs {
    /// supervisor, storage, engine, chain, bridge, stream, network or sync
    pub role: Role,
    /// Name of this instance, where a role has several [default: the role's name]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// End when standard input ends: the supervisor holds its other end
    #[arg(long, hide = true)]
    pub lifeline: bool,
    /// Replay a recording into the mailbox, then end
    #[arg(long, hide = true, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// This supervisor is `alys up`
    #[arg(long, hide = true)]
    pub up: bool,
    /// Show what the roles print
    #[arg(long, hide = true, requires = "up")]
    pub verbose: bool,
}

/// `alys governance`.
#[derive(Clone, Debug, Args)]
pub struct Governance {
    /// Be the N-th local member of a test chain, with the keys that `up --dev` made [default: section governance]
    #[arg(long, value_name = "N")]
    pub member: Option<u32>,
    /// End when standard input ends: the supervisor holds its other end
    #[arg(long, hide = true)]
    pub lifeline: bool,
    /// Ask for a decision instead of running
    #[command(subcommand)]
    pub wish: Option<Wish>,
}

/// What a member may want the federation to decide.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Wish {
    /// Have this member sign that the peg stands still: it does as soon as enough members have signed and a block records it. Then nothing is minted, given back, approved or signed; burns wait
    Pause,
    /// Have this member sign that the peg goes on
    Resume,
}

/// `alys status`.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Show it again every second until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Wait at most so many seconds until all are ready; exit 75 if they are not
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u64>,
}

/// `alys peg-in`.
#[derive(Clone, Debug, Subcommand)]
pub enum PegIn {
    /// Where to send bitcoins, and how to name the recipient
    Address {
        /// Recipient on the sidechain: prints the exact output script
        #[arg(long, value_name = "0x…")]
        recipient: Option<Address>,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Build and send the deposit with a wallet of the configured bitcoind
    Send {
        /// In bitcoins, like 1 or 0.4
        #[arg(long, value_name = "BTC")]
        amount: Sats,
        /// Recipient on the sidechain
        #[arg(long, value_name = "0x…")]
        recipient: Address,
        /// Name of a loaded wallet of bitcoind
        #[arg(long)]
        wallet: String,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Deposits that the bridge knows
    Status {
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// `alys peg-out`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct PegOut {
    /// What else than burning
    #[command(subcommand)]
    pub command: Option<PegOutCommand>,
    /// In bitcoins, like 0.4
    #[arg(long, value_name = "BTC", required = true)]
    pub amount: Option<Sats>,
    /// Bitcoin address that is paid
    #[arg(long, value_name = "BITCOIN ADDRESS", required = true)]
    pub to: Option<String>,
    /// Account that burns
    #[command(flatten)]
    pub sender: Sender,
    /// End when the burn is in a block; do not follow it to its payment
    #[arg(long)]
    pub no_follow: bool,
    /// Send even if the address does not look like one of this chain's Bitcoin network (it would be refunded)
    #[arg(long)]
    pub force: bool,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `alys peg-out …`.
#[derive(Clone, Debug, Subcommand)]
pub enum PegOutCommand {
    /// Burns and payouts that the bridge knows
    Status {
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// `alys transfer`.
#[derive(Clone, Debug, Args)]
pub struct Transfer {
    /// In bitcoins, like 0.4
    #[arg(long, value_name = "BTC")]
    pub amount: Sats,
    /// Recipient on the sidechain
    #[arg(long, value_name = "0x…")]
    pub to: Address,
    /// Account that pays
    #[command(flatten)]
    pub sender: Sender,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// Which account, and where its transactions go.
#[derive(Clone, Debug, Args)]
pub struct Sender {
    /// Key of the account: a file with 64 hex digits [default: keys/evm.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Eth JSON-RPC [default: that of the configured engine]
    #[arg(long, value_name = "URL")]
    pub rpc: Option<String>,
}

/// `alys config`.
#[derive(Clone, Debug, Subcommand)]
pub enum Config {
    /// Every setting as it applies, secrets redacted
    Show {
        /// Say where each value came from: flag, environment, file or default
        #[arg(long)]
        origin: bool,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Check configuration, chain specification, keys and certificates
    Check,
}

/// `alys keys`.
#[derive(Clone, Debug, Subcommand)]
pub enum Keys {
    /// Make a key in a new file that only its owner can read
    Generate {
        /// What it is for
        kind: Kind,
        /// New file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make a certificate for links between hosts that allows these roles
    MeshCert {
        /// Roles that a process with it may claim; debug for `alysctl`
        #[arg(required = true, value_name = "ROLE", value_parser = role_or_debug)]
        roles: Vec<Role>,
        /// Folder with ca.pem and ca.key of the cluster
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// Folder for mesh.pem and mesh.key, which must not be there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Show public keys and addresses, of one file or of all in the data directory
    Show {
        /// What the file is for
        #[arg(requires = "file")]
        kind: Option<Kind>,
        /// Key file
        #[arg(long, value_name = "FILE", requires = "kind")]
        file: Option<PathBuf>,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// `alys generate`.
#[derive(Clone, Debug, Subcommand)]
pub enum Generate {
    /// Print a commented topology to start from
    Topology,
    /// Write systemd units, and for each host a folder to copy over its root
    Systemd {
        /// Topology file; repeatable
        #[arg(long, value_name = "FILE", required = true)]
        topology: Vec<PathBuf>,
        /// Folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Write a kustomize base, and for each topology an overlay
    Kubernetes {
        /// Topology file; repeatable
        #[arg(long, value_name = "FILE", required = true)]
        topology: Vec<PathBuf>,
        /// Folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make an authority, the cookie and certificates: a folder of secrets for every role. Keeps what is there
    Credentials {
        /// Topology file
        #[arg(long, value_name = "FILE")]
        topology: PathBuf,
        /// Folder to write to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

fn role_or_debug(text: &str) -> Result<Role, alys_proto::role::UnknownRole> {
    if text == "debug" { Ok(Role::Debug) } else { text.parse() }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, like engine.rpc.listen=127.0.0.1:9000".to_owned()),
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
