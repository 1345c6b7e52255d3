//! What a supervisor that died has left running goes on under this one. Nothing is restarted for it.
//!
//! | known from | trusted when |
//! |---|---|
//! | the record of the supervisor before | number, start and boot are those of a live process |
//! | the mesh (it died before it noted its last child) | the same incarnation says the same number before and after a handle on that process was opened |

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alys_cluster::Incarnation;

use crate::actor::SupervisorActor;
use crate::io::birth::{self, Birth};
use crate::io::look::own_host;

/// How long what is missing in the record may take to show itself in the mesh.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

impl SupervisorActor {
    /// Takes over what runs; instances and processes.
    pub(crate) async fn adopt(&mut self) -> Vec<(String, u32)> {
        let mut adopted: Vec<(String, u32)> = Vec::new();
        let Some(children) = &mut self.children else { return adopted };
        let left = children.left_behind();
        if left.is_empty() {
            return adopted;
        }
        for (name, birth) in left {
            if children.adopt(&name, &birth) {
                adopted.push((name, birth.pid));
            }
        }
        let missing = |adopted: &[(String, u32)]| -> Vec<String> {
            let roles = self.plan.children.iter().filter(|child| child.role.is_some()).map(|child| child.name.clone());
            roles.filter(|name| !adopted.iter().any(|(known, _)| known == name)).collect()
        };
        let give_up = Instant::now() + PATIENCE;
        let mut candidates: BTreeMap<String, (Incarnation, Birth)> = BTreeMap::new();
        while !missing(&adopted).is_empty() && Instant::now() < give_up {
            let seen = self.seen(&missing(&adopted)).await;
            for (name, (incarnation, birth)) in &seen {
                let is_proven = candidates.get(name) == Some(&(*incarnation, birth.clone()));
                let children = self.children.as_mut();
                if is_proven && children.is_some_and(|children| children.adopt(name, birth)) {
                    adopted.push((name.clone(), birth.pid));
                }
            }
            candidates = seen;
            tokio::time::sleep(LOOK).await;
        }
        adopted
    }

    /// Which of these instances answer on this host.
    async fn seen(&self, names: &[String]) -> BTreeMap<String, (Incarnation, Birth)> {
        let host = own_host();
        let mut found = BTreeMap::new();
        for seen in (self.peers.look)().await {
            let Some(said) = seen.said.filter(|said| said.host == host && names.contains(&seen.identity.instance)) else {
                continue;
            };
            if let Some(birth) = birth::of(said.pid) {
                found.insert(seen.identity.instance, (seen.identity.incarnation, birth));
            }
        }
        found
    }
}
