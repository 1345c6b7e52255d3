//! Which of several supervisors acts ([why](../../../../docs/adr/0018-one-supervisor-acts.md)). A lease in storage says it; one
//! without storage must still be able to start storage.
//!
//! | | acting | standing by | alone |
//! |---|---|---|---|
//! | starts what waits | yes | no | until it has ever stood by |
//! | starts its own child again | yes | no: it waits until this one acts | yes |
//! | ends its own child that makes no progress | yes | no | yes |
//! | asks a platform's instance that makes no progress to go | yes | no | storage only, if it acted last |
//! | takes orders | yes | no: says who acts | yes |
//!
//! What is planned here may run already, under another supervisor or by hand. It is left alone while it is seen:
//!
//! | its process | so |
//! |---|---|
//! | seen in the mesh | elsewhere |
//! | of this host, and the kernel says that it is gone | ours to start, by the table above |
//! | of another host, and unseen for `wedged_after` | ours to start for one that acts; storage never: its disk is there |

use std::time::Duration;

use alys_proto::Role;

/// What a supervisor may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Office {
    /// It holds the lease.
    Acting,
    /// Another one does.
    StandingBy,
    /// Storage does not say.
    #[default]
    Alone,
}

impl Office {
    /// As shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acting => "acting",
            Self::StandingBy => "standing by",
            Self::Alone => "alone",
        }
    }

    /// Whether what waits may be started.
    pub const fn starts(self, has_stood_by: bool) -> bool {
        match self {
            Self::Acting => true,
            Self::StandingBy => false,
            Self::Alone => !has_stood_by,
        }
    }

    /// Whether a platform's instance may be told to go for what this supervisor sees, without an order.
    pub const fn judges(self, role: Role, acted_last: bool) -> bool {
        match self {
            Self::Acting => true,
            Self::StandingBy => false,
            Self::Alone => acted_last && matches!(role, Role::Storage),
        }
    }

    /// Whether a planned role that ran elsewhere is ours to start. `here`: its process was of this host and is gone.
    pub fn inherits(self, role: Role, has_stood_by: bool, here: bool, unseen: Duration, patience: Duration) -> bool {
        match role {
            Role::Storage => here && !has_stood_by && self != Self::StandingBy,
            _ if here => self.starts(has_stood_by),
            _ => self == Self::Acting && unseen >= patience,
        }
    }
}

/// A process of a planned instance that this supervisor did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Instance.
    pub name: String,
    /// It runs on this host.
    pub here: bool,
    /// It is ready.
    pub works: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_may_do_what_by_the_table() {
        use Office::{Acting, Alone, StandingBy};
        for (office, stood_by, starts) in [
            (Acting, false, true),
            (Acting, true, true),
            (StandingBy, false, false),
            (StandingBy, true, false),
            (Alone, false, true),
            (Alone, true, false),
        ] {
            assert_eq!(office.starts(stood_by), starts, "{office:?}, has stood by: {stood_by}");
        }
        for (office, role, acted_last, judges) in [
            (Acting, Role::Chain, true, true),
            (StandingBy, Role::Chain, true, false),
            (StandingBy, Role::Storage, true, false),
            (Alone, Role::Chain, true, false),
            (Alone, Role::Storage, true, true),
            (Alone, Role::Storage, false, false),
        ] {
            assert_eq!(office.judges(role, acted_last), judges, "{office:?} of {role}");
        }
    }

    #[test]
    fn what_ran_elsewhere_is_inherited_by_the_table() {
        use Office::{Acting, Alone, StandingBy};
        // Office, role, has stood by, the process was here, seconds unseen.
        for (office, role, stood_by, here, unseen, inherits) in [
            (Acting, Role::Chain, false, false, 4, false),
            (Acting, Role::Chain, false, false, 5, true),
            (Acting, Role::Chain, true, true, 0, true),
            (StandingBy, Role::Chain, true, true, 60, false),
            (Alone, Role::Chain, false, false, 60, false),
            (Alone, Role::Chain, false, true, 0, true),
            (Alone, Role::Chain, true, true, 60, false),
            (Acting, Role::Storage, false, false, 60, false),
            (Acting, Role::Storage, true, true, 60, false),
            (Alone, Role::Storage, true, true, 60, false),
            (Alone, Role::Storage, false, true, 0, true),
        ] {
            let got = office.inherits(role, stood_by, here, unseen * SECOND, 5 * SECOND);
            assert_eq!(got, inherits, "{office:?} {role} has stood by: {stood_by}, here: {here}, unseen for {unseen} s");
        }
    }
}
