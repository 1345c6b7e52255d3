//! TLS 1.3 with required client certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::TlsFiles;

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {what} `{}`: {cause}; `alys keys` makes certificates", file.display())]
    Read { what: &'static str, file: PathBuf, cause: rustls::pki_types::pem::Error },
    #[error("cannot use {what} `{}`: {cause}", file.display())]
    Private { what: &'static str, file: PathBuf, cause: std::io::Error },
    #[error("no certificate in `{}` (stream.tls)", .0.display())]
    Empty(PathBuf),
    #[error("the certificate authority `{}` cannot be used: {cause}", file.display())]
    Authority { file: PathBuf, cause: String },
    #[error("certificate `{}` and key `{}` cannot be used together: {cause}", cert.display(), key.display())]
    Identity { cert: PathBuf, key: PathBuf, cause: rustls::Error },
}

pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let authority = |cause: String| TlsError::Authority { file: files.ca.clone(), cause };
    let identity = |cause| TlsError::Identity { cert: files.cert.clone(), key: files.key.clone(), cause };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the certificate authority (stream.tls.ca)", &files.ca)? {
        roots.add(certificate).map_err(|cause| authority(cause.to_string()))?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|cause| authority(cause.to_string()))?;
    let chain = certificates("the certificate (stream.tls.cert)", &files.cert)?;
    alys_cluster::private::check(&files.key).map_err(|cause| TlsError::Private {
        what: "the key (stream.tls.key)",
        file: files.key.clone(),
        cause,
    })?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|cause| TlsError::Read {
        what: "the key (stream.tls.key)",
        file: files.key.clone(),
        cause,
    })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(identity)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(identity)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |cause| TlsError::Read { what, file: file.to_owned(), cause };
    let found: Vec<_> = CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if found.is_empty() { Err(TlsError::Empty(file.to_owned())) } else { Ok(found) }
}

/// The common name of a certificate that the handshake has verified. `None` unless there is exactly one.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    if names.next().is_some() { None } else { Some(name) }
}
