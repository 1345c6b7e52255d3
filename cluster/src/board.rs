//! Metrics and probes of a process that belongs to a node and is no role of its mesh: the governance node. It answers on the
//! same paths, in the same form, and tells a service manager the same as a role does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alys_proto::cluster::Health;
use tokio::sync::watch;

use crate::exit::ActorError;
use crate::identity::Identity;
use crate::metrics::{Figure, Page, RoleMetrics, Shell};
use crate::probes::{self, Probes, Shown};
use crate::vitals::{Pulse, name_of};

/// A runtime that ran no task for so long is blocked. As `cluster.handler_deadline` of a role.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// How the process is, whenever it is asked.
pub struct Sight {
    /// `Starting`, `Ready`, or `Degraded` when something it needs is away. The rest is seen from outside.
    pub health: Health,
    /// Why it is not ready.
    pub reason: String,
    /// Its own figures.
    pub metrics: Box<dyn RoleMetrics>,
}

/// What is shown.
pub struct Board {
    name: &'static str,
    identity: Identity,
    look: Box<dyn Fn() -> Sight + Send + Sync>,
    pulse: Pulse,
    draining: watch::Receiver<bool>,
}

impl Board {
    /// `name` takes the place of a role's name, and is part of the names of its own metrics; `identity.instance` tells one
    /// such process from another. `look` runs on the thread of the probes and must not wait for a handler. `draining`
    /// becomes true when the process begins to end.
    pub fn new(
        name: &'static str,
        identity: Identity,
        draining: watch::Receiver<bool>,
        look: impl Fn() -> Sight + Send + Sync + 'static,
    ) -> Self {
        Self { name, identity, look: Box::new(look), pulse: Pulse::default(), draining }
    }

    /// Shows it until what is returned is dropped. Call inside the runtime of the process, which is watched. Without `listen`
    /// only a service manager is told.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn show(self, listen: Option<SocketAddr>) -> Result<Probes, ActorError> {
        probes::start(Arc::new(self), listen)
    }

    fn shell_figures(&self) -> Vec<Figure> {
        let (health, _) = self.health();
        Shell::without_mesh(&self.identity, health, Shown::live(self).is_ok(), self.ready().is_ok())
    }
}

impl Shown for Board {
    fn name(&self) -> &str {
        self.name
    }

    fn health(&self) -> (Health, String) {
        if *self.draining.borrow() {
            return (Health::Draining, String::new());
        }
        if let Err(stuck) = self.live() {
            return (Health::Wedged, stuck);
        }
        let Sight { health, reason, .. } = (self.look)();
        (health, reason)
    }

    fn live(&self) -> Result<(), String> {
        let silent = self.pulse.silent();
        if silent > LONGEST_SILENCE {
            return Err(format!("its runtime has run no task for {} s", silent.as_secs()));
        }
        Ok(())
    }

    fn exposition(&self) -> String {
        Page {
            labels: vec![("role", self.name.to_owned()), ("alys_instance", self.identity.instance.clone())],
            shell_figures: self.shell_figures(),
            role: self.name.to_owned(),
            role_figures: (self.look)().metrics.figures(),
        }
        .to_string()
    }

    fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.draining.clone()
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let health = name_of(self.health().0);
        f.debug_struct("Board").field("identity", &self.identity).field("health", &health).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alys_proto::Role;
    use documented::DocumentedFields;
    use serde::Serialize;

    use super::*;

    #[derive(Debug, Serialize, DocumentedFields)]
    struct Metrics {
        /// Whether it is fine.
        fine: bool,
    }

    fn board(health: Health) -> (Board, watch::Sender<bool>) {
        let (end, ending) = watch::channel(false);
        let look = move || Sight { health, reason: "no session".into(), metrics: Box::new(Metrics { fine: true }) };
        (Board::new("governance", Identity::new(Role::Unspecified, "alice"), ending, look), end)
    }

    #[test]
    fn a_process_without_a_role_shows_itself_as_a_role_does() {
        let (shown, _end) = board(Health::Degraded);
        let text = shown.exposition();
        for wanted in [
            "alys_governance_fine{role=\"governance\",alys_instance=\"alice\"} 1",
            "alys_live{role=\"governance\",alys_instance=\"alice\"} 1",
            "alys_ready{role=\"governance\",alys_instance=\"alice\"} 1",
            "alys_health{role=\"governance\",alys_instance=\"alice\",state=\"degraded\"} 1",
        ] {
            assert!(text.lines().any(|line| line == wanted), "no `{wanted}` in\n{text}");
        }
        assert!(!text.contains("mailbox") && !text.contains("lease"), "it has neither: {text}");
        assert!(text.contains("alys_started_timestamp_seconds") && text.contains("alys_process_resident_bytes"));
    }

    #[test]
    fn it_serves_while_it_can_do_something_and_not_while_it_starts_or_ends() {
        assert_eq!(board(Health::Ready).0.ready(), Ok(()));
        assert_eq!(board(Health::Degraded).0.ready(), Ok(()));
        assert_eq!(board(Health::Starting).0.ready(), Err("starting: no session".into()));
        let (ending, end) = board(Health::Ready);
        end.send_replace(true);
        assert_eq!(ending.ready(), Err("draining".into()));
        assert_eq!(Shown::live(&ending), Ok(()));
    }
}
