//! The shell that all roles share: it turns a [`RoleActor`] into an OS process of the cluster.
//!
//! ```text
//!  peers ──streams──▶ door ──▶ mailbox ──▶ executor ──▶ RoleActor::handle
//!           │          │          ▲ own queue: depth, lanes, peek, expiry
//!           │     inspector ──────┘ answers even while a handler hangs
//!           └ ractor session: membership
//! ```
//! Knows nothing of blockchains.

pub mod actor;
pub mod board;
mod certificate;
mod cluster;
pub mod config;
mod counts;
pub mod delivery;
mod executor;
pub mod exit;
pub mod generation;
pub mod guard;
mod handled;
mod header;
pub mod identity;
mod inspect;
pub mod lease;
pub mod mailbox;
mod mesh;
pub mod metrics;
#[doc(hidden)]
pub mod micro;
mod notify;
mod outbox;
mod pack;
mod poison;
mod port;
pub mod private;
mod probes;
mod process;
mod progress;
mod registry;
mod remote;
mod run;
pub mod telemetry;
pub mod tenure;
pub mod testing;
mod vitals;

pub use actor::{Cx, LocalSender, RoleActor, Status};
pub use alys_proto::cluster::Health;
pub use cluster::{Cluster, InstanceInfo, Observed};
pub use config::{ClusterConfig, DebugConfig, LeaseConfig, MailboxConfig, MeshConfig, TelemetryConfig};
pub use executor::{Waiting, waiting_for};
pub use exit::ActorError;
pub use header::Header;
pub use identity::{Identity, Incarnation};
pub use inspect::recording;
pub use lease::Lease;
pub use metrics::RoleMetrics;
pub use registry::Policy;
pub use remote::Remote;
pub use run::{attach, run, try_run};
pub use tenure::{Standing, Tenure};
