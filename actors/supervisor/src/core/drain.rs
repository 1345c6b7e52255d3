//! In which order everything stops: the reverse of the start order, in phases, each with a share of one time budget.
//!
//! Time that a phase does not use carries over to the next one.

use std::time::Duration;

use alys_proto::Role;

/// One child as the plan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Instance name.
    pub name: &'a str,
    /// Its role, or `None` for a plain process (a local governance node).
    pub role: Option<Role>,
    /// Roles that must be ready before it starts, hence stop after it.
    pub after: &'a [Role],
}

/// Names that stop together, and until when (from the begin of the drain) they have time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Instances.
    pub names: Vec<String>,
    /// SIGKILL for those that are still there at this moment.
    pub until: Duration,
}

/// The phases in order. Every node appears exactly once.
pub fn phases(nodes: &[Node<'_>], per_phase: Duration) -> Vec<Phase> {
    let deepest = nodes.iter().map(|node| depth(nodes, node, 0)).max().unwrap_or(0);
    let mut phases = Vec::new();
    for level in (0..=deepest).rev() {
        let names: Vec<String> =
            nodes.iter().filter(|node| depth(nodes, node, 0) == level).map(|node| node.name.to_owned()).collect();
        if !names.is_empty() {
            let position = u32::try_from(phases.len()).unwrap_or(u32::MAX).saturating_add(1);
            phases.push(Phase { names, until: per_phase.saturating_mul(position) });
        }
    }
    phases
}

/// Length of the longest dependency chain below a node. `guard` ends a cycle, which a wrong plan could hold.
fn depth(nodes: &[Node<'_>], node: &Node<'_>, guard: usize) -> usize {
    if guard > nodes.len() {
        return guard;
    }
    let below = |role: &Role| {
        nodes
            .iter()
            .filter(|other| other.role == Some(*role))
            .map(|other| depth(nodes, other, guard.saturating_add(1)).saturating_add(1))
            .max()
            .unwrap_or(0)
    };
    node.after.iter().map(below).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_proto::role::ROLES;

    use super::*;

    #[test]
    fn nothing_stops_before_what_depends_on_it() {
        let mut nodes: Vec<Node<'_>> = ROLES
            .iter()
            .filter(|role| **role != Role::Supervisor)
            .map(|role| Node { name: role.name(), role: Some(*role), after: role.depends_on() })
            .collect();
        nodes.push(Node { name: "governance-1", role: None, after: &[Role::Stream] });
        let phases = phases(&nodes, Duration::from_secs(2));

        let position = |name: &str| phases.iter().position(|phase| phase.names.iter().any(|n| n == name)).unwrap();
        for node in &nodes {
            for role in node.after {
                assert!(position(node.name) < position(role.name()), "{} and {role}", node.name);
            }
        }
        assert_eq!(phases.iter().map(|phase| phase.names.len()).sum::<usize>(), nodes.len());
        assert_eq!(phases.last().unwrap().names, ["storage"]);
        assert!(phases.last().unwrap().until <= Duration::from_secs(10), "SIGTERM to exit in 10 s");
    }

    #[test]
    fn a_cycle_in_the_plan_still_ends() {
        let nodes = [
            Node { name: "a", role: Some(Role::Chain), after: &[Role::Engine] },
            Node { name: "b", role: Some(Role::Engine), after: &[Role::Chain] },
        ];
        assert_eq!(phases(&nodes, Duration::ZERO).iter().map(|phase| phase.names.len()).sum::<usize>(), 2);
    }
}
