//! What a topology adds to the base.

use std::fmt::Write as _;

use alys_proto::Role;

use super::WRITTEN;
use crate::generate::config::{Place, alys_toml};
use crate::generate::topology::{SINGLETONS, Topology};
use crate::generate::{Tree, credentials};

/// Adds the overlay of a topology.
pub(super) fn add(tree: &mut Tree, topology: &Topology) {
    let folder = format!("overlays/{}", topology.name);
    tree.add(format!("{folder}/alys.toml"), alys_toml(topology, Place::Pod));
    tree.add(format!("{folder}/secrets.sh"), secrets(topology));
    tree.add(format!("{folder}/kustomization.yaml"), kustomization(topology));
}

fn kustomization(topology: &Topology) -> String {
    let settings = &topology.kubernetes;
    let (name, tag) =
        settings.image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((&settings.image, "latest"));
    let mut text = format!(
        "# {}: {}.\n{WRITTEN}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {}\nresources:\n  - ../../base\n\
         images:\n  - name: alys\n    newName: {name}\n    newTag: \"{tag}\"\n\
         # Its name ends in a hash of its content: a change rolls the pods.\nconfigMapGenerator:\n  - name: alys-config\n    files: [alys.toml]\n\
         patches:\n",
        topology.name, topology.about, settings.namespace,
    );
    for role in SINGLETONS.into_iter().chain([Role::Sync]) {
        text.push_str(&resources(topology, role));
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
        &[("replace", "/spec/egress/0/ports/0/port", bitcoind_port(topology).to_string())],
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
fn bitcoind_port(topology: &Topology) -> u16 {
    let url = &topology.bitcoind.url;
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
    for role in credentials::holders() {
        let _written = write!(text, "apply secret generic alys-{role}");
        for file in credentials::of(role, topology, true) {
            let _written = write!(text, " \\\n    --from-file=\"$credentials/{role}/{file}\"");
        }
        text.push('\n');
    }
    text.push_str("apply configmap alys-chain --from-file=chain.toml=\"$specification\"\n");
    text
}
