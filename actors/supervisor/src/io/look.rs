//! What the mesh shows of the roles.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use alys_cluster::{Cluster, ClusterConfig, Health, Identity, Observed, Tenure};
use alys_proto::Role;
use alys_proto::cluster::{self, Drain, Observation};

use crate::core::generation::{Age, Generation, OnDisk, judge};
use crate::core::input::View;
use crate::wards::drain_through;

/// Who has not answered its inspector's question by then has said nothing in this look.
const DEADLINE: Duration = Duration::from_secs(1);

/// One instance that the mesh knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who it is.
    pub identity: Identity,
    /// What it said; `None`: nothing.
    pub said: Option<Said>,
}

/// What an instance said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// How it is.
    pub view: View,
    /// How it compares with a start of it.
    pub age: Age,
}

/// All that is seen, some time later.
pub type Looking = Pin<Box<dyn Future<Output = Vec<Seen>> + Send>>;

/// Where the supervisor looks.
#[derive(Clone)]
pub struct Peers {
    /// Asks all instances of the mesh.
    pub look: Arc<dyn Fn() -> Looking + Send + Sync>,
    /// Asks one to drain and end.
    pub drain: Arc<dyn Fn(Role, String, Drain) + Send + Sync>,
    /// Which of several supervisors acts.
    pub tenure: Tenure,
    /// The name of this one.
    pub own: String,
}

impl Peers {
    /// In the mesh. Asks storage from now on which supervisor acts; must be called within the runtime.
    pub fn new(cluster: &Cluster, config: &ClusterConfig) -> Self {
        let drain = Arc::new(drain_through(cluster));
        let (tenure, own) = (Tenure::start(cluster, config), cluster.identity().instance.clone());
        let cluster = cluster.clone();
        let look = move || -> Looking {
            let cluster = cluster.clone();
            Box::pin(async move { cluster.observe_all(DEADLINE).await.iter().map(seen).collect() })
        };
        Self { look: Arc::new(look), drain, tenure, own }
    }
}

/// The name of this host, as in [`Said::host`].
pub fn own_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn seen(observed: &Observed) -> Seen {
    let said = observed.observation.as_ref().ok();
    let said = said.map(|said| Said { host: said.host.clone(), pid: said.pid, view: view(said), age: age(said) });
    Seen { identity: observed.identity.clone(), said }
}

/// How an instance compares with a start of it, by what it says.
pub fn age(said: &Observation) -> Age {
    let plain = |told: &cluster::Generation| Generation { build: told.build.clone(), configuration: told.configuration.clone() };
    let on_disk = match &said.on_disk {
        _ if !said.on_disk_fault.is_empty() => OnDisk::Fails(said.on_disk_fault.clone()),
        Some(told) => OnDisk::Generation(plain(told)),
        None => OnDisk::Unknown,
    };
    judge(said.generation.as_ref().map(plain).as_ref(), &on_disk)
}

fn view(observation: &Observation) -> View {
    match observation.health() {
        Health::Unspecified | Health::Starting | Health::Draining => View::Starting,
        Health::Wedged => View::Wedged(observation.health_reason.clone()),
        Health::Ready | Health::Degraded | Health::Frozen => View::Working,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_what_calls_itself_wedged_is_wedged() {
        let observation = |health: Health| Observation {
            health: health.into(),
            health_reason: "GetHead hangs".into(),
            ..Observation::default()
        };
        let table = [
            (Health::Starting, View::Starting),
            (Health::Draining, View::Starting),
            (Health::Frozen, View::Working),
            (Health::Ready, View::Working),
            (Health::Degraded, View::Working),
            (Health::Wedged, View::Wedged("GetHead hangs".into())),
        ];
        for (health, expected) in table {
            assert_eq!(view(&observation(health)), expected, "{health:?}");
        }
    }
}
