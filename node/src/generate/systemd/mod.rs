//! systemd units: the same for every host, and for each host a folder that is copied over its root.
//!
//! | in `units/` (any topology) | is |
//! |---|---|
//! | `system/alys-<role>.service`, `system/alys-sync@.service` | what differs between roles: a few lines |
//! | `system/alys-governance.service` | the same for a governance node, on a host of its own |
//! | `system/alys-.service.d/10-alys.conf` | what all have in common: restarts by exit code, watchdog, hardening |
//! | `system/alys.target`, `system/alys.slice` | all of them |
//! | `sysusers.conf`, `tmpfiles.conf`, `alysctl`, `backoff-254.conf` | user, folder, commands for operators, newer systemd |
//! | `polkit.rules` | the supervisor may have the roles of its own host started, restarted and stopped |
//!
//! | in `<topology>/<host>/etc/` | is |
//! |---|---|
//! | `alys/alys.toml` | configuration of the host |
//! | `systemd/system/alys.target.d/10-host.conf` | which roles run here |
//! | `systemd/system/<unit>.d/20-host.conf` | ports, secrets, limits of a role on this host |
//! | `systemd/system/alys-sync@<n>.service.d/30-worker.conf` | ports of a worker; one without it dials the others and has no metrics |

mod governance;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use alys_proto::Role;

use super::config::{Place, alys_toml};
use super::topology::{Host, SINGLETONS, Topology};
use super::{Tree, credentials, job};

/// What is written for these topologies.
pub fn generate(topologies: &[Topology]) -> Tree {
    let mut tree = Tree::default();
    tree.add("units/system/alys-.service.d/10-alys.conf", include_str!("service.conf"));
    tree.add("units/system/alys.target", include_str!("alys.target"));
    tree.add("units/system/alys.slice", include_str!("alys.slice"));
    tree.add("units/sysusers.conf", include_str!("sysusers.conf"));
    tree.add("units/tmpfiles.conf", include_str!("tmpfiles.conf"));
    tree.add("units/alysctl", include_str!("alysctl"));
    tree.add("units/backoff-254.conf", include_str!("backoff.conf"));
    tree.add("units/polkit.rules", include_str!("polkit.rules"));
    for role in SINGLETONS.into_iter().chain([Role::Supervisor, Role::Sync]) {
        tree.add(format!("units/system/{}", template(role)), unit(role));
    }
    tree.add("units/system/alys-governance.service", GOVERNANCE);
    for topology in topologies {
        governance::add(&mut tree, topology);
        for (name, host) in &topology.hosts {
            let etc = format!("{}/{name}/etc", topology.name);
            tree.add(format!("{etc}/alys/alys.toml"), alys_toml(topology, Place::Host(name)));
            tree.add(format!("{etc}/systemd/system/alys.target.d/10-host.conf"), target(topology, name, host));
            for role in running(topology, name, host) {
                tree.add(format!("{etc}/systemd/system/{}.d/20-host.conf", template(role)), drop_in(topology, name, host, role));
            }
            for worker in 1..=host.sync {
                let text = format!(
                    "# The {worker}. sync worker of host {name}. Written by `alys generate systemd`.\n[Service]\n{}",
                    ports(topology, host, Role::Sync, worker)
                );
                tree.add(format!("{etc}/systemd/system/alys-sync@{worker}.service.d/30-worker.conf"), text);
            }
        }
    }
    tree
}

const GOVERNANCE: &str = include_str!("governance.service");

/// The unit of a role; that of sync is a template.
fn template(role: Role) -> String {
    if role == Role::Sync { "alys-sync@.service".to_owned() } else { format!("alys-{role}.service") }
}

/// The roles of a host, sync once.
fn running(topology: &Topology, name: &str, host: &Host) -> Vec<Role> {
    let mut roles: Vec<Role> = topology.processes(name, host).map(|(role, _)| role).collect();
    roles.dedup();
    roles
}

/// Where a role keeps files of its own.
const fn keeps_files(role: Role) -> bool {
    matches!(role, Role::Storage | Role::Engine | Role::Network | Role::Supervisor)
}

