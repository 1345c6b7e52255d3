//! Remembers what each instance last said, so that one that hangs or dies can still be looked at. Pure.
//!
//! | in the mesh | answered | seen before | supervisor keeps it | shown as |
//! |---|---|---|---|---|
//! | yes | yes | | | alive |
//! | yes | no | | | timeout, with the age of the last answer |
//! | no | | yes | | post mortem, with the last answer |
//! | no | | no | yes, a role | post mortem, without one |
//! | no | | | yes, no role, running | alive: a process without a mailbox |
//! | no | | | yes, no role, else | post mortem |
//!
//! The reason of a post mortem is the supervisor's: how the process ended. Without a supervisor it is "it left the mesh".

use std::collections::BTreeMap;

use alys_cluster::Observed;
use alys_proto::role::ROLES;
use alys_proto::{Role, supervisor};

use super::facts::{Facts, How, Instance, Kept, Mailbox, Vitals};

/// Instances that are remembered after they left. The ones that left longest ago are forgotten first.
const MOST_REMEMBERED: usize = 100;

/// What was last seen of each.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    instance: Instance,
    answered: Option<u64>,
    looked: u64,
}

impl Watch {
    /// Takes in one look at the cluster.
    pub(super) fn update(&mut self, now: u64, observed: &[Observed], kept: &[supervisor::Instance]) -> Facts {
        for one in observed {
            self.take(now, one);
        }
        for one in kept {
            self.keep(now, one);
        }
        for seen in self.seen.values_mut() {
            let name = &seen.instance.instance;
            let present = observed.iter().any(|one| one.identity.instance == *name);
            let by_supervisor = kept.iter().find(|one| one.name == *name);
            if !present {
                seen.instance.how = absent(&seen.instance, by_supervisor);
            }
        }
        self.forget();
        let mut instances: Vec<Instance> = self.seen.values().map(|seen| seen.instance.clone()).collect();
        let position = |instance: &Instance| ROLES.iter().position(|role| role.name() == instance.role).unwrap_or(ROLES.len());
        instances.sort_by(|a, b| (position(a), &a.instance).cmp(&(position(b), &b.instance)));
        Facts { unix_millis: now, instances }
    }

    fn take(&mut self, now: u64, one: &Observed) {
        let identity = &one.identity;
        let seen = entry(&mut self.seen, &identity.instance, identity.role.name());
        let incarnation = identity.incarnation.to_string();
        if seen.instance.incarnation != incarnation {
            // What the one before it said is not about this one.
            (seen.instance.vitals, seen.instance.mailbox, seen.answered) = (None, None, None);
            seen.instance.incarnation = incarnation;
        }
        seen.looked = now;
        match &one.observation {
            Ok(observation) => {
                seen.answered = Some(now);
                seen.instance.how = How::Alive;
                seen.instance.vitals = Some(Vitals::from(observation));
                seen.instance.mailbox = observation.mailbox.as_ref().map(Mailbox::from);
            }
            Err(_silence) => {
                seen.instance.how = How::Timeout { age_millis: seen.answered.map(|at| now.saturating_sub(at)) };
            }
        }
    }

    fn keep(&mut self, now: u64, one: &supervisor::Instance) {
        let role = match one.role() {
            Role::Unspecified => "governance",
            role => role.name(),
        };
        let seen = entry(&mut self.seen, &one.name, role);
        seen.looked = now;
        seen.instance.kept = Some(Kept::from(one));
    }

    fn forget(&mut self) {
        while self.seen.len() > MOST_REMEMBERED {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.looked).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return };
            self.seen.remove(&oldest);
        }
    }
}

fn entry<'a>(seen: &'a mut BTreeMap<String, Seen>, name: &str, role: &str) -> &'a mut Seen {
    seen.entry(name.to_owned()).or_insert_with(|| Seen {
        instance: Instance {
            instance: name.to_owned(),
            role: role.to_owned(),
            how: How::Alive,
            incarnation: String::new(),
            vitals: None,
            mailbox: None,
            kept: None,
        },
        answered: None,
        looked: 0,
    })
}

fn absent(instance: &Instance, kept: Option<&supervisor::Instance>) -> How {
    let Some(kept) = kept else { return How::PostMortem { reason: "it left the mesh".into() } };
    if instance.role == "governance" && kept.state == "running" {
        return How::Alive;
    }
    let ended = if kept.last_exit.is_empty() { "it left the mesh" } else { &kept.last_exit };
    How::PostMortem { reason: format!("{ended}; {}", kept.state) }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
