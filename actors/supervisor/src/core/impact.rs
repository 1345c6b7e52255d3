//! What is held up while a role is away: which roles need it, what they ask it, and what users notice.
//!
//! Questions (`ask`) wait until their deadline for the role to come back; what is told to it meanwhile its sender repeats.

use alys_proto::role::ROLES;
use alys_proto::wire::Method;
use alys_proto::{Inbox as _, Role};

/// Roles that need a role, directly or through others, in start order, each with the role that it needs itself.
pub fn blocked(role: Role) -> Vec<(Role, Role)> {
    let mut blocked: Vec<(Role, Role)> = Vec::new();
    // Start order: what a role depends on comes before it, so one pass finds all.
    for other in ROLES {
        let needs = other.depends_on().iter().rev().find(|needed| **needed == role || blocked.iter().any(|(r, _)| r == *needed));
        if let Some(needed) = needs {
            let direct = if other.depends_on().contains(&role) { role } else { *needed };
            blocked.push((other, direct));
        }
    }
    blocked
}

/// What the role is asked and told.
pub fn messages(role: Role) -> Vec<&'static str> {
    let methods: &[Method] = match role {
        Role::Supervisor => alys_proto::supervisor::Inbox::METHODS,
        Role::Storage => alys_proto::storage::Inbox::METHODS,
        Role::Engine => alys_proto::engine::Inbox::METHODS,
        Role::Chain => alys_proto::chain::Inbox::METHODS,
        Role::Bridge => alys_proto::bridge::Inbox::METHODS,
        Role::Stream => alys_proto::stream::Inbox::METHODS,
        Role::Network => alys_proto::network::Inbox::METHODS,
        Role::Sync => alys_proto::sync::Inbox::METHODS,
        Role::Unspecified | Role::Debug => &[],
    };
    methods.iter().map(|method| method.name).collect()
}

/// What users notice.
pub const fn operations(role: Role) -> &'static [&'static str] {
    match role {
        Role::Storage => &["new blocks wait", "peers are not served", "deposits and payouts wait"],
        Role::Engine => &["new blocks wait", "Eth JSON-RPC does not answer", "deposits and payouts wait"],
        Role::Chain => &["new blocks wait", "deposits are not minted, payouts not recorded"],
        Role::Bridge => &["deposits are not seen, payouts not signed and not broadcast; blocks without them go on"],
        Role::Stream => &["governance nodes are cut off: no approvals and no signatures"],
        Role::Network => &["peers are cut off: no gossip, no votes of others, no downloads"],
        Role::Sync => &["a node that is behind does not catch up", "peers are not served ranges"],
        Role::Supervisor => &["nobody restarts what ends"],
        Role::Unspecified | Role::Debug => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_role_is_blocked_also_through_others() {
        let names = |role| blocked(role).into_iter().map(|(other, needs)| (other.name(), needs.name())).collect::<Vec<_>>();
        assert_eq!(names(Role::Chain), [("bridge", "chain"), ("stream", "chain")]);
        assert_eq!(names(Role::Engine), [("chain", "engine"), ("bridge", "engine"), ("stream", "engine")]);
        assert_eq!(names(Role::Storage).len(), 6);
        assert_eq!(names(Role::Bridge), []);
    }

    #[test]
    fn every_role_says_what_stops_without_it() {
        for role in ROLES {
            assert!(!messages(role).is_empty() && !operations(role).is_empty(), "{role}");
        }
    }
}
