//! Configuration of a governance node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::GovernanceError;

/// `governance.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Our name in the chain specification's federation; also the common name of our certificate.
    pub name: String,
    /// The federation secret key: 64 hex digits in a file that only its owner may read.
    pub key_file: PathBuf,
    /// The stream role of a sidechain node, `https://host:port`.
    pub stream: String,
    /// Where blocks are read from; the same as `stream` unless given. It must be the member's own node.
    pub sidechain: Option<String>,
    /// Our own bitcoind.
    pub bitcoin: BitcoinConfig,
    /// Certificates.
    pub tls: TlsConfig,
    /// Our own database: progress of the replay, and everything that was ever signed.
    pub data_dir: PathBuf,
    /// Between two heartbeats.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// A stream that is silent for this long is dropped and connected again.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// Between two looks for new blocks when nobody told us of one.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// Between two status lines in the log.
    #[serde(with = "humantime_serde")]
    pub status: Duration,
    /// Where it answers metrics and probes; none: nowhere. Not a setting of its own: `cluster.telemetry.listen`.
    #[serde(skip)]
    pub listen: Option<SocketAddr>,
}

/// Own bitcoind. Either a cookie file, or user and password, which is here or in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitcoinConfig {
    /// `http://host:port`.
    pub url: String,
    /// bitcoind's cookie file; read again for every question, because bitcoind writes a new one at every start.
    pub cookie_file: Option<PathBuf>,
    /// RPC user.
    pub user: Option<String>,
    /// RPC password.
    pub password: Option<Password>,
    /// The same, as a file; read again for every question.
    pub password_file: Option<PathBuf>,
}

/// A password; never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(#[serde(serialize_with = "redacted")] pub String);

fn redacted<S: serde::Serializer>(_password: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(redacted)")
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}

/// PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate authority of the stream's certificate.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The name in the stream's certificate when it is not the host of the URL.
    pub server_name: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            key_file: PathBuf::new(),
            stream: "https://127.0.0.1:7700".to_owned(),
            sidechain: None,
            bitcoin: BitcoinConfig::default(),
            tls: TlsConfig::default(),
            data_dir: PathBuf::new(),
            heartbeat: Duration::from_secs(3),
            silence: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            status: Duration::from_secs(30),
            listen: None,
        }
    }
}

impl Config {
    /// Rules that the types do not state.
    pub fn check(&self) -> Result<(), GovernanceError> {
        let bitcoin = &self.bitcoin;
        let password = bitcoin.user.is_some() && (bitcoin.password.is_some() || bitcoin.password_file.is_some());
        let rules = [
            (!self.name.is_empty(), "name: the member's name in the chain specification is missing"),
            (!self.key_file.as_os_str().is_empty(), "key_file is missing"),
            (!self.data_dir.as_os_str().is_empty(), "data_dir is missing"),
            (!bitcoin.url.is_empty(), "bitcoin.url is missing"),
            (bitcoin.cookie_file.is_some() || password, "bitcoin: either cookie_file, or user and password or password_file"),
            (self.stream.starts_with("https://"), "stream must be an https:// URL"),
            (self.sidechain.as_ref().is_none_or(|url| url.starts_with("https://")), "sidechain must be an https:// URL"),
            (self.heartbeat >= Duration::from_millis(100), "heartbeat must be at least 100ms"),
            (self.silence > self.heartbeat, "silence must be longer than heartbeat"),
            (self.poll >= Duration::from_millis(10), "poll must be at least 10ms"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(GovernanceError::Configuration(rule.to_owned())),
            None => Ok(()),
        }
    }

    /// Where blocks are read from.
    pub(crate) fn sidechain(&self) -> &str {
        self.sidechain.as_deref().unwrap_or(&self.stream)
    }
}
