//! How a role process ends: the contract between roles, supervisor, systemd units and pods.

/// Drained and done: nothing to restart.
pub const DONE: u8 = 0;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A promise inside the program is broken: restart, and report it.
pub const BUG: u8 = 70;
/// Something outside is away for now: restart with backoff.
pub const TEMPORARY: u8 = 75;
/// The configuration cannot work: never restart before it is changed.
pub const CONFIGURATION: u8 = 78;
/// The process asks to be started again at once.
pub const RESTART: u8 = 80;
/// It stopped itself because it made no progress.
pub const WEDGED: u8 = 81;
/// Another instance holds its lease.
pub const FENCED: u8 = 82;

/// Why a handler cannot go on. It ends the process; the supervisor decides what comes next.
/// A peer's fault is counted and a passing fault retried by timer: neither belongs here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActorError {
    /// A connection that the role cannot live without is lost. Restart at once.
    #[error("network: {0}")]
    Network(String),
    /// Wrong configuration, missing key, foreign data: restarting changes nothing.
    #[error("configuration: {0}")]
    Configuration(String),
    /// Out of some resource for now. Restart with backoff.
    #[error("temporary: {0}")]
    Temporary(String),
    /// Another instance holds the lease.
    #[error("fenced: {0}")]
    Fenced(String),
    /// A broken promise: going on could lose money or equivocate.
    #[error("broken: {0}")]
    Broken(String),
    /// Asked to end and to be started again.
    #[error("restart: {0}")]
    Restart(String),
    /// Asked to drain, and it could not: it makes no progress.
    #[error("wedged: {0}")]
    Wedged(String),
}

impl ActorError {
    /// The exit code that tells the supervisor which of these it was.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Network(_) | Self::Restart(_) => RESTART,
            Self::Wedged(_) => WEDGED,
            Self::Configuration(_) => CONFIGURATION,
            Self::Temporary(_) => TEMPORARY,
            Self::Fenced(_) => FENCED,
            Self::Broken(_) => BUG,
        }
    }
}
