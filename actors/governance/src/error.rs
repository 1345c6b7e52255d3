//! Why a governance node ends. Everything that may pass is retried instead.

use std::path::PathBuf;

use crate::core::replay::ReplayFault;
use crate::io::key::KeyError;
use crate::io::store::StoreError;

/// Why [`crate::run`] returned.
#[derive(Debug, thiserror::Error)]
pub enum GovernanceError {
    /// The configuration cannot work: restarting changes nothing.
    #[error("configuration: {0}")]
    Configuration(String),
    /// The secret key cannot be used.
    #[error("federation key")]
    Key(#[from] KeyError),
    /// A certificate file cannot be read.
    #[error("cannot read {what} `{}`", file.display())]
    File {
        /// Which setting.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address for metrics and probes cannot be had; a predecessor that still ends may hold it.
    #[error("{0}")]
    Listen(String),
    /// Our own database cannot be opened or is damaged.
    #[error("database")]
    Store(#[from] StoreError),
    /// Two valid histories of the chain: halt, sign nothing, and let people look.
    #[error("halted: {0}")]
    Fork(Box<ReplayFault>),
    /// A promise inside the program is broken.
    #[error("broken: {0}")]
    Broken(String),
}

impl GovernanceError {
    /// Whether only a change of configuration or files helps.
    pub const fn is_configuration(&self) -> bool {
        let damaged = matches!(self, Self::Store(StoreError::Foreign { .. } | StoreError::Damaged { .. }));
        damaged || matches!(self, Self::Configuration(_) | Self::Key(_) | Self::File { .. })
    }

    /// Whether it works again when something outside has changed.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Listen(_) | Self::Store(StoreError::Full { .. } | StoreError::InUse { .. }))
    }
}
