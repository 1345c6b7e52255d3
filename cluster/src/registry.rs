//! Role → live instances, from `pg` membership. A group's name carries the whole identity, so of two processes under
//! the same name the later start is chosen, and a stale session never shadows a live one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use alys_proto::cluster::{self, Observation, Observe};
use alys_proto::{Inbox, Refused, Role};
use ractor::pg::GroupChangeMessage;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use crate::identity::{Identity, Incarnation};
use crate::port::Wire;
use crate::remote::{Remote, Route, Sender};

/// Scope of all our process groups.
pub(crate) const SCOPE: &str = "alys";

/// What a port in the mesh is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The role's messages.
    Role,
    /// Observation, from a side task.
    Inspector,
}

/// The group in which a process's port stands alone.
pub(crate) fn group_of(kind: Kind, identity: &Identity) -> String {
    let kind = match kind {
        Kind::Role => "role",
        Kind::Inspector => "inspector",
    };
    format!("{kind}/{}", identity.node_name())
}

fn parse_group(group: &str) -> Option<(Kind, Identity)> {
    let (kind, name) = group.split_once('/')?;
    let kind = match kind {
        "role" => Kind::Role,
        "inspector" => Kind::Inspector,
        _ => return None,
    };
    Some((kind, Identity::parse(name)?))
}

type Key = (Role, String, u64, Incarnation);

#[derive(Default)]
struct Table {
    ports: BTreeMap<(Kind, Key), ActorRef<Wire>>,
}

/// The local view of who lives. Look-ups take a read lock and a map walk of a few entries.
#[derive(Clone)]
pub(crate) struct Registry {
    table: Arc<RwLock<Table>>,
    changed: watch::Sender<u64>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { table: Arc::default(), changed: watch::Sender::new(0) }
    }

    /// The role's port. Of several instances the first by name that started last.
    pub(crate) fn port(&self, role: Role) -> Option<ActorRef<Wire>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let first = table.ports.keys().find(|(kind, key)| *kind == Kind::Role && key.0 == role)?.1.1.clone();
        let newest = table.ports.iter().rfind(|((kind, key), _)| *kind == Kind::Role && key.0 == role && key.1 == first);
        newest.map(|(_, port)| port.clone())
    }

    pub(crate) async fn wait_for(&self, role: Role) -> ActorRef<Wire> {
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(port) = self.port(role) {
                return port;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    fn inspectors(&self) -> Vec<(Identity, ActorRef<Wire>)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut newest: BTreeMap<(Role, String), (Identity, ActorRef<Wire>)> = BTreeMap::new();
        for ((kind, (role, instance, started_millis, incarnation)), port) in &table.ports {
            if *kind == Kind::Inspector {
                let identity = Identity {
                    role: *role,
                    instance: instance.clone(),
                    incarnation: *incarnation,
                    started_millis: *started_millis,
                };
                newest.insert((*role, instance.clone()), (identity, port.clone()));
            }
        }
        newest.into_values().collect()
    }

    fn change(&self, group: &str, actors: &[ActorCell], joined: bool) {
        let Some((kind, identity)) = parse_group(group) else { return };
        let key = (kind, (identity.role, identity.instance, identity.started_millis, identity.incarnation));
        {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            for actor in actors {
                if joined {
                    table.ports.insert(key.clone(), actor.clone().into());
                } else if table.ports.get(&key).is_some_and(|port| port.get_id() == actor.get_id()) {
                    table.ports.remove(&key);
                }
            }
        }
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

/// Keeps a registry equal to `pg`.
pub(crate) struct Watcher;

impl Actor for Watcher {
    type Msg = ();
    type State = Registry;
    type Arguments = Registry;

    async fn pre_start(&self, myself: ActorRef<()>, registry: Registry) -> Result<Registry, ActorProcessingErr> {
        ractor::pg::monitor_scope(SCOPE.into(), myself.get_cell());
        for key in ractor::pg::which_scoped_groups(&SCOPE.into()) {
            registry.change(&key, &ractor::pg::get_scoped_members(&SCOPE.into(), &key), true);
        }
        Ok(registry)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        registry: &mut Registry,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ProcessGroupChanged(GroupChangeMessage::Join(_, group, actors)) => {
                registry.change(&group, &actors, true);
            }
            SupervisionEvent::ProcessGroupChanged(GroupChangeMessage::Leave(_, group, actors)) => {
                registry.change(&group, &actors, false);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A process's handle on the mesh it has joined.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) registry: Registry,
    pub(crate) sender: Arc<Sender>,
    pub(crate) identity: Identity,
}

/// A live instance as this process knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceInfo {
    /// Who it is.
    pub identity: Identity,
}

/// What an instance answered to `Observe`.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Who was asked.
    pub identity: Identity,
    /// What it said, or why it said nothing.
    pub observation: Result<Observation, Refused>,
}

impl Cluster {
    /// The address of a role.
    pub fn remote<I: Inbox>(&self) -> Remote<I> {
        // Inboxes of roles carry the role's name; the shell's own inbox is reached through `inspector`.
        let role = I::SERVICE.parse().unwrap_or(Role::Unspecified);
        Remote::new(Route::Role(self.registry.clone(), role), self.sender.clone())
    }

    /// Who this process is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Every live instance known here, newest incarnation of each, by role and name.
    pub fn instances(&self) -> Vec<InstanceInfo> {
        self.registry.inspectors().into_iter().map(|(identity, _)| InstanceInfo { identity }).collect()
    }

    /// Changes whenever an instance joins or leaves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.registry.changed.subscribe()
    }

    /// The inspector of an instance, which answers even while the role's handler hangs.
    pub fn inspector(&self, role: Role, instance: &str) -> Option<Remote<cluster::Inbox>> {
        let (_, port) = self
            .registry
            .inspectors()
            .into_iter()
            .find(|(identity, _)| identity.role == role && identity.instance == instance)?;
        Some(Remote::new(Route::Direct(port, "inspector"), self.sender.clone()))
    }

    /// Asks every known instance for its observation, all at once.
    pub async fn observe_all(&self, deadline: Duration) -> Vec<Observed> {
        let questions = self.registry.inspectors().into_iter().map(|(identity, port)| {
            let inspector: Remote<cluster::Inbox> = Remote::new(Route::Direct(port, "inspector"), self.sender.clone());
            async move {
                let observation = inspector.ask_within(deadline, Observe {}).await;
                Observed { identity, observation }
            }
        });
        futures::future::join_all(questions).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_carry_the_identity() {
        let identity = Identity::new(Role::Engine, "engine");
        assert_eq!(parse_group(&group_of(Kind::Role, &identity)), Some((Kind::Role, identity)));
        assert_eq!(parse_group("role/nobody"), None);
        assert_eq!(parse_group("other"), None);
    }
}
