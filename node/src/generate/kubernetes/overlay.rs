//! What a topology adds to the base.

use std::fmt::Write as _;

use alys_proto::Role;

use super::{WRITTEN, governance, supervisor};
use crate::generate::config::{Place, alys_toml};
use crate::generate::members::{self, label};
use crate::generate::topology::{Bitcoind, SINGLETONS, Topology};
use crate::generate::{Tree, credentials};

/// Adds the overlay of a topology.
pub(super) fn add(tree: &mut Tree, topology: &Topology) {
    let folder = format!("overlays/{}", topology.name);
    tree.add(format!("{folder}/alys.toml"), alys_toml(topology, Place::Pod));
    tree.add(format!("{folder}/secrets.sh"), secrets(topology));
    tree.add(format!("{folder}/kustomization.yaml"), kustomization(topology));
    if topology.supervisor_host().is_some() {
        tree.add(format!("{folder}/supervisor.yaml"), supervisor::file());
    }
    for (name, member) in &topology.governance {
        for (file, text) in governance::files(topology, name, member, bitcoind_port(&member.bitcoind)) {
            tree.add(format!("{folder}/{file}"), text);
        }
    }
}

fn kustomization(topology: &Topology) -> String {
    let settings = &topology.kubernetes;
    let (name, tag) =
        settings.image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((&settings.image, "latest"));
    let each = |text: fn(String) -> String| topology.governance.keys().map(|name| text(label(name))).collect::<String>();
    let watched = topology.supervisor_host().map_or("", |_| "  - supervisor.yaml\n");
    let members = format!("{watched}{}", each(|label| format!("  - {label}.yaml\n")));
    let configs = each(|label| format!("  - name: alys-{label}\n    files: [alys.toml={label}.toml]\n"));
    let mut text = format!(
        "# {}: {}.\n{WRITTEN}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {}\nresources:\n  - ../../base\n{members}\
         images:\n  - name: alys\n    newName: {name}\n    newTag: \"{tag}\"\n\
         # Its name ends in a hash of its content: a change rolls the pods.\nconfigMapGenerator:\n  - name: alys-config\n    files: [alys.toml]\n{configs}\
         patches:\n",
        topology.name, topology.about, settings.namespace,
    );
    for role in SINGLETONS.into_iter().chain([Role::Sync]) {
        text.push_str(&resources(topology, role));
    }
    if let Some(class) = &settings.storage_class {
        for name in topology.governance.keys() {
            let change = ("add", "/spec/volumeClaimTemplates/0/spec/storageClassName", class.clone());
            text.push_str(&patch("StatefulSet", &format!("alys-{}", label(name)), &[change]));
        }
    }
    text.push_str(&patch(
        "HorizontalPodAutoscaler",
        "alys-sync",
        &[
            ("replace", "/spec/minReplicas", topology.sync().max(1).to_string()),
            ("replace", "/spec/maxReplicas", settings.most_sync.max(topology.sync()).max(1).to_string()),
        ],
    ));
    text.push_str(&patch(
        "NetworkPolicy",
        "alys-bridge",
        &[("replace", "/spec/egress/0/ports/0/port", bitcoind_port(&topology.bitcoind).to_string())],
    ));
    if topology.eth_rpc.public {
        // An entry without `from` lets in everybody.
        text.push_str(&patch(
            "NetworkPolicy",
            "alys-engine",
            &[("replace", "/spec/ingress/0", "{ports: [{port: eth-rpc}]}".into())],
        ));
    }
    text
}

fn resources(topology: &Topology, role: Role) -> String {
    let figures = topology.resources(role);
    let kind = if role == Role::Sync { "Deployment" } else { "StatefulSet" };
    let path = |name: &str| format!("/spec/template/spec/containers/0/resources/{name}");
    let (cpu, memory, limit) = (path("requests/cpu"), path("requests/memory"), path("limits/memory"));
    let mut changes = vec![
        ("replace", cpu.as_str(), format!("\"{}\"", figures.cpu)),
        ("replace", memory.as_str(), figures.memory.to_string()),
        ("replace", limit.as_str(), figures.memory.to_string()),
    ];
    if let Some(disk) = figures.disk {
        changes.push(("replace", "/spec/volumeClaimTemplates/0/spec/resources/requests/storage", disk.to_string()));
        if let Some(class) = &topology.kubernetes.storage_class {
            changes.push(("add", "/spec/volumeClaimTemplates/0/spec/storageClassName", class.clone()));
        }
    }
    patch(kind, &format!("alys-{role}"), &changes)
}

fn patch(kind: &str, name: &str, changes: &[(&str, &str, String)]) -> String {
    let mut text = format!("  - target: {{kind: {kind}, name: {name}}}\n    patch: |-\n");
    for (operation, path, value) in changes {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "      - {{op: {operation}, path: {path}, value: {value}}}");
    }
    text
}

/// The port in bitcoind's address, or that of its scheme.
fn bitcoind_port(bitcoind: &Bitcoind) -> u16 {
    let url = &bitcoind.url;
    let usual = if url.starts_with("https://") { 443 } else { 80 };
    let authority = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default();
    authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual)
}

/// A script for the operator: Secrets never lie beside manifests.
fn secrets(topology: &Topology) -> String {
    let namespace = &topology.kubernetes.namespace;
    let mut text = format!(
        "#!/bin/sh\n# Makes or renews the Secrets of {name}, and the chain specification, in namespace {namespace}.\n\
         # Written by `alys generate kubernetes`. Before: alys generate credentials --topology {name}.toml --out DIR\n\
         #\n#   secrets.sh DIR CHAIN.TOML\nset -eu\ncredentials=${{1:?the folder that alys generate credentials made}}\n\
         specification=${{2:?the chain specification}}\n\n\
         apply() {{ # kind, name, what of\n    kubectl create \"$@\" --namespace {namespace} --dry-run=client --output=yaml | kubectl apply --namespace {namespace} --filename=-\n}}\n\n",
        name = topology.name,
    );
    for role in credentials::holders_in(topology) {
        let _written = write!(text, "apply secret generic alys-{role}");
        for file in credentials::of(role, topology, true) {
            let _written = write!(text, " \\\n    --from-file=\"$credentials/{role}/{file}\"");
        }
        text.push('\n');
    }
    for name in topology.governance.keys() {
        let label = label(name);
        let _written = write!(text, "apply secret generic alys-{label}");
        for file in members::FILES {
            let _written = write!(text, " \\\n    --from-file=\"$credentials/{label}/{file}\"");
        }
        text.push('\n');
    }
    text.push_str("apply configmap alys-chain --from-file=chain.toml=\"$specification\"\n");
    text
}
