//! `alys.toml` of a deployment, from a topology.

use std::fmt::Write as _;
use std::net::SocketAddr;

use alys_proto::Role;

use super::credentials::FOLDER;
use super::topology::{Host, Ports, SINGLETONS, Topology};

/// Where a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A host with systemd, by its name in the topology.
    Host(&'a str),
    /// A pod.
    Pod,
}

impl Place<'_> {
    fn has(self, topology: &Topology, role: Role) -> bool {
        match self {
            Self::Host(name) if role == Role::Supervisor => topology.supervisor_host() == Some(name),
            Self::Host(name) => topology.hosts.get(name).is_some_and(|host| host.roles.contains(&role)),
            Self::Pod => true,
        }
    }

    /// Whether its processes have links to other hosts.
    pub fn is_meshed(self, topology: &Topology) -> bool {
        self == Place::Pod || topology.meshed()
    }
}

/// The configuration file of a host, or of all pods.
pub fn alys_toml(topology: &Topology, place: Place<'_>) -> String {
    let whose = match place {
        Place::Host(name) => format!("host {name}"),
        Place::Pod => "every pod".to_owned(),
    };
    let mut text = format!(
        "# {name}, {whose}: {about}.\n\
         # Written by `alys generate`. Every setting with its value and where it came from: `alys config show --origin`.\n\
         # {FOLDER} is the folder of secrets that systemd or Kubernetes hands to each process.\n\
         data_dir = \"/var/lib/alys\"\n\
         chain_spec_file = \"/etc/alys/chain.toml\"\n\
         \n\
         [cluster]\n\
         id = \"{id}\"\n\
         run_dir = \"/run/alys\"\n\
         cookie_file = \"{FOLDER}/cookie\"\n",
        name = topology.name,
        about = topology.about,
        id = topology.cluster_id,
    );
    text.push_str(&mesh(topology, place));
    if place == Place::Pod {
        // Writing to a string cannot fail.
        let _written =
            write!(text, "\n# Metrics and probes.\n[cluster.telemetry]\nlisten = \"0.0.0.0:{}\"\n", Ports::USUAL.telemetry);
    }
    text.push_str(&roles(topology, place));
    text
}

fn mesh(topology: &Topology, place: Place<'_>) -> String {
    if !place.is_meshed(topology) {
        return String::new();
    }
    let seeds: Vec<String> = match place {
        Place::Host(own) => {
            let others = topology.hosts.iter().filter(|(name, _)| name.as_str() != own);
            let seed =
                |host: &Host, (role, worker)| Some(SocketAddr::new(host.address, topology.mesh_port(role, worker)?).to_string());
            others
                .flat_map(|(name, host)| topology.processes(name, host).filter_map(move |process| seed(host, process)))
                .collect()
        }
        Place::Pod => {
            SINGLETONS.into_iter().chain([Role::Sync]).map(|role| format!("dns:alys-{role}:{}", Ports::USUAL.mesh)).collect()
        }
    };
    let (about, listen) = match place {
        Place::Host(_) => ("# Where a role accepts links is in its unit: each has a port of its own.\n", String::new()),
        Place::Pod => ("", format!("listen = \"0.0.0.0:{}\"\n", Ports::USUAL.mesh)),
    };
    format!(
        "\n# Links to roles elsewhere: TLS 1.3, both ends with a certificate that names the role.\n\
         {about}[cluster.mesh]\n\
         {listen}seeds = [{}]\n\
         ca_file = \"{FOLDER}/ca.pem\"\n\
         certificate_file = \"{FOLDER}/mesh.pem\"\n\
         key_file = \"{FOLDER}/mesh.key\"\n",
        lines(&seeds),
    )
}

