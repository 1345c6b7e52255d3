//! Role → live instances. An instance is live when it is linked (its link proves who it is) and stands in its group of
//! `pg`. A group's name carries the whole identity, so of two processes under the same name the later start is chosen,
//! and a stale session never shadows a live one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use alys_proto::Role;
use ractor::pg::GroupChangeMessage;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use crate::identity::{Identity, Incarnation};
use crate::mesh::{Links, Peer};
use crate::port::Doors;

/// Scope of all our process groups.
pub(crate) const SCOPE: &str = "alys";

/// What a door is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The role's messages.
    Role,
    /// Observation, from a side thread.
    Inspector,
}

/// The group in which a process stands alone while a door of it is open. `epoch` is that of the lease under which it serves;
/// 0: none.
pub(crate) fn group_of(kind: Kind, identity: &Identity, epoch: u64) -> String {
    let kind = match kind {
        Kind::Role => "role",
        Kind::Inspector => "inspector",
    };
    format!("{kind}/{epoch}/{}", identity.node_name())
}

fn parse_group(group: &str) -> Option<(Kind, Identity, u64)> {
    let mut parts = group.splitn(3, '/');
    let kind = match parts.next()? {
        "role" => Kind::Role,
        "inspector" => Kind::Inspector,
        _ => return None,
    };
    let epoch = parts.next()?.parse().ok()?;
    Some((kind, Identity::parse(parts.next()?)?, epoch))
}

/// Of several live instances of a role, which one a message goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The first by name: there is one.
    #[default]
    Singleton,
    /// The one with the fewest questions of ours under way.
    LeastLoaded,
    /// The same one for the same key, as long as it lives; the others' keys stay where they are when one comes or goes.
    ByKey(u64),
}

/// A live instance.
#[derive(Clone)]
pub(crate) enum Target {
    Peer(Arc<Peer>),
    /// This process itself.
    Own(Identity, Arc<Doors>),
}

impl Target {
    pub(crate) fn identity(&self) -> &Identity {
        match self {
            Self::Peer(peer) => &peer.identity,
            Self::Own(identity, _) => identity,
        }
    }

    fn lives(&self) -> bool {
        match self {
            Self::Peer(peer) => peer.is_open(),
            Self::Own(..) => true,
        }
    }

    fn under_way(&self) -> usize {
        match self {
            Self::Peer(peer) => peer.under_way(),
            Self::Own(..) => 0,
        }
    }
}

#[derive(Default)]
struct Routes {
    roles: BTreeMap<Role, Vec<Target>>,
    inspectors: Vec<Target>,
}

/// With the lease's epoch: the highest, for one that took its lease while it served stands in two groups.
type Groups = BTreeMap<(Kind, Role, String, u64, Incarnation), (u64, BTreeSet<ActorId>)>;

/// The local view of who lives. A look-up takes a read lock and a hash.
#[derive(Clone)]
pub(crate) struct Registry {
    links: Links,
    doors: Arc<Doors>,
    groups: Arc<Mutex<Groups>>,
    routes: Arc<RwLock<Routes>>,
    changed: watch::Sender<u64>,
}

impl Registry {
    /// Follows links and groups from now on.
    pub(crate) async fn start(links: Links, doors: Arc<Doors>) -> Result<Self, ractor::SpawnErr> {
        let registry = Self { links, doors, groups: Arc::default(), routes: Arc::default(), changed: watch::Sender::new(0) };
        Watcher::spawn(None, Watcher, registry.clone()).await?;
        let mut changes = registry.links.changes();
        let follower = registry.clone();
        tokio::spawn(async move {
            // Ends with the process: the links live as long as the registry.
            while changes.changed().await.is_ok() {
                follower.refresh();
            }
        });
        Ok(registry)
    }

