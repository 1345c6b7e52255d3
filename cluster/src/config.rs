//! Configuration of the shell, the same for every role.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::generation::Origin;

/// How a process joins its cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Name of the cluster: processes of another one are turned away.
    pub id: String,
    /// Folder of the Unix sockets (mode 0700). Processes that share it find each other.
    pub run_dir: PathBuf,
    /// File with the cookie, a second check behind the sockets' peer uid and TLS.
    pub cookie_file: PathBuf,
    /// Links between hosts; none on a single host.
    pub mesh: Option<MeshConfig>,
    /// Mailbox of the role.
    pub mailbox: MailboxConfig,
    /// Lease of a role that acts only under one.
    pub lease: LeaseConfig,
    /// Deadline of a question when the caller names none.
    #[serde(with = "humantime_serde")]
    pub ask_deadline: Duration,
    /// A handler that shows no progress for longer, or a mailbox that nobody takes from: the process is wedged. Methods that
    /// may take longer say so in their .proto (`longest_seconds`).
    #[serde(with = "humantime_serde")]
    pub handler_deadline: Duration,
    /// How long a role may take to finish what is queued after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub drain_budget: Duration,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// What debug nodes may do.
    pub debug: DebugConfig,
    /// Where this process comes from. Not a setting: whoever starts the role knows.
    #[serde(skip)]
    pub origin: Origin,
}

/// What debug nodes may do. Looking is always allowed to whoever may join the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugConfig {
    /// Where every change by a debugger is written down, one JSON object a line; what cannot be written down is not done.
    pub audit_file: PathBuf,
    /// Whether chain, stream, bridge and storage may be frozen. On test chains only: a frozen validator misses its turns.
    pub freeze_signers: bool,
    /// A recording to replay into the role's mailbox, after which the process ends. Not a setting: `alys debug replay`.
    #[serde(skip)]
    pub replay: Option<PathBuf>,
}

impl Default for DebugConfig {
    fn default() -> Self {
        Self { audit_file: PathBuf::from("audit.log"), freeze_signers: false, replay: None }
    }
}

/// TCP with TLS 1.3 client certificates between hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshConfig {
    /// Where this process accepts links; none: it only dials.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// `host:port` of processes to dial until they are reached.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// The cluster's own CA, PEM.
    pub ca_file: PathBuf,
    /// This process's certificate, PEM. Its DNS names say which roles it may claim: `storage.role.alys`.
    pub certificate_file: PathBuf,
    /// Its key, PEM, mode 0600.
    pub key_file: PathBuf,
}

/// Bounds of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailboxConfig {
    /// Messages that may wait. What may not be dropped is admitted above it.
    pub capacity: usize,
    /// Bytes of bodies that may wait; above it even undroppable messages are refused as busy.
    pub max_bytes: usize,
}

/// How long a role may act without hearing from storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseConfig {
    /// The holder stops itself after two thirds of this without a renewal; after all of it another may take over.
    #[serde(with = "humantime_serde")]
    pub term: Duration,
}

/// Logs and traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `json` or `text`.
    pub format: LogFormat,
    /// Filter in the syntax of `tracing` (`info`, `alys_chain=debug,info`).
    pub filter: String,
    /// OTLP collector (gRPC), like `http://127.0.0.1:4317`; none: trace ids appear in the logs only.
    pub otlp_endpoint: Option<String>,
    /// Where this process answers `/metrics`, `/livez`, `/readyz` and gRPC health; none: nowhere.
    pub listen: Option<SocketAddr>,
}

/// Form of log lines on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            id: "alys".into(),
            run_dir: PathBuf::from("run"),
            cookie_file: PathBuf::from("cookie"),
            mesh: None,
            mailbox: MailboxConfig::default(),
            lease: LeaseConfig::default(),
            ask_deadline: Duration::from_secs(5),
            handler_deadline: Duration::from_secs(5),
            drain_budget: Duration::from_secs(5),
            telemetry: TelemetryConfig::default(),
            debug: DebugConfig::default(),
            origin: Origin::default(),
        }
    }
}

impl Default for MailboxConfig {
    /// 1,000 messages, the seed's figure; 64 MiB hold five of the largest blocks.
    fn default() -> Self {
        Self { capacity: 1_000, max_bytes: 64 * 1024 * 1024 }
    }
}

impl Default for LeaseConfig {
    /// A role on a host that is cut off is replaced within ten seconds; storage may be away for six without anybody stopping.
    fn default() -> Self {
        Self { term: Duration::from_secs(9) }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, filter: "info".into(), otlp_endpoint: None, listen: None }
    }
}
