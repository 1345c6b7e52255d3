//! Who restarts a process. Exactly one: two restarters fight.
//!
//! | owner | who starts it and restarts it when it ended | when a live one must go (wedged, asked for) |
//! |---|---|---|
//! | `local` | this supervisor | this supervisor signals it |
//! | `systemd` | systemd (`Restart=`) | it is asked to drain and end with code 80; if it does not, `RestartUnit` over D-Bus |
//! | `kubernetes` | kubelet and controllers | it is asked to drain and end with code 80; if it does not, its pod is deleted |

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who restarts a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The supervisor that started it.
    #[default]
    Local,
    /// The systemd of its host.
    Systemd,
    /// The Kubernetes cluster it runs in.
    Kubernetes,
}

impl Owner {
    /// As in the configuration and in `GetInstances`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Systemd => "systemd",
            Self::Kubernetes => "kubernetes",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
