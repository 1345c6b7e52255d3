//! What a process may ask of the mesh that it has joined: addresses of roles, who lives, and their inspectors.

use std::sync::Arc;
use std::time::Duration;

use alys_proto::cluster::{self, Observation, Observe};
use alys_proto::role::ROLES;
use alys_proto::{Inbox, Refused, Role};
use tokio::sync::watch;

use crate::identity::Identity;
use crate::mesh::Links;
use crate::registry::{Policy, Registry};
use crate::remote::{Remote, Route, Sender};

/// A process's handle on the mesh it has joined.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) registry: Registry,
    pub(crate) sender: Arc<Sender>,
    pub(crate) identity: Identity,
    pub(crate) links: Links,
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
        self.remote_by(Policy::Singleton)
    }

    /// The address of a role that has several instances.
    pub fn remote_by<I: Inbox>(&self, policy: Policy) -> Remote<I> {
        Remote::new(Route::Role(self.registry.clone(), role_of::<I>(), policy), self.sender.clone())
    }

    /// Every live instance of a role, each by its own address.
    pub fn remotes<I: Inbox>(&self) -> Vec<(Identity, Remote<I>)> {
        let all = self.registry.all(role_of::<I>()).into_iter();
        all.map(|target| (target.identity().clone(), Remote::new(Route::Direct(target), self.sender.clone()))).collect()
    }

    /// Who this process is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Every live instance known here, newest incarnation of each, by role and name.
    pub fn instances(&self) -> Vec<InstanceInfo> {
        self.registry.inspectors().iter().map(|target| InstanceInfo { identity: target.identity().clone() }).collect()
    }

    /// Changes whenever an instance joins or leaves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.registry.changes()
    }

    /// The inspector of an instance, which answers even while the role's handler hangs.
    pub fn inspector(&self, role: Role, instance: &str) -> Option<Remote<cluster::Inbox>> {
        let found = self.registry.inspectors().into_iter().find(|target| {
            let identity = target.identity();
            identity.role == role && identity.instance == instance
        })?;
        Some(Remote::new(Route::Direct(found), self.sender.clone()))
    }

    /// Asks every known instance for its observation, all at once.
    pub async fn observe_all(&self, deadline: Duration) -> Vec<Observed> {
        let questions = self.registry.inspectors().into_iter().map(|target| {
            let identity = target.identity().clone();
            let inspector: Remote<cluster::Inbox> = Remote::new(Route::Direct(target), self.sender.clone());
            async move {
                let observation = inspector.ask_within(deadline, Observe {}).await;
                Observed { identity, observation }
            }
        });
        futures::future::join_all(questions).await
    }
}

/// Inboxes of roles carry the role's name; the shell's own inbox is reached through `inspector`.
fn role_of<I: Inbox>() -> Role {
    ROLES.into_iter().find(|role| role.name() == I::SERVICE).unwrap_or(Role::Unspecified)
}
