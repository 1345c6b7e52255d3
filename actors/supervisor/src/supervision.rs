//! `[supervision]` in the configuration: who restarts which role, and how patiently.

use std::collections::BTreeMap;

use alys_proto::Role;
use serde::{Deserialize, Serialize};

use crate::core::owner::Owner;
use crate::core::policy::{Policy, RolePolicy};

/// A role as a key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(pub Role);

impl TryFrom<String> for RoleName {
    type Error = alys_proto::role::UnknownRole;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0.name().to_owned()
    }
}

/// Common policy and what single roles have instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Supervision {
    /// Who restarts processes, where a role does not say otherwise.
    pub owner: Owner,
    /// Roles end with the supervisor that started them, also when it is killed. `alys up` always does this.
    pub embedded: bool,
    /// Processes that run another build or configuration than a start of them would now are replaced, one role after
    /// another, without being asked. Otherwise `alys status` shows them, and `alys restart --outdated` replaces them.
    pub replace_outdated: bool,
    /// Common policy.
    pub restart: Policy,
    /// What single roles have instead: `[supervision.role.bridge]`.
    pub role: BTreeMap<RoleName, RolePolicy>,
}

impl Supervision {
    /// The policy of a role; of a plain process with `None`.
    pub fn policy(&self, role: Option<Role>) -> Policy {
        self.own(role).map_or_else(|| self.restart.clone(), |own| own.over(&self.restart))
    }

    /// Who restarts a role. A plain process has nobody but us.
    pub fn owner(&self, role: Option<Role>) -> Owner {
        if role.is_none() {
            return Owner::Local;
        }
        self.own(role).and_then(|own| own.owner).unwrap_or(self.owner)
    }

    /// Processes of a role that should run, before anybody scaled it.
    pub fn instances(&self, role: Role) -> u32 {
        let wanted = self.own(Some(role)).and_then(|own| own.instances).unwrap_or(1);
        if is_scalable(role) { wanted.max(1) } else { 1 }
    }

    fn own(&self, role: Option<Role>) -> Option<&RolePolicy> {
        role.and_then(|role| self.role.get(&RoleName(role)))
    }
}

/// Whether several processes of a role may run at once. All others act under a lease that one holds.
pub const fn is_scalable(role: Role) -> bool {
    matches!(role, Role::Sync)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::core::policy::Strategy;

    #[test]
    fn a_role_has_its_own_policy_over_the_common_one() {
        let text = r#"{"owner": "systemd", "restart": {"max_restarts": 9, "window": "2m"},
            "role": {"bridge": {"owner": "local", "max_restarts": 2, "on_temporary": "escalation"}, "sync": {"instances": 3}}}"#;
        let supervision: Supervision = serde_json::from_str(text).unwrap();
        let bridge = supervision.policy(Some(Role::Bridge));
        assert_eq!((bridge.max_restarts, bridge.window), (2, Duration::from_secs(120)));
        assert_eq!((bridge.on_temporary, bridge.on_failure), (Strategy::Escalation, Strategy::Backoff));
        assert_eq!(supervision.policy(Some(Role::Chain)).max_restarts, 9);
        assert_eq!(supervision.owner(Some(Role::Bridge)), Owner::Local);
        assert_eq!(supervision.owner(Some(Role::Chain)), Owner::Systemd);
        assert_eq!(supervision.owner(None), Owner::Local);
        assert_eq!((supervision.instances(Role::Sync), supervision.instances(Role::Chain)), (3, 1));
    }

    #[test]
    fn a_wrong_role_or_strategy_is_named() {
        for (text, word) in [
            (r#"{"role": {"brigde": {}}}"#, "brigde"),
            (r#"{"restart": {"on_failure": "never"}}"#, "never"),
            (r#"{"role": {"sync": {"max_restart": 1}}}"#, "max_restart"),
        ] {
            let error = serde_json::from_str::<Supervision>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
