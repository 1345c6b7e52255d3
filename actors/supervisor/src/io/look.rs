//! What the mesh shows of the roles.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use alys_cluster::{Cluster, Health, Observed};
use alys_proto::cluster::Observation;

use crate::core::input::View;

/// An instance that has not answered its inspector's question by then is shown as stuck.
const DEADLINE: Duration = Duration::from_secs(2);

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub instance: String,
    /// Its process, when it said.
    pub pid: Option<u32>,
    /// How it is.
    pub view: View,
}

/// All that is seen, some time later.
pub type Looking = Pin<Box<dyn Future<Output = Vec<Seen>> + Send>>;

/// Where the supervisor looks.
#[derive(Clone)]
pub struct Peers {
    /// Asks all instances of the mesh.
    pub look: Arc<dyn Fn() -> Looking + Send + Sync>,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        let cluster = cluster.clone();
        let look = move || -> Looking {
            let cluster = cluster.clone();
            Box::pin(async move { cluster.observe_all(DEADLINE).await.iter().map(seen).collect() })
        };
        Self { look: Arc::new(look) }
    }
}

fn seen(observed: &Observed) -> Seen {
    let instance = observed.identity.instance.clone();
    match &observed.observation {
        Ok(observation) => Seen { instance, pid: Some(observation.pid), view: view(observation) },
        Err(_) => Seen { instance, pid: None, view: View::Stuck(Duration::ZERO) },
    }
}

fn view(observation: &Observation) -> View {
    let busy = observation.mailbox.as_ref().map_or(0, |mailbox| mailbox.busy_millis);
    let busy = Duration::from_millis(busy);
    match observation.health() {
        Health::Unspecified | Health::Starting | Health::Draining => View::Starting,
        Health::Wedged => View::Stuck(busy),
        Health::Ready | Health::Degraded => View::Working,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_proto::cluster::Mailbox;

    use super::*;

    #[test]
    fn only_what_calls_itself_wedged_is_stuck() {
        let observation = |health: Health, busy_millis| Observation {
            health: health.into(),
            mailbox: Some(Mailbox { busy_millis, ..Mailbox::default() }),
            ..Observation::default()
        };
        let table = [
            (Health::Starting, 60_000, View::Starting),
            (Health::Ready, 11_000, View::Working),
            (Health::Degraded, 0, View::Working),
            (Health::Wedged, 31_000, View::Stuck(Duration::from_secs(31))),
        ];
        for (health, busy, expected) in table {
            assert_eq!(view(&observation(health, busy)), expected, "{health:?} {busy}");
        }
    }
}