fn roles(topology: &Topology, place: Place<'_>) -> String {
    let mut text = String::new();
    let everywhere = "0.0.0.0";
    let ports = if place == Place::Pod { &Ports::USUAL } else { &topology.ports };
    let mut section = |role: Role, body: String| {
        if place.has(topology, role) {
            text.push('\n');
            text.push_str(&body);
        }
    };
    let owner = if place == Place::Pod { "kubernetes" } else { "systemd" };
    if topology.supervisor_host().is_some() {
        section(
            Role::Supervisor,
            format!(
                "# It starts nobody: {owner} does. It decides when one that lives must go.\n[supervision]\nowner = \"{owner}\"\n"
            ),
        );
    }
    let rpc = if place == Place::Pod || topology.eth_rpc.public { everywhere } else { "127.0.0.1" };
    section(Role::Engine, format!("[engine.rpc]\nlisten = \"{rpc}:{}\"\n", ports.eth_rpc));
    if topology.validator {
        section(Role::Chain, format!("[chain]\nvalidator_key = \"{FOLDER}/validator.key\"\n"));
    }
    let mut bridge = String::from("[bridge.bitcoind]\n");
    // Writing to a string cannot fail.
    let _written = write!(
        bridge,
        "url = \"{}\"\nuser = \"{}\"\npassword_file = \"{FOLDER}/bitcoind.password\"\n",
        topology.bitcoind.url, topology.bitcoind.user
    );
    section(Role::Bridge, bridge);
    section(
        Role::Stream,
        format!(
            "[stream]\nlisten = \"{everywhere}:{}\"\n\n[stream.tls]\nca = \"{FOLDER}/ca.pem\"\ncert = \"{FOLDER}/stream.pem\"\nkey = \"{FOLDER}/stream.key\"\n",
            ports.governance
        ),
    );
    let bootnodes: Vec<String> = topology.bootnodes.iter().map(ToString::to_string).collect();
    section(
        Role::Network,
        format!(
            "[network]\nlisten = [\"/ip4/{everywhere}/tcp/{0}\", \"/ip4/{everywhere}/udp/{0}/quic-v1\"]\nbootnodes = [{1}]\n",
            ports.p2p,
            lines(&bootnodes)
        ),
    );
    text
}

/// The items of a list: on lines of their own when there are several.
fn lines(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => format!("\"{one}\""),
        many => many.iter().map(|item| format!("\n  \"{item}\",")).collect::<String>() + "\n",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::config::layered;
    use crate::generate::topology::EXAMPLE;

    #[test]
    fn what_is_written_can_be_loaded() {
        let topology = Topology::parse(EXAMPLE).unwrap();
        let load = |place| layered(Path::new("/etc/alys/alys.toml"), &alys_toml(&topology, place), &[], &[]).unwrap().config;
        let (a, b, pod) = (load(Place::Host("a")), load(Place::Host("b")), load(Place::Pod));
        assert_eq!(
            a.cluster.mesh.as_ref().unwrap().seeds,
            ["192.0.2.2:9103", "192.0.2.2:9104", "192.0.2.2:9105", "192.0.2.2:9110", "192.0.2.2:9111"]
        );
        assert_eq!(
            b.cluster.mesh.as_ref().unwrap().seeds,
            ["192.0.2.1:9100", "192.0.2.1:9101", "192.0.2.1:9102", "192.0.2.1:9109"]
        );
        let owner = |config: &crate::config::NodeConfig| config.supervision.owner.to_string();
        assert_eq!([owner(&a), owner(&pod)], ["systemd", "kubernetes"], "whoever starts them restarts them");
        assert_eq!(pod.cluster.mesh.as_ref().unwrap().seeds.len(), SINGLETONS.len() + 1);
        assert!(a.chain.validator_key.is_some() && b.chain.validator_key.is_none(), "only its host names it");
        assert!(a.engine.rpc.listen.ip().is_loopback(), "nobody asked for a public one");
        assert_eq!(b.bridge.bitcoind.user.as_deref(), Some("alys"));
        assert_eq!(b.storage.data_dir, Path::new("/var/lib/alys/storage"));
    }

    #[test]
    fn one_host_needs_no_links() {
        let topology = Topology::parse(include_str!("../../../deploy/topology/one-node.toml")).unwrap();
        assert!(!alys_toml(&topology, Place::Host("node")).contains("mesh"));
        assert!(alys_toml(&topology, Place::Pod).contains("[cluster.mesh]"), "pods always do");
    }
}
