//! Against recorded exchanges of the API, as its reference describes them; no real API server was run.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request as Http, Response, StatusCode};
use kube::client::Body;

use super::*;

/// One request that is expected, and the answer to it.
struct Exchange {
    request: &'static str,
    body: Value,
    status: u16,
    answer: Value,
}

fn exchange(request: &'static str, body: Value, answer: Value) -> Exchange {
    Exchange { request, body, status: 200, answer }
}

/// As the API refuses.
fn refusal(request: &'static str, body: Value, status: u16, reason: &str, message: &str) -> Exchange {
    let answer = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status
    });
    Exchange { request, body, status, answer }
}

/// Answers as recorded, and nothing else.
fn api(exchanges: Vec<Exchange>) -> (Api, Arc<Mutex<VecDeque<Exchange>>>) {
    let left = Arc::new(Mutex::new(VecDeque::from(exchanges)));
    let recorded = left.clone();
    let service = tower::service_fn(move |request: Http<Body>| {
        let recorded = recorded.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let exchange = recorded.lock().unwrap().pop_front();
            let line = format!("{} {}", parts.method, parts.uri.path());
            let Some(exchange) = exchange else { panic!("one request too many: {line}") };
            assert_eq!(line, exchange.request);
            let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
            assert_eq!(body, exchange.body, "{line}");
            if line.starts_with("PATCH") {
                assert_eq!(parts.headers["content-type"], "application/merge-patch+json");
            }
            let answer = Response::builder().status(StatusCode::from_u16(exchange.status).unwrap());
            Ok::<_, Infallible>(answer.body(Body::from(exchange.answer.to_string().into_bytes())).unwrap())
        }
    });
    (Api::new(Client::new(service, "alys"), "alys".into()), left)
}

fn scaled(kind: &str, count: u32) -> Value {
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": { "name": kind }, "spec": { "replicas": count } })
}

fn replicas(count: u32) -> Value {
    json!({ "spec": { "replicas": count } })
}

#[tokio::test]
async fn one_that_must_go_loses_its_pod() {
    let pod = |name: &str| json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": name } });
    let (api, left) = api(vec![exchange("DELETE /api/v1/namespaces/alys/pods/alys-chain-0", json!({}), pod("alys-chain-0"))]);
    api.tell(Action::Restart, Role::Chain, "chain").await.unwrap();
    let worker = api.tell(Action::Restart, Role::Sync, "alys-sync-5f7c-x2k9q").await;
    assert!(matches!(worker, Err(Fault::Left(_))), "no right names it, so nothing is asked");
    assert!(left.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_is_kept_away_and_started_again_by_the_scale_of_its_workload() {
    let path = "PATCH /apis/apps/v1/namespaces/alys/statefulsets/alys-chain/scale";
    let (api, left) =
        api(vec![exchange(path, replicas(0), scaled("alys-chain", 0)), exchange(path, replicas(1), scaled("alys-chain", 1))]);
    api.tell(Action::Stop, Role::Chain, "chain").await.unwrap();
    api.tell(Action::Start, Role::Chain, "chain").await.unwrap();
    assert!(left.lock().unwrap().is_empty());
}

#[tokio::test]
async fn workers_are_scaled_and_the_autoscaler_does_not_undo_it() {
    let autoscaler = "/apis/autoscaling/v2/namespaces/alys/horizontalpodautoscalers/alys-sync";
    let (get, patch) = (format!("GET {autoscaler}"), format!("PATCH {autoscaler}"));
    let (get, patch): (&str, &str) = (get.leak(), patch.leak());
    let deployment = "PATCH /apis/apps/v1/namespaces/alys/deployments/alys-sync/scale";
    let found = |least: u32, most: u32| json!({ "kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "spec": { "minReplicas": least, "maxReplicas": most } });
    let bounds = |least: u32, most: u32| json!({ "spec": { "minReplicas": least, "maxReplicas": most } });
    let none = refusal(get, Value::Null, 404, "NotFound", "horizontalpodautoscalers.autoscaling \"alys-sync\" not found");
    let (api, left) = api(vec![
        exchange(get, Value::Null, found(1, 4)),
        exchange(patch, bounds(3, 4), found(3, 4)),
        exchange(deployment, replicas(3), scaled("alys-sync", 3)),
        exchange(get, Value::Null, found(3, 4)),
        exchange(patch, bounds(6, 6), found(6, 6)),
        exchange(deployment, replicas(6), scaled("alys-sync", 6)),
        none,
        exchange(deployment, replicas(1), scaled("alys-sync", 1)),
    ]);
    for count in [3, 6, 1] {
        api.scale_workers(Role::Sync, count).await.unwrap();
    }
    assert!(left.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_the_api_refuses_is_told_apart() {
    let path = "DELETE /api/v1/namespaces/alys/pods/alys-chain-0";
    let forbidden = "pods \"alys-chain-0\" is forbidden: User \"system:serviceaccount:alys:default\" cannot delete resource";
    let (api, left) = api(vec![
        refusal(path, json!({}), 404, "NotFound", "pods \"alys-chain-0\" not found"),
        refusal(path, json!({}), 403, "Forbidden", forbidden),
        refusal(path, json!({}), 500, "InternalError", "etcd is away"),
        Exchange { request: path, body: json!({}), status: 200, answer: Value::Null },
    ]);
    let mut told = Vec::new();
    while !left.lock().unwrap().is_empty() {
        told.push(api.tell(Action::Restart, Role::Chain, "chain").await);
    }
    assert!(matches!(&told[0], Err(Fault::Unknown(asked)) if asked == "delete pod alys-chain-0"), "{told:?}");
    assert!(matches!(told[1], Err(Fault::Forbidden(_))), "{told:?}");
    assert!(matches!(&told[2], Err(Fault::Refused { said, code: 500, .. }) if said == "etcd is away"), "{told:?}");
    assert!(told[3].is_ok(), "an answer of another form is an answer: {told:?}");
}

#[test]
fn outside_of_a_pod_there_is_no_access() {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        assert!(matches!(Api::in_cluster(), Err(Fault::NoAccess(_))));
    }
}
