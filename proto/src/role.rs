//! The roles by name, and which of them must be ready before which.

use std::fmt;
use std::str::FromStr;

pub use crate::generated::alys::cluster::Role;

/// The eight roles of a cluster, in start order: each comes after all that it depends on.
pub const ROLES: [Role; 8] =
    [Role::Supervisor, Role::Storage, Role::Engine, Role::Chain, Role::Bridge, Role::Stream, Role::Network, Role::Sync];

impl Role {
    /// The name on the command line, in config, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Supervisor => "supervisor",
            Self::Storage => "storage",
            Self::Engine => "engine",
            Self::Chain => "chain",
            Self::Bridge => "bridge",
            Self::Stream => "stream",
            Self::Network => "network",
            Self::Sync => "sync",
            Self::Debug => "debug",
        }
    }

    /// Whether it acts only under a lease: two of it at once could lose money or equivocate. The other singletons hold
    /// something that cannot be held twice (a locked database, a port), and what they do may be repeated.
    pub const fn is_fenced(self) -> bool {
        matches!(self, Self::Chain | Self::Bridge)
    }

    /// The roles that must be ready before this one is started.
    pub const fn depends_on(self) -> &'static [Self] {
        match self {
            Self::Engine | Self::Network | Self::Sync => &[Self::Storage],
            Self::Chain => &[Self::Storage, Self::Engine],
            Self::Bridge | Self::Stream => &[Self::Storage, Self::Engine, Self::Chain],
            Self::Unspecified | Self::Supervisor | Self::Storage | Self::Debug => &[],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no role.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a role; the roles are supervisor, storage, engine, chain, bridge, stream, network, sync")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        ROLES.into_iter().find(|role| role.name() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_order_respects_dependencies() {
        for (position, role) in ROLES.iter().enumerate() {
            for dependency in role.depends_on() {
                assert!(ROLES[..position].contains(dependency), "{role} starts before {dependency}");
            }
        }
    }

    #[test]
    fn names_parse_back() {
        for role in ROLES {
            assert_eq!(role.name().parse::<Role>().expect("own name"), role);
        }
        assert!("debug".parse::<Role>().is_err(), "debug is a node, not a role to start");
    }
}
