//! Links between hosts: TCP under TLS 1.3 with client certificates from the cluster's own CA.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alys_proto::Role;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Mesh;
use super::link::{self, End};
use crate::config::MeshConfig;
use crate::exit::ActorError;
use crate::identity::Incarnation;

/// The name that every certificate of a mesh carries beside those of its roles.
const MESH_NAME: &str = "mesh.alys";

/// How often a dialer looks whether its link still stands. A map look-up.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const DIAL_FIRST: Duration = Duration::from_millis(100);
const DIAL_MOST: Duration = Duration::from_secs(5);
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Unacknowledged data older than this ends the connection.
const USER_TIMEOUT_MILLIS: u32 = 3_000;
/// Connections in their handshake at once, across all strangers.
const MOST_HANDSHAKES: usize = 64;

pub(super) async fn join(mesh: &Mesh, config: &MeshConfig, hidden: bool) -> Result<(), ActorError> {
    let tls = Tls::load(config)?;
    if let Some(address) = config.listen.filter(|_| !hidden) {
        let listener = TcpListener::bind(address).await.map_err(|cause| {
            ActorError::Configuration(format!("cluster.mesh.listen {address}: {cause}; choose another port or end what uses it"))
        })?;
        tokio::spawn(accept(mesh.clone(), listener, tls.acceptor.clone()));
    }
    for seed in &config.seeds {
        tokio::spawn(dial(mesh.clone(), seed.clone(), tls.connector.clone()));
    }
    Ok(())
}

struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn load(config: &MeshConfig) -> Result<Self, ActorError> {
        let wrong = |file: &std::path::Path, cause: &dyn std::fmt::Display| {
            ActorError::Configuration(format!("cluster.mesh: {}: {cause}", file.display()))
        };
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

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, ActorError> {
    let wrong = |cause: rustls::pki_types::pem::Error| {
        ActorError::Configuration(format!("cluster.mesh: {} is no PEM certificate: {cause}", path.display()))
    };
    CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)
}

async fn accept(mesh: Mesh, listener: TcpListener, acceptor: TlsAcceptor) {
    let handshakes = Arc::new(tokio::sync::Semaphore::new(MOST_HANDSHAKES));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let (mesh, acceptor) = (mesh.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _in_handshake = permit;
                    if let Err(cause) = greet(&mesh, stream, acceptor).await {
                        tracing::debug!(%cause, %address, "link refused");
                    }
                });
            }
            Err(cause) => {
                tracing::warn!(%cause, "cannot accept a link");
                tokio::time::sleep(DIAL_FIRST).await;
            }
        }
    }
}

async fn greet(mesh: &Mesh, stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    tune(&stream)?;
    let stream = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await??;
    let roles = roles_of(stream.get_ref().1.peer_certificates());
    link::open(mesh, stream, End::Accepted, "tls", |role| roles.contains(&role)).await.map(|_peer| ())
}

/// Dials a seed whenever it is not linked. What answers there may change with every restart, so the peer is known
/// only after the hello.
async fn dial(mesh: Mesh, seed: String, connector: TlsConnector) {
    let mut pause = DIAL_FIRST;
    loop {
        pause = match reach(&mesh, &seed, &connector).await {
            Ok(peer) => {
                while mesh.links.has(peer) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                DIAL_FIRST
            }
            Err(cause) => {
                tracing::debug!(%cause, seed, "cannot reach a seed");
                (pause * 2).min(DIAL_MOST)
            }
        };
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
    }
}

async fn reach(mesh: &Mesh, seed: &str, connector: &TlsConnector) -> io::Result<Incarnation> {
    let name = ServerName::try_from(MESH_NAME).map_err(io::Error::other)?;
    let connect = async {
        let stream = TcpStream::connect(seed).await?;
        tune(&stream)?;
        connector.connect(name, stream).await
    };
    let stream = tokio::time::timeout(HANDSHAKE_DEADLINE, connect).await??;
    let roles = roles_of(stream.get_ref().1.peer_certificates());
    link::open(mesh, stream, End::Dialed, "tls", |role| roles.contains(&role)).await
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MILLIS)?;
    Ok(())
}

/// The roles that a certificate's DNS names allow: `storage.role.alys` allows storage.
fn roles_of(chain: Option<&[CertificateDer<'_>]>) -> Vec<Role> {
    let Some(leaf) = chain.and_then(<[_]>::first) else { return Vec::new() };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(leaf) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let role = |name: &x509_parser::extensions::GeneralName<'_>| match name {
        x509_parser::extensions::GeneralName::DNSName("debug.role.alys") => Some(Role::Debug),
        x509_parser::extensions::GeneralName::DNSName(name) => name.strip_suffix(".role.alys")?.parse().ok(),
        _ => None,
    };
    names.value.general_names.iter().filter_map(role).collect()
}
