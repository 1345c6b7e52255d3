//! What a person orders, and what that means for each instance.
//!
//! | phase | restart | drain | resume |
//! |---|---|---|---|
//! | waiting | – | kept stopped | – |
//! | starting, running, replacing | drain, start again | drain, keep stopped | – |
//! | backing-off, quarantined, stopped | start now | kept stopped | start now |
//! | draining | refused | – | start again when drained |
//! | drained | refused | – | start |
//! | elsewhere | refused | refused | refused |

use alys_proto::Role;

use super::input::Input;
use super::instance::{Instance, Phase};

/// An order about single instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drain and start again.
    Restart,
    /// Drain and keep stopped.
    Drain,
    /// End a drain or a quarantine.
    Resume,
}

/// What one instance does.
#[derive(Clone, Debug)]
pub struct Step {
    /// Instance.
    pub name: String,
    /// Its phase before.
    pub phase: Phase,
    /// What is done, for people.
    pub action: &'static str,
    /// What to tell the state machine; `None`: nothing to do.
    pub input: Option<Input>,
}

/// An order that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// Nobody of that name.
    #[error("`{name}` is not kept by this supervisor; it keeps {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A drain is ended by `resume` only.
    #[error("{0} is drained: `alys resume {0}` starts it")]
    Drained(String),
    /// Not our process.
    #[error("{0} runs and was not started by this supervisor: end it where it runs, then it is started here")]
    Elsewhere(String),
    /// Only one process of it may act.
    #[error("{0} cannot be scaled: one process of it acts under a lease")]
    Singleton(Role),
    /// Out of range.
    #[error("{role} can have 1 to {most} processes, not {asked}; `alys drain {role}` stops all of them")]
    Count {
        /// Which role.
        role: Role,
        /// What was asked for.
        asked: u32,
        /// Upper bound.
        most: u32,
    },
}

/// Most processes of one role: more than any host has use for, and the mesh is dialled pairwise.
pub const MOST_INSTANCES: u32 = 32;

/// The instances that a person means: a role's name means all of that role, `sync-1` the first alone.
///
/// # Errors
/// There are none.
pub fn targets<'a>(instances: &'a [Instance], asked: &str) -> Result<Vec<&'a Instance>, OrderFault> {
    let of_role = instances.iter().filter(|instance| instance.role.is_some_and(|role| role.name() == asked));
    let mut found: Vec<&Instance> = of_role.collect();
    if found.is_empty() {
        let alias = asked.strip_suffix("-1").filter(|role| role.parse::<Role>().is_ok());
        found = instances.iter().filter(|instance| instance.name == asked || alias == Some(instance.name.as_str())).collect();
    }
    if found.is_empty() {
        let known: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
        return Err(OrderFault::Unknown { name: asked.to_owned(), known: known.join(", ") });
    }
    Ok(found)
}

/// What an order means, by the table above.
///
/// # Errors
/// There is no such instance, or a drained one was to be restarted.
pub fn steps(instances: &[Instance], order: Order, asked: &str) -> Result<Vec<Step>, OrderFault> {
    targets(instances, asked)?.into_iter().map(|instance| step(instance, order)).collect()
}

fn step(instance: &Instance, order: Order) -> Result<Step, OrderFault> {
    let name = instance.name.clone();
    let alive = matches!(instance.phase, Phase::Starting | Phase::Running | Phase::Replacing);
    let (action, acts) = match (order, instance.phase) {
        (_, Phase::Elsewhere) => return Err(OrderFault::Elsewhere(name)),
        (Order::Restart, Phase::Drained | Phase::Draining) => return Err(OrderFault::Drained(name)),
        (Order::Restart | Order::Resume, Phase::Waiting) => ("nothing: it starts when what it needs is ready", false),
        (Order::Restart, _) if alive => ("drain, then start again", true),
        (Order::Resume, _) if alive => ("nothing: it runs", false),
        (Order::Resume, Phase::Draining) => ("start again when it has drained", true),
        (Order::Drain, Phase::Drained | Phase::Draining) => ("nothing: it is drained already", false),
        (Order::Drain, _) if alive => ("drain, then keep stopped", true),
        (Order::Drain, _) => ("keep stopped", true),
        (Order::Restart | Order::Resume, _) => ("start now", true),
    };
    let input = match order {
        Order::Restart => Input::RestartAsked { name: name.clone() },
        Order::Drain => Input::DrainAsked { name: name.clone() },
        Order::Resume => Input::ResumeAsked { name: name.clone() },
    };
    Ok(Step { name, phase: instance.phase, action, input: acts.then_some(input) })
}

