//! What runs: a StatefulSet of one for each singleton, a Deployment for sync, and one of none for commands of operators.

use alys_proto::Role;

use super::{Offer, fill, offers};
use crate::generate::job;
use crate::generate::topology::Ports;

/// SIGTERM drains, but clients from outside come until they have heard that the pod goes.
const PAUSE: &str = "lifecycle:
  preStop:
    # SIGTERM, which drains, comes when clients outside have heard that the pod goes.
    sleep:
      seconds: 3
";

const SCRATCH: &str = "- name: scratch
  emptyDir:
    sizeLimit: 64Mi
";

pub(super) const CLAIM: &str = "volumeClaimTemplates:
  - metadata:
      name: data
    spec:
      accessModes: [ReadWriteOncePod]
      resources:
        requests:
          storage: 1Gi
";

/// Whether a role keeps files of its own.
const fn keeps_files(role: Role) -> bool {
    matches!(role, Role::Storage | Role::Engine | Role::Network)
}

fn labels(role: Role) -> String {
    let kind = match role {
        Role::Sync => "worker",
        Role::Debug => "tool",
        _ => "singleton",
    };
    format!("app.kubernetes.io/name: {role}\napp.kubernetes.io/part-of: alys\nalys.role/kind: {kind}\n")
}

/// The workload of a role.
pub(super) fn workload(role: Role) -> String {
    let kind = if matches!(role, Role::Sync | Role::Debug) { "Deployment" } else { "StatefulSet" };
    let (files, scratch, claim) = if keeps_files(role) {
        // A folder of the volume: its root may hold what the file system keeps there.
        (format!("- name: data\n  mountPath: /var/lib/alys/{role}\n  subPath: {role}\n"), "", CLAIM)
    } else {
        ("- name: scratch\n  mountPath: /var/lib/alys\n".to_owned(), SCRATCH, "")
    };
    fill(
        include_str!("workload.yaml"),
        &[
            ("ROLE", role.name()),
            ("JOB", job(role)),
            ("KIND", kind),
            ("PART", "alys"),
            ("CONFIG", "alys-config"),
            ("LABELS", &labels(role)),
            ("COUNT", &count(role)),
            ("ARGUMENTS", &arguments(role)),
            ("ENVIRONMENT", environment(role)),
            ("SERVES", &serves(role)),
            ("PAUSE", if offers(role).is_empty() { "" } else { PAUSE }),
            ("FILES", &files),
            ("SCRATCH", scratch),
            ("CLAIM", claim),
        ],
    )
}

fn count(role: Role) -> String {
    match role {
        Role::Sync => "# How many is the autoscaler's business.\nstrategy:\n  rollingUpdate:\n    maxUnavailable: 1\n".to_owned(),
        Role::Debug => "# None, until somebody wants to look: kubectl scale deployment alys-debug --replicas=1, then\n\
             # kubectl exec -it deployment/alys-debug -- /usr/local/bin/alys status\nreplicas: 0\n"
            .to_owned(),
        _ => format!(
            "# One, and never two: a StatefulSet replaces a pod only when the old one is known to be gone.\n\
             replicas: 1\nserviceName: alys-{role}\n"
        ),
    }
}

fn arguments(role: Role) -> String {
    match role {
        // It only has to stay.
        Role::Debug => "[status, --watch]".to_owned(),
        // Its name is the pod's: every worker has another.
        Role::Sync => format!("[role, {role}, --instance, $(POD_NAME), --config, /etc/alys/alys.toml]"),
        _ => format!("[role, {role}, --config, /etc/alys/alys.toml]"),
    }
}

const fn environment(role: Role) -> &'static str {
    match role {
        Role::Debug => "- name: ALYS_CONFIG\n  value: /etc/alys/alys.toml\n",
        // Where the pods are that it asks for.
        Role::Supervisor => "- name: POD_NAMESPACE\n  valueFrom:\n    fieldRef:\n      fieldPath: metadata.namespace\n",
        Role::Sync => "- name: POD_NAME\n  valueFrom:\n    fieldRef:\n      fieldPath: metadata.name\n",
        _ => "",
    }
}

/// Ports and probes.
fn serves(role: Role) -> String {
    if role == Role::Debug {
        return String::new();
    }
    let container_port =
        |Offer { name, port, protocol }: &Offer| format!("- name: {name}\n  containerPort: {port}\n  protocol: {protocol}\n");
    let offered: String = offers(role).iter().map(container_port).collect();
    let mesh = format!("- name: mesh\n  containerPort: {}\n", Ports::USUAL.mesh);
    let telemetry = Ports::USUAL.telemetry.to_string();
    fill(include_str!("serves.yaml"), &[("MESH", &mesh), ("TELEMETRY", &telemetry), ("OFFERS", &offered)])
}

/// The headless service under whose name the others find a role. Nobody looks for one that only looks.
pub(super) fn service(role: Role) -> Option<String> {
    let (labels, mesh, telemetry) = (labels(role), Ports::USUAL.mesh.to_string(), Ports::USUAL.telemetry.to_string());
    let values = [("ROLE", role.name()), ("LABELS", labels.as_str()), ("MESH", &mesh), ("TELEMETRY", &telemetry)];
    (role != Role::Debug).then(|| fill(include_str!("service.yaml"), &values))
}

/// What clients outside of the mesh connect to.
pub(super) fn client_service(role: Role) -> Option<String> {
    let first = offers(role).first()?;
    let service_port = |Offer { name, port, protocol }: &Offer| {
        format!("- name: {name}\n  port: {port}\n  protocol: {protocol}\n  targetPort: {name}\n")
    };
    let (ports, labels): (String, _) = (offers(role).iter().map(service_port).collect(), labels(role));
    let values = [("ROLE", role.name()), ("LABELS", labels.as_str()), ("NAME", first.name), ("PORTS", &ports)];
    Some(fill(include_str!("client-service.yaml"), &values))
}
