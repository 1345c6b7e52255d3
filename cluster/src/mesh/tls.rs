//! Certificates of the mesh: the cluster's own CA, and who may claim which role.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use alys_proto::Role;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::MeshConfig;
use crate::exit::ActorError;

/// Both ends of TLS as the files on disk say now. Replaced files count from the next stream on; standing links go on.
pub(super) struct Certificates {
    config: MeshConfig,
    current: Mutex<(Vec<Option<SystemTime>>, Tls)>,
}

/// Both ends of TLS.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) connector: TlsConnector,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// One is missing, no PEM, or does not fit the others.
    pub(super) fn load(config: &MeshConfig) -> Result<Arc<Self>, ActorError> {
        let (stamps, tls) = (stamps(config), Tls::load(config)?);
        Ok(Arc::new(Self { config: config.clone(), current: Mutex::new((stamps, tls)) }))
    }

    /// What counts now. Files that were replaced by unusable ones leave the old in force, and the log says so.
    pub(super) fn now(&self) -> Tls {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.config);
        if stamps != current.0 {
            match Tls::load(&self.config) {
                Ok(tls) => {
                    tracing::info!("certificates were replaced");
                    *current = (stamps, tls);
                }
                // Half of a rotation may be in place: it is tried again at the next stream.
                Err(cause) => tracing::warn!(%cause, "the new certificates cannot be used, the old ones stay in force"),
            }
        }
        current.1.clone()
    }
}

/// When the files were changed last.
fn stamps(config: &MeshConfig) -> Vec<Option<SystemTime>> {
    let changed = |path: &std::path::PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    [&config.ca_file, &config.certificate_file, &config.key_file].into_iter().map(changed).collect()
}

impl Tls {
    fn load(config: &MeshConfig) -> Result<Self, ActorError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&config.ca_file)? {
            roots.add(certificate).map_err(|cause| wrong(&config.ca_file, &cause))?;
        }
        let chain = certificates(&config.certificate_file)?;
        crate::private::check(&config.key_file).map_err(|cause| wrong(&config.key_file, &cause))?;
        let key = PrivateKeyDer::from_pem_file(&config.key_file).map_err(|cause| wrong(&config.key_file, &cause))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let broken = |cause: rustls::Error| wrong(&config.certificate_file, &cause);

        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider.clone())
            .build()
            .map_err(|cause| wrong(&config.ca_file, &cause))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(broken)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(broken)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(broken)?;
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ActorError> {
    let no_pem = |cause: rustls::pki_types::pem::Error| {
        ActorError::Configuration(format!("cluster.mesh: {} is no PEM certificate: {cause}", path.display()))
    };
    CertificateDer::pem_file_iter(path).map_err(no_pem)?.collect::<Result<_, _>>().map_err(no_pem)
}

fn wrong(file: &Path, cause: &dyn std::fmt::Display) -> ActorError {
    ActorError::Configuration(format!("cluster.mesh: {}: {cause}", file.display()))
}

/// The roles that a certificate's DNS names allow: `storage.role.alys` allows storage.
pub(super) fn roles_of(chain: Option<&[CertificateDer<'_>]>) -> io::Result<Vec<Role>> {
    let leaf = chain.and_then(<[_]>::first).ok_or_else(|| io::Error::other("it has no certificate"))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|cause| io::Error::other(cause.to_string()))?;
    let names = certificate.subject_alternative_name().map_err(|cause| io::Error::other(cause.to_string()))?;
    let role = |name: &x509_parser::extensions::GeneralName<'_>| match name {
        x509_parser::extensions::GeneralName::DNSName("debug.role.alys") => Some(Role::Debug),
        x509_parser::extensions::GeneralName::DNSName(name) => name.strip_suffix(".role.alys")?.parse().ok(),
        _ => None,
    };
    Ok(names.map_or_else(Vec::new, |names| names.value.general_names.iter().filter_map(role).collect()))
}
