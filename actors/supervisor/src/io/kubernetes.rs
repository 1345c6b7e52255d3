//! The Kubernetes that runs the roles, through its API as the supervisor's service account. Names are those that
//! `alys generate kubernetes` gives: workload `alys-<role>`, pod `alys-<role>-0`.
//!
//! | what must be | request |
//! |---|---|
//! | one that does not go by itself is replaced | its pod is deleted; its workload makes another. A worker is left to its liveness probe |
//! | one is kept away, one is started again | `scale` of its StatefulSet to 0, to 1 |
//! | so many sync workers | `minReplicas` of their autoscaler, when there is one; `scale` of their Deployment |
//!
//! A pod is deleted and not evicted: a disruption budget that keeps a healthy pod must not keep one that hangs.

use std::time::Duration;

use alys_proto::Role;
use kube::core::Request;
use kube::core::params::{DeleteParams, GetParams, Patch, PatchParams};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::core::platform::Action;
use crate::supervision::is_scalable;

/// What the downward API tells the supervisor's pod.
const NAMESPACE: &str = "POD_NAMESPACE";
const PATIENCE: Duration = Duration::from_secs(10);

/// Why Kubernetes does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// This process is no pod with a service account.
    #[error("this process has no access to an API of Kubernetes: it is no pod, or its service account is not mounted")]
    NoAccess(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request could not be made or read.
    #[error("{asked}: the API does not answer")]
    Unreachable {
        /// What was asked.
        asked: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// There is no such object.
    #[error("{0}: there is none in this namespace")]
    Unknown(String),
    /// The service account may not.
    #[error("{0}: the service account of the supervisor may not (its Role is in supervisor.yaml of the overlay)")]
    Forbidden(String),
    /// The API refused.
    #[error("{asked}: {said} ({code})")]
    Refused {
        /// What was asked.
        asked: String,
        /// What it says.
        said: String,
        /// HTTP status.
        code: u16,
    },
    /// Its name is another one every time, so no right can name it.
    #[error("{0} is a worker: when it makes no progress its liveness probe ends it")]
    Left(String),
    /// It takes too long.
    #[error("{0}: no answer within {PATIENCE:?}")]
    Silent(String),
}

/// The API of the cluster, in one namespace.
#[derive(Clone)]
pub struct Api {
    client: Client,
    namespace: String,
}

impl Api {
    /// From the pod that this process is in: account, address and certificate as Kubernetes mounts them.
    ///
    /// # Errors
    /// This is no pod, or it has no account.
    pub fn in_cluster() -> Result<Self, Fault> {
        let config = Config::incluster().map_err(|cause| Fault::NoAccess(cause.into()))?;
        let namespace = std::env::var(NAMESPACE).unwrap_or_else(|_| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|cause| Fault::NoAccess(cause.into()))?;
        Ok(Self::new(client, namespace))
    }

    /// Through this client.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// Ends, keeps away or starts an instance.
    ///
    /// # Errors
    /// The API refused or did not answer.
    pub async fn tell(&self, action: Action, role: Role, instance: &str) -> Result<(), Fault> {
        match action {
            Action::Restart if is_scalable(role) => Err(Fault::Left(instance.to_owned())),
            Action::Restart => self.delete_pod(&format!("{}-0", workload(role))).await,
            Action::Stop => self.scale("statefulsets", role, 0).await,
            Action::Start => self.scale("statefulsets", role, 1).await,
        }
    }

    /// Runs so many workers of sync, and has the autoscaler keep at least as many.
    ///
    /// # Errors
    /// The API refused or did not answer.
    pub async fn scale_workers(&self, role: Role, count: u32) -> Result<(), Fault> {
        let autoscalers = Request::new(self.path("autoscaling/v2", "horizontalpodautoscalers"));
        let name = workload(role);
        let asked = format!("get autoscaler {name}");
        match self.send(&asked, autoscalers.get(&name, &GetParams::default())).await {
            Ok(found) => {
                // It would undo the order within seconds; it may still add workers, as it does now.
                let most = found.pointer("/spec/maxReplicas").and_then(Value::as_u64).unwrap_or(0).max(count.into());
                let patch = Patch::Merge(json!({ "spec": { "minReplicas": count, "maxReplicas": most } }));
                let asked = format!("patch autoscaler {name}");
                self.send(&asked, autoscalers.patch(&name, &PatchParams::default(), &patch)).await?;
            }
            Err(Fault::Unknown(_)) => {}
            Err(fault) => return Err(fault),
        }
        self.scale("deployments", role, count).await
    }

    async fn delete_pod(&self, name: &str) -> Result<(), Fault> {
        let pods = Request::new(format!("/api/v1/namespaces/{}/pods", self.namespace));
        self.send(&format!("delete pod {name}"), pods.delete(name, &DeleteParams::default())).await.map(drop)
    }

    async fn scale(&self, kind: &str, role: Role, count: u32) -> Result<(), Fault> {
        let (name, workloads) = (workload(role), Request::new(self.path("apps/v1", kind)));
        let patch = Patch::Merge(json!({ "spec": { "replicas": count } }));
        let asked = format!("scale {kind}/{name} to {count}");
        self.send(&asked, workloads.patch_subresource("scale", &name, &PatchParams::default(), &patch)).await.map(drop)
    }

    fn path(&self, group: &str, kind: &str) -> String {
        format!("/apis/{group}/namespaces/{}/{kind}", self.namespace)
    }

    async fn send(
        &self,
        asked: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, Fault> {
        let request = request.map_err(|cause| {
            let source = Box::new(kube::Error::BuildRequest(cause));
            Fault::Unreachable { asked: asked.to_owned(), source }
        })?;
        match tokio::time::timeout(PATIENCE, self.client.request::<Value>(request)).await {
            Ok(answer) => answer.map_err(|cause| fault(asked, cause)),
            Err(_elapsed) => Err(Fault::Silent(asked.to_owned())),
        }
    }
}

fn fault(asked: &str, cause: kube::Error) -> Fault {
    let asked = asked.to_owned();
    match cause {
        kube::Error::Api(status) => match status.code {
            404 => Fault::Unknown(asked),
            401 | 403 => Fault::Forbidden(asked),
            code => Fault::Refused { asked, said: status.message.clone(), code },
        },
        other => Fault::Unreachable { asked, source: Box::new(other) },
    }
}

/// StatefulSet or Deployment of a role.
fn workload(role: Role) -> String {
    format!("alys-{role}")
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;