/// A unit: what differs between roles.
fn unit(role: Role) -> String {
    let (instance, arguments, behind) = match role {
        Role::Sync => (" %i", format!("{role} --instance {role}-%i"), ""),
        // What it notes of orders is in its own folder.
        Role::Supervisor => ("", role.to_string(), " --set data_dir=/var/lib/alys/supervisor"),
        _ => ("", role.to_string(), ""),
    };
    let after: Vec<String> = role.depends_on().iter().map(|before| format!(" alys-{before}.service")).collect();
    let mut text = format!(
        "# Written by `alys generate systemd`. What it has in common with the other roles is in alys-.service.d/10-alys.conf.\n\
         [Unit]\n\
         Description=Alys {role}{instance}: {}\n",
        job(role),
    );
    // On one host an order saves retries; roles on other hosts are waited for by the role itself.
    let _written = writeln!(text, "After=network-online.target{}", after.concat());
    let _written =
        write!(text, "\n[Service]\nExecStart=/usr/local/bin/alys role {arguments} --config /etc/alys/alys.toml{behind}\n");
    if role == Role::Network {
        text.push_str("# To hear of addresses that come and go.\nRestrictAddressFamilies=AF_NETLINK\n");
    }
    if keeps_files(role) {
        let _written = write!(
            text,
            "StateDirectory=alys/{role}\nStateDirectoryMode=0700\n# The only folder below /var/lib/alys that it sees.\nBindPaths=/var/lib/alys/{role}\n",
        );
    }
    text
}

/// Which roles run on a host.
fn target(topology: &Topology, name: &str, host: &Host) -> String {
    let mut text = format!("# Host {name}. Written by `alys generate systemd`.\n[Unit]\n");
    for (role, worker) in topology.processes(name, host) {
        let unit = if role == Role::Sync { format!("alys-sync@{worker}") } else { format!("alys-{role}") };
        let _written = writeln!(text, "Wants={unit}.service");
    }
    text
}

/// What a role has of its host: port, secrets, limits.
fn drop_in(topology: &Topology, name: &str, host: &Host, role: Role) -> String {
    let resources = topology.resources(role);
    let mut text = format!("# {role} on host {name}. Written by `alys generate systemd`.\n[Service]\n");
    if role != Role::Sync {
        text.push_str(&ports(topology, host, role, 0));
    }
    let secrets = if text.ends_with("[Service]\n") { "" } else { "\n" };
    text.push_str(secrets);
    text.push_str("# Readable by nobody but root; the role gets copies that only it can read.\n");
    for file in credentials::of(role, topology, topology.meshed()) {
        let _written = writeln!(text, "LoadCredential={file}:/etc/alys/credentials/{role}/{file}");
    }
    let _written = write!(
        text,
        "\nMemoryHigh={}\nMemoryMax={}\nCPUWeight={}\n",
        resources.memory.percent(90).systemd(),
        resources.memory.systemd(),
        resources.cpu.weight(),
    );
    if let Some(addresses) = only_mesh(topology, role) {
        let _written =
            write!(text, "\n# It talks to roles and to nobody else.\nIPAddressDeny=any\nIPAddressAllow=localhost{addresses}\n");
    }
    text
}

/// Where a process is reached: by roles of other hosts, and by a collector of metrics on its own.
fn ports(topology: &Topology, host: &Host, role: Role, worker: u32) -> String {
    let mesh = topology.mesh_port(role, worker).filter(|_| topology.meshed());
    let mesh = mesh.map(|port| SocketAddr::new(host.address, port));
    let telemetry = topology.telemetry_port(role, worker).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let line = |about, name, address| format!("# {about}.\nEnvironment=ALYS_CLUSTER__{name}__LISTEN={address}\n");
    let mesh = mesh.map(|address| line("Where roles of other hosts reach it", "MESH", address));
    let telemetry = telemetry.map(|address| line("Metrics and probes", "TELEMETRY", address));
    mesh.into_iter().chain(telemetry).collect()
}

/// The addresses that a role without business outside needs.
fn only_mesh(topology: &Topology, role: Role) -> Option<String> {
    let hosts = || topology.hosts.values().map(|host| format!(" {}", host.address)).collect();
    matches!(role, Role::Storage | Role::Chain | Role::Sync | Role::Supervisor).then(hosts)
}
