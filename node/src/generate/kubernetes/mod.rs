//! Kubernetes manifests: a kustomize base that is the same for every topology, and an overlay for each.
//!
//! | in `base/` | is |
//! |---|---|
//! | `namespace.yaml` | pods are held to the `restricted` standard |
//! | `<role>.yaml` | workload, services and network policy of a role |
//! | `policies.yaml` | nothing is allowed that no role asks for |
//!
//! | in `overlays/<topology>/` | is |
//! |---|---|
//! | `alys.toml` | configuration of every pod; a change of it rolls the pods |
//! | `kustomization.yaml` | image, resources, volumes, bounds of the number of workers |
//! | `governance-<member>.yaml`, `.toml` | a governance node beside the cluster |
//! | `supervisor.yaml` | the supervisor and its account, where the topology wants one |
//! | `secrets.sh` | makes the Secrets from what `alys generate credentials` made |
//!
//! | role | workload | why |
//! |---|---|---|
//! | all but sync | StatefulSet of one | never two at once: a pod is replaced only when the old one is known to be gone, also when its node is not; a Deployment gives no such promise |
//! | a governance node | StatefulSet of one | its key signs in one place |
//! | sync | Deployment and autoscaler | any number of equals |
//! | debug | Deployment of none | a place for commands of operators, when they want one |

mod governance;
mod overlay;
mod policy;
mod supervisor;
mod workload;

use alys_proto::Role;

use super::Tree;
use super::topology::{Ports, SINGLETONS, Topology};

const WRITTEN: &str = "# Written by `alys generate kubernetes`; wishes of your own belong into an overlay of yours.\n";

/// What is written for these topologies.
pub fn generate(topologies: &[Topology]) -> Tree {
    let mut tree = Tree::default();
    let roles = || SINGLETONS.into_iter().chain([Role::Sync, Role::Debug]);
    tree.add("base/namespace.yaml", format!("{WRITTEN}{}", include_str!("namespace.yaml")));
    tree.add("base/policies.yaml", format!("{WRITTEN}{}", include_str!("policies.yaml")));
    for role in roles() {
        tree.add(format!("base/{role}.yaml"), format!("{WRITTEN}{}", role_file(role)));
    }
    let resources: String = roles().map(|role| format!("  - {role}.yaml\n")).collect();
    tree.add(
        "base/kustomization.yaml",
        format!(
            "{WRITTEN}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - namespace.yaml\n  - policies.yaml\n{resources}"
        ),
    );
    for topology in topologies {
        overlay::add(&mut tree, topology);
    }
    tree
}

/// All objects of a role.
fn role_file(role: Role) -> String {
    let mut documents = vec![workload::workload(role)];
    documents.extend(workload::service(role));
    documents.extend(workload::client_service(role));
    documents.push(policy::network_policy(role));
    if role == Role::Sync {
        documents.push(include_str!("sync-scale.yaml").to_owned());
    }
    documents.join("---\n")
}

/// A port for others than roles.
struct Offer {
    name: &'static str,
    port: u16,
    protocol: &'static str,
}

const fn offer(name: &'static str, port: u16, protocol: &'static str) -> Offer {
    Offer { name, port, protocol }
}

/// What a role offers to others than roles; the first gives the service its name.
const fn offers(role: Role) -> &'static [Offer] {
    const ENGINE: &[Offer] = &[offer("eth-rpc", Ports::USUAL.eth_rpc, "TCP")];
    const STREAM: &[Offer] = &[offer("governance", Ports::USUAL.governance, "TCP")];
    const NETWORK: &[Offer] = &[offer("p2p", Ports::USUAL.p2p, "TCP"), offer("p2p-quic", Ports::USUAL.p2p, "UDP")];
    match role {
        Role::Engine => ENGINE,
        Role::Stream => STREAM,
        Role::Network => NETWORK,
        _ => &[],
    }
}

/// Puts values in the place of their `@NAME@`. One that stands alone on a line is a block: it takes the line's margin, and
/// the line goes when the block is empty.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    for line in template.lines() {
        let content = line.trim_start();
        let margin = line.len().saturating_sub(content.len());
        let block =
            values.iter().find(|(name, _)| content.strip_prefix('@').and_then(|rest| rest.strip_suffix('@')) == Some(name));
        if let Some((_, block)) = block {
            for line in block.lines() {
                filled.push_str(&format!("{:margin$}{line}\n", ""));
            }
            continue;
        }
        let whole = values.iter().fold(line.to_owned(), |line, (name, value)| line.replace(&format!("@{name}@"), value));
        filled.push_str(&whole);
        filled.push('\n');
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_take_the_margin_of_their_place() {
        let template = "a: @A@\nb:\n  @B@\n  @C@\n";
        assert_eq!(fill(template, &[("A", "1"), ("B", "c:\n  d: 2\n"), ("C", "")]), "a: 1\nb:\n  c:\n    d: 2\n");
    }

    #[test]
    fn no_place_is_left_unfilled() {
        for role in SINGLETONS.into_iter().chain([Role::Sync, Role::Debug]) {
            assert!(!role_file(role).contains('@'), "{role}");
        }
    }
}
