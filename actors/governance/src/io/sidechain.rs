//! gRPC to our own sidechain node, over TLS with our client certificate.

use std::path::Path;
use std::time::Duration;

use alys_proto::governance::governance_client::GovernanceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::GovernanceError;
use crate::config::TlsConfig;

/// Blocks of one answer: at most 8 MiB, or one of at most 12 MiB.
const MAX_INCOMING_BYTES: usize = 20 * 1024 * 1024;
/// Signatures of one payout fit well.
const MAX_OUTGOING_BYTES: usize = 1024 * 1024;

/// An address with everything that a connection to it needs.
#[derive(Clone)]
pub(crate) struct Address(Endpoint);

impl Address {
    /// Reads the certificates. Nothing is connected yet.
    pub(crate) fn new(what: &'static str, url: &str, tls: &TlsConfig) -> Result<Self, GovernanceError> {
        let invalid = |cause: &dyn std::fmt::Display| GovernanceError::Configuration(format!("{what} `{url}`: {cause}"));
        alys_cluster::private::check(&tls.key).map_err(|source| unreadable("tls.key", &tls.key, source))?;
        let identity = Identity::from_pem(read("tls.cert", &tls.cert)?, read("tls.key", &tls.key)?);
        let mut config =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("tls.ca", &tls.ca)?)).identity(identity);
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name);
        }
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|cause| invalid(&cause))?;
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .tls_config(config)
            .map_err(|cause| invalid(&format!("certificates cannot be used: {cause:?}")))?;
        Ok(Self(endpoint))
    }

    /// Connects now.
    pub(crate) async fn connect(&self) -> Result<GovernanceClient<Channel>, tonic::transport::Error> {
        Ok(client(self.0.connect().await?))
    }

    /// Connects when it is used, and again after each drop.
    pub(crate) fn lazy(&self) -> GovernanceClient<Channel> {
        client(self.0.connect_lazy())
    }
}

fn client(channel: Channel) -> GovernanceClient<Channel> {
    GovernanceClient::new(channel).max_decoding_message_size(MAX_INCOMING_BYTES).max_encoding_message_size(MAX_OUTGOING_BYTES)
}

fn read(what: &'static str, file: &Path) -> Result<Vec<u8>, GovernanceError> {
    std::fs::read(file).map_err(|source| unreadable(what, file, source))
}

fn unreadable(what: &'static str, file: &Path, source: std::io::Error) -> GovernanceError {
    GovernanceError::File { what, file: file.to_owned(), source }
}
