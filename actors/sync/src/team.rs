//! The live sync instances. The first by name leads: that is also where messages to the role go.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use alys_cluster::Cluster;
use alys_proto::Role;

/// Who is in the team, as the mesh shows it now.
#[derive(Clone)]
pub struct Team {
    /// This instance.
    pub own: String,
    /// All live ones.
    pub members: Arc<dyn Fn() -> BTreeSet<String> + Send + Sync>,
}

impl Team {
    /// A team of one.
    pub fn alone() -> Self {
        Self { own: Role::Sync.name().to_owned(), members: Arc::new(BTreeSet::new) }
    }

    /// Whether this instance leads. It does when the mesh shows nobody, also not itself.
    pub fn leads(&self, members: &BTreeSet<String>) -> bool {
        members.first().is_none_or(|first| *first >= self.own)
    }
}

impl From<&Cluster> for Team {
    fn from(cluster: &Cluster) -> Self {
        let own = cluster.identity().instance.clone();
        let cluster = cluster.clone();
        let members = move || {
            let live = cluster.instances().into_iter().map(|instance| instance.identity);
            live.filter(|identity| identity.role == Role::Sync).map(|identity| identity.instance).collect()
        };
        Self { own, members: Arc::new(members) }
    }
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("own", &self.own).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_by_name_leads() {
        let team = Team { own: "sync-2".into(), ..Team::alone() };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert!(team.leads(&names(&["sync-2", "sync-3"])) && team.leads(&names(&[])));
        assert!(!team.leads(&names(&["sync", "sync-2"])));
        assert!(team.leads(&names(&["sync-3"])), "the mesh does not show ourselves yet");
    }
}
