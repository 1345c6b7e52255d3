//! The host of a governance node.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use crate::generate::Tree;
use crate::generate::config::Place;
use crate::generate::members::{self, Member, alys_toml};
use crate::generate::topology::Topology;

/// Adds the folder of every member's host.
pub(super) fn add(tree: &mut Tree, topology: &Topology) {
    for (name, member) in &topology.governance {
        let etc = format!("{}/{}/etc", topology.name, member.host);
        tree.add(format!("{etc}/alys/alys.toml"), alys_toml(topology, name, member, Place::Host(&member.host)));
        tree.add(
            format!("{etc}/systemd/system/alys.target.d/10-host.conf"),
            format!("# Host {}. Written by `alys generate systemd`.\n[Unit]\nWants=alys-governance.service\n", member.host),
        );
        tree.add(format!("{etc}/systemd/system/alys-governance.service.d/20-host.conf"), drop_in(topology, name, member));
    }
}

/// What a governance node has of its host: port, secrets, limits.
fn drop_in(topology: &Topology, name: &str, member: &Member) -> String {
    let resources = members::resources();
    let telemetry = SocketAddr::from((Ipv4Addr::LOCALHOST, topology.ports.telemetry));
    let mut text = format!(
        "# The governance node of {name} on host {}. Written by `alys generate systemd`.\n[Service]\n\
         # Metrics and probes.\nEnvironment=ALYS_CLUSTER__TELEMETRY__LISTEN={telemetry}\n\n\
         # Readable by nobody but root; it gets copies that only it can read.\n",
        member.host,
    );
    // Writing to a string cannot fail.
    for file in members::FILES {
        let _written = writeln!(text, "LoadCredential={file}:/etc/alys/credentials/governance/{file}");
    }
    let (high, most, weight) = (resources.memory.percent(90).systemd(), resources.memory.systemd(), resources.cpu.weight());
    let _written = write!(text, "\nMemoryHigh={high}\nMemoryMax={most}\nCPUWeight={weight}\n");
    if let Some(addresses) = member.addresses(topology) {
        let allowed: String = addresses.iter().map(|address| format!(" {address}")).collect();
        let _written = write!(
            text,
            "\n# It talks to the stream and to its own bitcoind, and to nobody else.\nIPAddressDeny=any\nIPAddressAllow=localhost{allowed}\n"
        );
    }
    text
}
