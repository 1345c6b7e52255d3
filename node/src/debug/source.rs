//! Where facts come from: the cluster that runs, or a snapshot file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alys_cluster::identity::unix_millis;
use alys_cluster::{Cluster, Remote};
use alys_proto::cluster::{self, LogTail, MailboxPeek};
use alys_proto::supervisor::{self, GetInstances};
use alys_proto::{Refused, Role};

use super::facts::Facts;
use super::peek::Peek;
use super::snapshot::Snapshot;
use super::watch::Watch;
use crate::cli::args::Place;
use crate::cli::status::join;
use crate::failure::{Failure, Outcome};

/// How long one instance may take to answer before it counts as silent.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// Where facts come from.
pub(super) enum Source {
    /// A cluster that runs.
    Live(Box<Live>),
    /// A file.
    File(Box<Snapshot>),
}

/// A cluster that runs, joined as a hidden node.
pub(super) struct Live {
    pub(super) cluster: Cluster,
    pub(super) log_dir: PathBuf,
    watch: Watch,
}

impl Source {
    /// Opens the snapshot, or joins the node that runs.
    pub(super) async fn open(place: &Place, from: Option<&Path>) -> Outcome<Self> {
        match from {
            Some(file) => Ok(Self::File(Box::new(Snapshot::read(file)?))),
            None => Ok(Self::Live(Box::new(Live::join(place).await?))),
        }
    }

    /// One look at every instance.
    pub(super) async fn facts(&mut self) -> Facts {
        match self {
            Self::Live(live) => live.facts().await,
            Self::File(snapshot) => snapshot.facts.clone(),
        }
    }

    /// What waits in a mailbox.
    pub(super) async fn peek(&self, instance: &str, asked: MailboxPeek) -> Outcome<Peek> {
        match self {
            Self::Live(live) => {
                let view = live.inspector(instance)?.ask_within(DEADLINE, asked).await.map_err(|why| failed(instance, why))?;
                Ok(Peek::from(&view))
            }
            Self::File(snapshot) => {
                let found = snapshot.peeks.get(instance).cloned();
                let names: Vec<&str> = snapshot.peeks.keys().map(String::as_str).collect();
                found.map(|peek| peek.filtered(&asked)).ok_or_else(|| unknown(instance, &names))
            }
        }
    }

    /// The last log lines of an instance, oldest first.
    pub(super) async fn log(&self, instance: &str, lines: usize) -> Vec<String> {
        match self {
            Self::Live(live) => live.log(instance, lines).await,
            Self::File(snapshot) => {
                let all = snapshot.logs.get(instance).map(Vec::as_slice).unwrap_or_default();
                all.iter().skip(all.len().saturating_sub(lines)).cloned().collect()
            }
        }
    }
}

impl Live {
    pub(super) async fn join(place: &Place) -> Outcome<Self> {
        let log_dir = place.load_live()?.config.supervisor.log_dir;
        Ok(Self { cluster: join(place).await?, log_dir, watch: Watch::default() })
    }

    pub(super) async fn facts(&mut self) -> Facts {
        let (observed, kept) = tokio::join!(self.cluster.observe_all(DEADLINE), kept(&self.cluster));
        self.watch.update(unix_millis(), &observed, &kept)
    }

    /// The inspector of an instance, or which instances there are.
    pub(super) fn inspector(&self, instance: &str) -> Outcome<Remote<cluster::Inbox>> {
        let known = self.cluster.instances();
        let names: Vec<&str> = known.iter().map(|known| known.identity.instance.as_str()).collect();
        let found = known.iter().find(|known| known.identity.instance == instance).ok_or_else(|| unknown(instance, &names))?;
        self.cluster
            .inspector(found.identity.role, instance)
            .ok_or_else(|| Failure::temporary(format!("{instance} has just gone")))
    }

    /// From the process itself, wherever it runs; from its file when it does not answer or has no inspector.
    async fn log(&self, instance: &str, lines: usize) -> Vec<String> {
        if let Ok(inspector) = self.inspector(instance) {
            let asked = LogTail { limit: u32::try_from(lines).unwrap_or(u32::MAX), ..LogTail::default() };
            if let Ok(tail) = inspector.ask_within(DEADLINE, asked).await {
                return tail.lines.into_iter().map(|line| line.text).collect();
            }
        }
        super::logs::tail_of_file(&self.log_dir.join(format!("{instance}.log")), lines)
    }
}

/// What the supervisor keeps running. Without one in view nobody waits for its answer.
async fn kept(cluster: &Cluster) -> Vec<supervisor::Instance> {
    if !cluster.instances().iter().any(|instance| instance.identity.role == Role::Supervisor) {
        return Vec::new();
    }
    let supervisor = cluster.remote::<supervisor::Inbox>();
    supervisor.ask_within(DEADLINE, GetInstances {}).await.map(|answer| answer.instances).unwrap_or_default()
}

pub(super) fn unknown(instance: &str, names: &[&str]) -> Failure {
    Failure::usage(format!("no live instance `{instance}`; there are {}", names.join(", ")))
}

/// A refusal as a command's end.
pub(super) fn failed(instance: &str, refused: Refused) -> Failure {
    let message = format!("{instance}: {refused}");
    if refused.is_passing() { Failure::temporary(message) } else { Failure::usage(message) }
}
