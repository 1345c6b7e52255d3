//! What a topology may have beside the roles that it must have: a supervisor, and governance nodes.
//!
//! Governance nodes are those of members of the federation that run theirs beside this cluster, each on a host or in a pod
//! of its own, with its own key and its own bitcoind. They are no part of the cluster: they have neither its cookie nor a
//! certificate of its mesh, and reach nothing of it but the stream.
//!
//! | file | of a member | is |
//! |---|---|---|
//! | `ca.pem` | made | certificate of the cluster's authority: whom it believes to be the stream |
//! | `governance.pem`, `governance.key` | made | its client certificate, with its name |
//! | `member.key` | brought | its federation key |
//! | `bitcoind.password` | brought | RPC of its own bitcoind |

use std::net::IpAddr;

use alys_proto::Role;
use serde::Deserialize;

use super::config::Place;
use super::credentials::FOLDER;
use super::quantity::{Bytes, Cpu};
use super::topology::{Bitcoind, Ports, Resources, Topology};

/// One member. Its name in the chain specification is the key in the topology.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its own machine (systemd): none of the cluster's hosts.
    pub host: String,
    /// The stream role of a sidechain node, `https://host:port`; none: of this cluster. In Kubernetes always of this cluster.
    pub stream: Option<String>,
    /// Its own Bitcoin node.
    pub bitcoind: Bitcoind,
}

/// Whether a supervisor watches the roles, and on which host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Watch {
    /// `true`: where storage runs.
    Wanted(bool),
    /// There.
    On(String),
}

impl Default for Watch {
    fn default() -> Self {
        Self::Wanted(false)
    }
}

/// Files of a member's folder of secrets.
pub const FILES: [&str; 5] = ["ca.pem", "governance.pem", "governance.key", "member.key", "bitcoind.password"];

/// What a governance node may use: it folds a ledger and keeps what it signed.
pub fn resources() -> Resources {
    Resources { memory: Bytes::mebi(512), cpu: Cpu::millis(250), disk: Some(Bytes::gibi(1)) }
}

/// The name of everything that belongs to a member: folder, unit's credentials, Kubernetes objects.
pub fn label(name: &str) -> String {
    format!("governance-{name}")
}

impl Member {
    /// Where it finds the stream; `None` when neither it nor the cluster's host says.
    pub fn stream(&self, topology: &Topology) -> Option<String> {
        let host = topology.hosts.values().find(|host| host.roles.contains(&Role::Stream))?;
        let reachable = !host.address.is_loopback() && !host.address.is_unspecified();
        let ours =
            || reachable.then(|| format!("https://{}", std::net::SocketAddr::new(host.address, topology.ports.governance)));
        self.stream.clone().or_else(ours)
    }

    /// The addresses that it needs, when all of them are numbers.
    pub fn addresses(&self, topology: &Topology) -> Option<Vec<IpAddr>> {
        let stream = self.stream(topology)?;
        [stream.as_str(), self.bitcoind.url.as_str()].into_iter().map(address).collect()
    }
}

/// The address in a URL, if it is one and no name.
fn address(url: &str) -> Option<IpAddr> {
    let authority = url.split("://").nth(1)?.split('/').next()?;
    let host = authority.strip_prefix('[').map_or_else(
        || authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        |bracketed| bracketed.split(']').next().unwrap_or_default(),
    );
    host.parse().ok()
}

/// `alys.toml` of a governance node.
pub fn alys_toml(topology: &Topology, name: &str, member: &Member, place: Place<'_>) -> String {
    let (whose, stream) = match place {
        Place::Host(host) => (format!("host {host}"), member.stream(topology).unwrap_or_default()),
        Place::Pod => ("its pod".to_owned(), format!("https://alys-stream:{}", Ports::USUAL.governance)),
    };
    let telemetry = match place {
        // Where it answers is in its unit, as for roles.
        Place::Host(_) => String::new(),
        Place::Pod => {
            format!("\n# Metrics and probes.\n[cluster.telemetry]\nlisten = \"0.0.0.0:{}\"\n", Ports::USUAL.telemetry)
        }
    };
    format!(
        "# {topology}, governance node of {name}, {whose}. No part of the cluster: it reaches the stream and its own bitcoind.\n\
         # Written by `alys generate`. {FOLDER} is the folder of secrets that systemd or Kubernetes hands to it.\n\
         data_dir = \"/var/lib/alys\"\n\
         chain_spec_file = \"/etc/alys/chain.toml\"\n\
         {telemetry}\n\
         [governance]\n\
         name = \"{name}\"\n\
         key_file = \"{FOLDER}/member.key\"\n\
         stream = \"{stream}\"\n\
         data_dir = \"governance\"\n\
         \n\
         [governance.tls]\n\
         ca = \"{FOLDER}/ca.pem\"\n\
         cert = \"{FOLDER}/governance.pem\"\n\
         key = \"{FOLDER}/governance.key\"\n\
         \n\
         [governance.bitcoin]\n\
         url = \"{url}\"\n\
         user = \"{user}\"\n\
         password_file = \"{FOLDER}/bitcoind.password\"\n",
        topology = topology.name,
        url = member.bitcoind.url,
        user = member.bitcoind.user,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::config::layered;
    use crate::generate::topology::EXAMPLE;

    #[test]
    fn what_is_written_can_be_loaded_and_names_the_stream() {
        let topology = Topology::parse(EXAMPLE).unwrap();
        let (name, member) = topology.governance.first_key_value().unwrap();
        let load = |place| {
            let text = alys_toml(&topology, name, member, place);
            layered(Path::new("/etc/alys/alys.toml"), &text, &[], &[]).unwrap().config.governance
        };
        let (host, pod) = (load(Place::Host(&member.host)), load(Place::Pod));
        assert_eq!(host.stream, "https://192.0.2.2:50051");
        assert_eq!(pod.stream, "https://alys-stream:50051");
        for config in [host, pod] {
            config.check().unwrap();
            assert_eq!(config.name, *name);
            assert_eq!(config.data_dir, Path::new("/var/lib/alys/governance"));
            assert!(config.bitcoin.password.is_none(), "passwords are files");
        }
    }

    #[test]
    fn addresses_are_known_when_they_are_numbers() {
        assert_eq!(address("https://192.0.2.1:50051"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(address("http://[2001:db8::1]:8332/x"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(address("http://bitcoin.example:8332"), None);
    }
}
