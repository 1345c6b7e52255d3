//! The cluster's own certificate authority, and certificates of it for both ends of every TLS link.
//!
//! | certificate | common name | names | for |
//! |---|---|---|---|
//! | `node` | cluster id | `mesh.alys`, `<role>.role.alys` for every role | mesh links between hosts |
//! | `mesh` of a role | the role | `mesh.alys`, `<role>.role.alys` | the same, where each role has its own |
//! | `stream` | `stream` | localhost, 127.0.0.1, ::1 | the gRPC server that governance nodes connect to |
//! | a member's | its name in the chain specification | – | a governance node's client certificate |

use std::path::Path;

use alys_proto::Role;
use alys_proto::role::ROLES;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::files::{self, Made};
use crate::failure::{OrFail as _, Outcome};

/// Certificate and key, PEM.
#[derive(Clone)]
pub struct Issued {
    /// Certificate.
    pub certificate: String,
    /// Its key, secret.
    pub key: String,
}

/// A certificate authority. Its name and key are all that issuing needs.
pub struct Authority {
    name: String,
    issued: Issued,
}

impl Authority {
    /// A new one.
    pub fn generate(cluster: &str) -> Outcome<Self> {
        let key = KeyPair::generate().or_bug("cannot make a key")?;
        let name = format!("{cluster} authority");
        let certificate = authority(&name)?.self_signed(&key).or_bug("cannot make a certificate")?;
        Ok(Self { name, issued: Issued { certificate: certificate.pem(), key: key.serialize_pem() } })
    }

    /// The one in a folder, made when it is not there.
    pub fn open(folder: &Path, cluster: &str, made: &mut Vec<Made>) -> Outcome<Self> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        if !certificate.exists() && !key.exists() {
            let authority = Self::generate(cluster)?;
            files::secret(&key, &authority.issued.key)?;
            files::public(&certificate, &authority.issued.certificate)?;
            made.push(Made { what: "certificate authority of the cluster".into(), path: certificate });
            return Ok(authority);
        }
        let read = |path: &Path| std::fs::read_to_string(path).or_configuration(format!("cannot read {}", path.display()));
        Ok(Self {
            name: format!("{cluster} authority"),
            issued: Issued {
                certificate: read(&certificate)?,
                key: String::from_utf8_lossy(&files::read_secret(&key)?).into_owned(),
            },
        })
    }

    /// A certificate for a name, for both ends of TLS.
    pub fn issue(&self, common_name: &str, names: &[&str]) -> Outcome<Issued> {
        let own = KeyPair::from_pem(&self.issued.key).or_configuration("the key of the certificate authority is damaged")?;
        let issuer = Issuer::new(authority(&self.name)?, own);
        let key = KeyPair::generate().or_bug("cannot make a key")?;
        let mut params = named(common_name, names)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).or_bug("cannot make a certificate")?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Makes `<file>.pem` and `<file>.key` unless they are there.
    pub fn write(&self, folder: &Path, file: &str, common_name: &str, names: &[&str], made: &mut Vec<Made>) -> Outcome {
        let (certificate, key) = (folder.join(format!("{file}.pem")), folder.join(format!("{file}.key")));
        if certificate.exists() && key.exists() {
            return Ok(());
        }
        // One half without the other is what a cut-short run left behind.
        for half in [&certificate, &key] {
            if half.exists() {
                std::fs::remove_file(half).or_configuration(format!("cannot replace {}", half.display()))?;
            }
        }
        let issued = self.issue(common_name, names)?;
        files::secret(&key, &issued.key)?;
        files::public(&certificate, &issued.certificate)?;
        made.push(Made { what: format!("TLS certificate of {common_name}"), path: certificate });
        Ok(())
    }
}

/// Names in the certificate of a process that may claim these roles.
pub fn mesh_names(roles: &[Role]) -> Vec<String> {
    // Dialers ask for the first: whose role answers behind an address may change.
    std::iter::once("mesh.alys".to_owned()).chain(roles.iter().map(|role| format!("{role}.role.alys"))).collect()
}

/// Names in the certificate of a host that may run every role.
pub fn role_names() -> Vec<String> {
    let mut roles = ROLES.to_vec();
    roles.push(Role::Debug);
    mesh_names(&roles)
}

fn authority(name: &str) -> Outcome<CertificateParams> {
    let mut params = named(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn named(common_name: &str, names: &[&str]) -> Outcome<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).or_configuration("not a name for a certificate")?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    fn pair(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        (vec![certificate], PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
    }

    fn handshake(trusted: &Authority, server: &Issued, client: &Issued) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.issued.certificate.as_bytes()).unwrap()).unwrap();
        let roots = Arc::new(roots);
        let clients =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
        let (chain, key) = pair(server);
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        let (chain, key) = pair(client);
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("127.0.0.1").unwrap())?;
        while server.is_handshaking() || client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn both_ends_of_a_link_trust_each_other_and_nobody_else() {
        let authority = Authority::generate("test").unwrap();
        let stranger = Authority::generate("test").unwrap();
        let server = authority.issue("stream", &["localhost", "127.0.0.1"]).unwrap();
        let member = authority.issue("governance-1", &[]).unwrap();
        handshake(&authority, &server, &member).unwrap();
        assert!(handshake(&authority, &server, &stranger.issue("governance-1", &[]).unwrap()).is_err());
        assert!(handshake(&authority, &stranger.issue("stream", &["127.0.0.1"]).unwrap(), &member).is_err());
    }

    #[test]
    fn an_authority_is_found_again_and_its_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let mut made = Vec::new();
        let first = Authority::open(directory.path(), "test", &mut made).unwrap();
        let again = Authority::open(directory.path(), "test", &mut made).unwrap();
        assert_eq!((&first.issued.key, made.len()), (&again.issued.key, 1));
        files::read_secret(&directory.path().join("ca.key")).unwrap();
        let (server, member) = (first.issue("stream", &["127.0.0.1"]).unwrap(), again.issue("governance-1", &[]).unwrap());
        handshake(&again, &server, &member).unwrap();
    }

    #[test]
    fn a_node_may_claim_every_role() {
        assert!(role_names().contains(&"storage.role.alys".to_owned()));
        assert_eq!(role_names().len(), ROLES.len() + 2);
    }
}