    /// A live instance of the role.
    pub(crate) fn find(&self, role: Role, policy: Policy) -> Option<Target> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut live = routes.roles.get(&role)?.iter().filter(|target| target.lives());
        match policy {
            Policy::Singleton => live.next(),
            Policy::LeastLoaded => live.min_by_key(|target| target.under_way()),
            Policy::ByKey(key) => live.max_by_key(|target| weight(&target.identity().instance, key)),
        }
        .cloned()
    }

    /// All live instances of the role, by name.
    pub(crate) fn all(&self, role: Role) -> Vec<Target> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.roles.get(&role).into_iter().flatten().filter(|target| target.lives()).cloned().collect()
    }

    pub(crate) async fn wait_for(&self, role: Role, policy: Policy) -> Target {
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(target) = self.find(role, policy) {
                return target;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The inspectors of all live instances, newest incarnation of each.
    pub(crate) fn inspectors(&self) -> Vec<Target> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.inspectors.iter().filter(|target| target.lives()).cloned().collect()
    }

    /// Changes whenever an instance joins or leaves.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self, group: &str, actors: &[ActorCell], joined: bool) {
        let Some((kind, identity, epoch)) = parse_group(group) else { return };
        {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (kind, identity.role, identity.instance, identity.started_millis, identity.incarnation);
            let (held, members) = groups.entry(key.clone()).or_default();
            *held = epoch.max(*held);
            for actor in actors {
                if joined {
                    members.insert(actor.get_id());
                } else {
                    members.remove(&actor.get_id());
                }
            }
            if members.is_empty() {
                groups.remove(&key);
            }
        }
        self.refresh();
    }

    /// Joins what the links prove with what the groups say.
    fn refresh(&self) {
        let mut newest: BTreeMap<(Kind, Role, String), (u64, Target)> = BTreeMap::new();
        let mut highest: HashMap<Role, u64> = HashMap::new();
        {
            let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            for ((kind, role, instance, _, incarnation), (epoch, _)) in &*groups {
                let Some(target) = self.target(*role, instance, *incarnation) else { continue };
                let highest = highest.entry(*role).or_default();
                *highest = (*highest).max(*epoch);
                // Groups arrive in any order, but whose role is open has opened its inspector before.
                let doors: &[Kind] = match kind {
                    Kind::Role => &[Kind::Role, Kind::Inspector],
                    Kind::Inspector => &[Kind::Inspector],
                };
                for door in doors {
                    let latest = newest.entry((*door, *role, instance.clone())).or_insert_with(|| (*epoch, target.clone()));
                    if start_of(&target) > start_of(&latest.1) {
                        *latest = (*epoch, target.clone());
                    }
                }
            }
        }
        let mut routes = Routes::default();
        for ((kind, role, _), (epoch, target)) in newest {
            match kind {
                // One that has lost its lease may stay linked for a while.
                Kind::Role if highest.get(&role).is_some_and(|highest| epoch < *highest) => {}
                Kind::Role => routes.roles.entry(role).or_default().push(target),
                Kind::Inspector => routes.inspectors.push(target),
            }
        }
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// The link of an instance, if it is whom the group names.
    fn target(&self, role: Role, instance: &str, incarnation: Incarnation) -> Option<Target> {
        let own = self.links.own();
        let target = if incarnation == own.incarnation {
            Target::Own(own.clone(), self.doors.clone())
        } else {
            Target::Peer(self.links.get(incarnation)?)
        };
        let identity = target.identity();
        (identity.role == role && identity.instance == instance).then_some(target)
    }
}

/// Orders starts of one name.
fn start_of(target: &Target) -> (u64, Incarnation) {
    (target.identity().started_millis, target.identity().incarnation)
}

/// Rendezvous hashing: the instance with the greatest weight has the key. FNV-1a, its bits mixed (as MurmurHash3 ends)
/// because the greatest is decided by the high ones.
fn weight(instance: &str, key: u64) -> u64 {
    let bytes = instance.bytes().chain(key.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53]
        .into_iter()
        .fold(hash, |hash: u64, factor| (hash ^ (hash >> 33)).wrapping_mul(factor));
    mixed ^ (mixed >> 33)
}

/// Keeps a registry equal to `pg`.
struct Watcher;

/// What a [`Watcher`] is sent: nothing. A type of its own, because ractor can serialise `()`, and an actor whose messages can
/// be serialised is announced to every peer.
struct Nothing;

impl ractor::Message for Nothing {}

impl Actor for Watcher {
    type Msg = Nothing;
    type State = Registry;
    type Arguments = Registry;

    async fn pre_start(&self, myself: ActorRef<Nothing>, registry: Registry) -> Result<Registry, ActorProcessingErr> {
        ractor::pg::monitor_scope(SCOPE.into(), myself.get_cell());
        for key in ractor::pg::which_scoped_groups(&SCOPE.into()) {
            registry.change(&key, &ractor::pg::get_scoped_members(&SCOPE.into(), &key), true);
        }
        Ok(registry)
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Nothing>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_carry_the_identity() {
        let identity = Identity::new(Role::Engine, "engine");
        assert_eq!(parse_group(&group_of(Kind::Role, &identity, 7)), Some((Kind::Role, identity, 7)));
        assert_eq!(parse_group("role/0/nobody"), None);
        assert_eq!(parse_group("other"), None);
    }

    #[test]
    fn keys_stay_where_they_are_when_an_instance_leaves() {
        let names = ["sync-1", "sync-2", "sync-3"];
        let chosen = |names: &[&'static str], key| *names.iter().max_by_key(|name| weight(name, key)).expect("not empty");
        let mut used = BTreeSet::new();
        for key in 0..1_000 {
            let with_all = chosen(&names, key);
            used.insert(with_all);
            if with_all != "sync-3" {
                assert_eq!(chosen(&names[..2], key), with_all, "{key}");
            }
        }
        assert_eq!(used.len(), 3);
    }
}
