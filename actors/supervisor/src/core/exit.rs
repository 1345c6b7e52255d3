//! The exit-code contract between a role process and whoever restarts it (us, systemd, Kubernetes).
//!
//! | code | name | who restarts |
//! |---|---|---|
//! | 0 | done: drained as asked | nobody |
//! | 64 | usage: the command line is wrong | nobody |
//! | 70 | bug: a promise is broken | backoff, then quarantine |
//! | 75 | temporary: something it needs is away | circuit breaker, for ever |
//! | 78 | configuration: will fail again until a person changes it | nobody |
//! | 80 | restart-me | at once, over the limit circuit breaker |
//! | 81 | wedged: no progress, killed itself | backoff, then quarantine |
//! | 82 | fenced: another instance holds the lease | backoff, then quarantine |
//! | other, or a signal | crash | backoff, then quarantine |

use std::fmt;

pub use alys_cluster::exit::{BUG, CONFIGURATION, DONE, FENCED, RESTART, TEMPORARY, USAGE, WEDGED};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(i32),
    /// It could not be started at all.
    NotStarted,
    /// It was not our child (adopted), so nobody told us how.
    Unknown,
    /// It lived without progress until it was killed.
    Wedged,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit {code} ({})", meaning(*code)),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::NotStarted => f.write_str("could not be started"),
            Self::Unknown => f.write_str("ended; its exit code is not known"),
            Self::Wedged => f.write_str("no progress"),
        }
    }
}

/// The contract's word for a code.
pub const fn meaning(code: u8) -> &'static str {
    match code {
        DONE => "done",
        USAGE => "wrong usage",
        BUG => "bug",
        TEMPORARY => "temporary",
        CONFIGURATION => "configuration",
        RESTART => "restart me",
        WEDGED => "wedged",
        FENCED => "fenced",
        101 => "panic",
        _ => "unknown code",
    }
}
