//! The supervisor: a pod of an overlay whose topology wants one, with an account of its own. The account may do what
//! `alys_supervisor::io::kubernetes` asks for and nothing else, by name: it cannot end a governance node beside the cluster.

use alys_proto::Role;

use super::{WRITTEN, fill, workload};
use crate::generate::topology::SINGLETONS;

/// All other pods get no token.
const WITHOUT: &str = "automountServiceAccountToken: false\n";
const WITH: &str = "serviceAccountName: alys-supervisor\n      # It asks the API to replace, keep away and count pods.\n      automountServiceAccountToken: true\n";

/// Where an API server listens; its address is nobody's to know here.
const API: &str = "egress:
  # The API of this cluster, wherever it is.
  - ports:
      - port: 443
      - port: 6443
";

/// Its file in the overlay.
pub(super) fn file() -> String {
    let names = |suffix: &str| {
        let names: Vec<String> = SINGLETONS.into_iter().map(|role| format!("alys-{role}{suffix}")).collect();
        format!("[{}]", names.join(", "))
    };
    let (pods, workloads) = (names("-0"), names(""));
    let policy = [("ROLE", Role::Supervisor.name()), ("INGRESS", "ingress: []\n"), ("EGRESS", API)];
    let documents = [
        workload::workload(Role::Supervisor).replace(WITHOUT, WITH),
        workload::service(Role::Supervisor).unwrap_or_default(),
        fill(include_str!("policy.yaml"), &policy),
        fill(include_str!("supervisor.yaml"), &[("PODS", &pods), ("WORKLOADS", &workloads)]),
    ];
    format!("{WRITTEN}{}", documents.join("---\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_account_may_do_what_it_asks_for_and_no_more() {
        let text = file();
        let (pod, _) = text.split_once("kind: ServiceAccount\n").unwrap_or_default();
        assert!(!text.contains('@') && pod.contains(WITH) && !pod.contains(WITHOUT), "{text}");
        let (_, role) = text.split_once("kind: Role\n").unwrap_or_default();
        let (role, _) = role.split_once("---\n").unwrap_or_default();
        assert_eq!(role.matches("- apiGroups").count(), role.matches("resourceNames").count(), "a right on everything: {role}");
        assert!(role.contains("alys-storage-0") && !role.contains("secrets") && !role.contains('*'), "{role}");
        let verbs: Vec<&str> = role.lines().filter_map(|line| line.trim().strip_prefix("verbs: ")).collect();
        assert_eq!(verbs, ["[delete]", "[patch]", "[patch]", "[get, patch]"]);
    }
}
