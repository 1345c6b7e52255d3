//! What a command ends with when it fails: an exit code of the contract, what went wrong, and what to do about it.

use std::fmt;

use alys_cluster::exit;

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    /// Exit code, see [`alys_cluster::exit`].
    pub code: u8,
    /// What went wrong, with causes.
    pub report: eyre::Report,
    /// What to do.
    pub help: Option<String>,
}

/// The result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A person must change configuration or files first.
    pub fn configuration(message: impl fmt::Display) -> Self {
        Self::of(exit::CONFIGURATION, message)
    }

    /// The command line asks for something impossible.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::of(exit::USAGE, message)
    }

    /// Something outside is away for now.
    pub fn temporary(message: impl fmt::Display) -> Self {
        Self::of(exit::TEMPORARY, message)
    }

    /// A promise of ours is broken.
    pub fn bug(message: impl fmt::Display) -> Self {
        Self::of(exit::BUG, message)
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn of(code: u8, message: impl fmt::Display) -> Self {
        Self { code, report: eyre::eyre!("{message}"), help: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {:#}", self.report)?;
        if let Some(help) = &self.help {
            write!(f, "\n help: {help}")?;
        }
        Ok(())
    }
}

/// Gives an error of a library its exit code and says what was being done.
pub trait OrFail<T> {
    /// Configuration or files are wrong.
    fn or_configuration(self, doing: impl fmt::Display) -> Outcome<T>;
    /// Something outside is away.
    fn or_temporary(self, doing: impl fmt::Display) -> Outcome<T>;
    /// It cannot happen.
    fn or_bug(self, doing: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> OrFail<T> for Result<T, E> {
    fn or_configuration(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|cause| wrap(exit::CONFIGURATION, cause, &doing))
    }

    fn or_temporary(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|cause| wrap(exit::TEMPORARY, cause, &doing))
    }

    fn or_bug(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|cause| wrap(exit::BUG, cause, &doing))
    }
}

fn wrap(code: u8, cause: impl std::error::Error + Send + Sync + 'static, doing: &dyn fmt::Display) -> Failure {
    let any: &dyn std::any::Any = &cause;
    let full = any.downcast_ref().is_some_and(is_full);
    let report = eyre::Report::new(cause).wrap_err(doing.to_string());
    if full {
        // Whatever it was written for: it can be written when there is room.
        return Failure { code: exit::TEMPORARY, report, help: Some("free space or enlarge the disk, then start again".into()) };
    }
    Failure { code, report, help: None }
}

fn is_full(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_full_disk_is_temporary_and_other_errors_are_not() {
        let failed = |kind: std::io::ErrorKind| Err::<(), _>(std::io::Error::from(kind)).or_configuration("x").unwrap_err();
        let full = failed(std::io::ErrorKind::StorageFull);
        assert_eq!((full.code, full.help.is_some()), (exit::TEMPORARY, true));
        assert_eq!(failed(std::io::ErrorKind::PermissionDenied).code, exit::CONFIGURATION);
    }
}
