//! Configuration of the role.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::Timing;

/// `[stream]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where governance nodes connect.
    pub listen: SocketAddr,
    /// Certificates.
    pub tls: TlsFiles,
    /// Between two heartbeats to a member.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// A member that is silent for this long is disconnected.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// A member or role that could not yet is asked again after this.
    #[serde(with = "humantime_serde")]
    pub retry: Duration,
    /// A member that does not answer at all is asked again after this.
    #[serde(with = "humantime_serde")]
    pub ask_again: Duration,
    /// What bridge no longer repeats is forgotten after this.
    #[serde(with = "humantime_serde")]
    pub forget: Duration,
}

/// PEM files. The CA signs the members' certificates and our own; a member's common name is its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate authority.
    pub ca: PathBuf,
    /// Our certificate (chain).
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            tls: TlsFiles::default(),
            heartbeat: Duration::from_secs(3),
            silence: Duration::from_secs(15),
            retry: Duration::from_secs(1),
            ask_again: Duration::from_secs(60),
            forget: Duration::from_secs(300),
        }
    }
}

impl Config {
    pub(crate) fn timing(&self) -> Timing {
        Timing::new(self.heartbeat, self.silence, self.retry, self.ask_again, self.forget)
    }

    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let rules = [
            (self.heartbeat >= Duration::from_millis(100), "stream.heartbeat must be at least 100ms"),
            (self.silence > self.heartbeat, "stream.silence must be longer than stream.heartbeat"),
            (self.retry >= Duration::from_millis(10), "stream.retry must be at least 10ms"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }
}
