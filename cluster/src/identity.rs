//! Who a process is in the mesh.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use alys_proto::Role;

/// A random id, new at every start: tells a restarted process from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// From the eight bytes in which it travels.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u64::from_be_bytes(bytes)))
    }

    /// The eight bytes in which it travels.
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One running process of a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it does.
    pub role: Role,
    /// Which one of its role: the role's name for singletons, `sync-2` for workers.
    pub instance: String,
    /// This start of it.
    pub incarnation: Incarnation,
    /// When it started, Unix milliseconds. Of two incarnations the later is the live one.
    pub started_millis: u64,
}

impl Identity {
    /// A new incarnation, starting now.
    pub fn new(role: Role, instance: &str) -> Self {
        Self { role, instance: instance.to_owned(), incarnation: Incarnation(rand::random()), started_millis: unix_millis() }
    }

    /// The name in the mesh: never used twice, so a stale session cannot shadow a new process.
    pub fn node_name(&self) -> String {
        format!("{}~{}~{:013}~{}", self.role, self.instance, self.started_millis, self.incarnation)
    }

    /// Reads a node name back.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(4, '~');
        let role = match parts.next()? {
            "debug" => Role::Debug,
            name => name.parse().ok()?,
        };
        let instance = parts.next()?.to_owned();
        let started_millis = parts.next()?.parse().ok()?;
        let incarnation = Incarnation(u64::from_str_radix(parts.next()?, 16).ok()?);
        Some(Self { role, instance, incarnation, started_millis })
    }
}

/// Wall-clock time, Unix milliseconds. Before 1970: 0.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_parse_back() {
        let identity = Identity::new(Role::Sync, "sync-2");
        assert_eq!(Identity::parse(&identity.node_name()), Some(identity));
        for bad in ["", "storage", "storage~a~b~c", "nobody~a~1~2"] {
            assert_eq!(Identity::parse(bad), None, "{bad}");
        }
    }
}