/// Name of the n-th instance of a role: the first has the role's name.
pub fn instance_name(role: Role, number: u32) -> String {
    if number <= 1 { role.name().to_owned() } else { format!("{role}-{number}") }
}

/// Which instances a role gains and loses when it is to have so many.
///
/// # Errors
/// The role is a singleton, or the number is out of range.
pub fn scaled(instances: &[Instance], role: Role, wanted: u32) -> Result<(Vec<String>, Vec<String>), OrderFault> {
    if !crate::supervision::is_scalable(role) {
        return Err(OrderFault::Singleton(role));
    }
    if wanted == 0 || wanted > MOST_INSTANCES {
        return Err(OrderFault::Count { role, asked: wanted, most: MOST_INSTANCES });
    }
    let names: Vec<String> = (1..=wanted).map(|number| instance_name(role, number)).collect();
    let present = |name: &String| instances.iter().any(|instance| instance.name == *name && !instance.is_leaving());
    let gained = names.iter().filter(|name| !present(name)).cloned().collect();
    let of_role = instances.iter().filter(|instance| instance.role == Some(role) && !instance.is_leaving());
    let lost = of_role.map(|instance| instance.name.clone()).filter(|name| !names.contains(name)).collect();
    Ok((gained, lost))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::core::policy::Policy;

    fn instances() -> Vec<Instance> {
        let names = [("chain", Role::Chain), ("sync", Role::Sync), ("sync-2", Role::Sync), ("sync-3", Role::Sync)];
        names.map(|(name, role)| Instance::new(name, Some(role), &[], Policy::default())).to_vec()
    }

    #[test]
    fn a_role_means_all_of_it_and_an_instance_itself() {
        let instances = instances();
        let names = |asked| targets(&instances, asked).unwrap().iter().map(|found| found.name.clone()).collect::<Vec<_>>();
        assert_eq!(names("sync"), ["sync", "sync-2", "sync-3"]);
        assert_eq!(names("sync-1"), ["sync"]);
        assert_eq!(names("sync-3"), ["sync-3"]);
        assert_eq!(names("chain"), ["chain"]);
        let unknown = targets(&instances, "nobody").unwrap_err().to_string();
        assert!(unknown.contains("nobody") && unknown.contains("sync-2"), "{unknown}");
    }

    #[test]
    fn each_order_in_each_phase_by_the_table() {
        use Phase::{BackingOff, Drained, Draining, Elsewhere, Quarantined, Replacing, Running, Starting, Stopped, Waiting};
        let acts = |phase, order| {
            let mut instance = Instance::new("chain", Some(Role::Chain), &[], Policy::default());
            instance.phase = phase;
            step(&instance, order).map(|step| step.input.is_some())
        };
        for phase in [Waiting, Starting, Running, Replacing, BackingOff, Quarantined, Stopped, Draining, Drained, Elsewhere] {
            let alive = matches!(phase, Starting | Running | Replacing);
            let expected = match phase {
                Waiting => [Ok(false), Ok(true), Ok(false)],
                Elsewhere => [0; 3].map(|_| Err(OrderFault::Elsewhere("chain".into()))),
                Draining | Drained => [Err(OrderFault::Drained("chain".into())), Ok(false), Ok(true)],
                _ => [Ok(true), Ok(true), Ok(!alive)],
            };
            assert_eq!([Order::Restart, Order::Drain, Order::Resume].map(|order| acts(phase, order)), expected, "{phase:?}");
        }
    }

    #[test]
    fn scaling_adds_and_removes_at_the_end() {
        let instances = instances();
        assert_eq!(scaled(&instances, Role::Sync, 5).unwrap(), (vec!["sync-4".into(), "sync-5".into()], vec![]));
        assert_eq!(scaled(&instances, Role::Sync, 1).unwrap(), (vec![], vec!["sync-2".into(), "sync-3".into()]));
        assert_eq!(scaled(&instances, Role::Chain, 2), Err(OrderFault::Singleton(Role::Chain)));
        assert!(scaled(&instances, Role::Sync, 0).is_err() && scaled(&instances, Role::Sync, 33).is_err());
    }
}
