//! Governance nodes: pods of an overlay that are no part of the cluster. Their label is another one, so the policy that lets
//! roles talk to each other does not hold for them.

use super::workload::CLAIM;
use super::{WRITTEN, fill};
use crate::generate::config::Place;
use crate::generate::members::{Member, alys_toml, label};
use crate::generate::topology::{Ports, Topology};

/// What their pods carry instead of the cluster's `alys`.
const PART: &str = "alys-governance";

/// Files of the overlay for a member: its objects and its configuration, by name.
pub(super) fn files(topology: &Topology, name: &str, member: &Member, bitcoind_port: u16) -> [(String, String); 2] {
    let label = label(name);
    let config = alys_toml(topology, name, member, Place::Pod);
    let objects = format!("{WRITTEN}{}---\n{}", workload(name), rest(&label, bitcoind_port));
    [(format!("{label}.yaml"), objects), (format!("{label}.toml"), config)]
}

fn workload(name: &str) -> String {
    let label = label(name);
    let telemetry = Ports::USUAL.telemetry.to_string();
    let serves = fill(include_str!("serves.yaml"), &[("MESH", ""), ("TELEMETRY", &telemetry), ("OFFERS", "")]);
    fill(
        include_str!("workload.yaml"),
        &[
            ("ROLE", label.as_str()),
            ("JOB", &format!("the governance node of {name}: checks, approves and signs")),
            ("KIND", "StatefulSet"),
            ("PART", PART),
            ("CONFIG", &format!("alys-{label}")),
            ("LABELS", &format!("app.kubernetes.io/name: {label}\napp.kubernetes.io/part-of: {PART}\n")),
            ("COUNT", &format!("# One, and never two: its key signs in one place.\nreplicas: 1\nserviceName: alys-{label}\n")),
            ("ARGUMENTS", "[governance, --config, /etc/alys/alys.toml]"),
            ("ENVIRONMENT", ""),
            ("SERVES", &serves),
            ("PAUSE", ""),
            ("FILES", "- name: data\n  mountPath: /var/lib/alys/governance\n  subPath: governance\n"),
            ("SCRATCH", ""),
            ("CLAIM", CLAIM),
        ],
    )
}

/// Service and policy.
fn rest(label: &str, bitcoind_port: u16) -> String {
    let (telemetry, bitcoind) = (Ports::USUAL.telemetry.to_string(), bitcoind_port.to_string());
    let values = [("ROLE", label), ("PART", PART), ("TELEMETRY", &telemetry), ("BITCOIND", &bitcoind)];
    fill(include_str!("governance.yaml"), &values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::generate::topology::EXAMPLE;

    #[test]
    fn no_place_is_left_unfilled() {
        let topology = Topology::parse(EXAMPLE).unwrap();
        let (name, member) = topology.governance.first_key_value().unwrap();
        for (file, text) in files(&topology, name, member, 8_332) {
            assert!(!text.contains('@'), "{file}: {text}");
        }
    }
}
