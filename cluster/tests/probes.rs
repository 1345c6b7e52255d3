//! Probes and metrics of a real process: this test binary starts itself again as a role whose handlers can be made to
//! hang. Run with `cargo nextest`, which gives each test a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, Cluster, ClusterConfig, Cx, Identity, Remote, RoleActor, RoleMetrics, Status};
use alys_proto::{Role, storage};
use common::{Http, cluster_config, folder, free_address};
use documented::DocumentedFields;
use serde::Serialize;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const RUN_DIR: &str = "ALYS_TEST_RUN_DIR";
const LISTEN: &str = "ALYS_TEST_LISTEN";

/// Longer than a busy machine keeps a task waiting, short enough to wait for.
const DEADLINE: Duration = Duration::from_secs(3);

/// Its messages hang in different ways.
#[derive(Default)]
struct Hanging {
    asked: u64,
}

#[derive(Debug, Serialize, DocumentedFields)]
struct Metrics {
    /// Heads that were asked for.
    heads_total: u64,
}

impl RoleActor for Hanging {
    type Inbox = storage::Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: storage::Inbox) -> Result<(), ActorError> {
        match message {
            storage::Inbox::GetHead(_, reply) => {
                self.asked += 1;
                reply.send(storage::Head { height: self.asked, hash: vec![] });
            }
            // Waits for ever, as a handler does whose own question is never answered.
            storage::Inbox::GetBlocks(..) => std::future::pending::<()>().await,
            // Blocks the thread: with one worker, the runtime. Nobody's message arrives any more.
            storage::Inbox::GetLedger(..) => loop {
                std::thread::park();
            },
            _ => {}
        }
        Ok(())
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        if self.asked > 1 { Status::degraded("asked twice".into(), vec![]) } else { Status::ready(vec![]) }
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        Some(Box::new(Metrics { heads_total: self.asked }))
    }
}

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Ok(run_dir) = std::env::var(RUN_DIR) else { return };
    let mut config = ClusterConfig { handler_deadline: DEADLINE, ..cluster_config(run_dir.as_ref()) };
    config.telemetry.listen = Some(std::env::var(LISTEN).unwrap().parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let identity = Identity::new(Role::Storage, "storage");
    let code = runtime.block_on(alys_cluster::run(&config, identity, |_cluster| Ok(Hanging::default())));
    std::process::exit(i32::from(code));
}

/// A role process with its probes.
struct Process {
    child: Child,
    http: Http,
    folder: tempfile::TempDir,
}

impl Process {
    fn start() -> Self {
        let (folder, listen) = (folder(), free_address());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--ignored", "--nocapture"]).stdout(Stdio::null());
        let child = command.env(RUN_DIR, folder.path()).env(LISTEN, listen.to_string()).spawn().unwrap();
        Self { child, http: Http(listen), folder }
    }

    async fn attached(&self) -> (Cluster, Remote<storage::Inbox>) {
        let cluster = alys_cluster::attach(&cluster_config(self.folder.path())).await.unwrap();
        let remote = cluster.remote();
        (cluster, remote)
    }

    fn address(&self) -> SocketAddr {
        self.http.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_handler_fails_livez_and_everything_still_answers() {
    let process = Process::start();
    let (_cluster, remote) = process.attached().await;
    remote.ask(storage::GetHead {}).await.unwrap();
    assert_eq!(process.http.wait("/livez", 200), "ok\n");
    assert_eq!(process.http.wait("/readyz", 200), "ok\n");
    remote.ask(storage::GetHead {}).await.unwrap();
    assert_eq!(process.http.wait("/readyz", 200), "ok\n", "degraded still serves");

    let since = Instant::now();
    let hanging = remote.ask_within(Duration::from_millis(100), storage::GetBlocks::default()).await;
    assert!(hanging.is_err());
    let reason = process.http.wait("/livez", 503);
    assert!(reason.starts_with("GetBlocks has made no progress for "), "{reason}");
    assert!(since.elapsed() > DEADLINE, "it is not wedged before its deadline");
    assert!(process.http.wait("/readyz", 503).starts_with("wedged: GetBlocks"));
    let metrics = process.http.wait("/metrics", 200);
    for line in ["alys_live{role=\"storage\",alys_instance=\"storage\"} 0", "state=\"wedged\"} 1"] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_runtime_fails_livez() {
    let process = Process::start();
    let (_cluster, remote) = process.attached().await;
    remote.ask(storage::GetHead {}).await.unwrap();
    let blocked = remote.ask_within(Duration::from_millis(100), storage::GetLedger::default()).await;
    assert!(blocked.is_err());
    process.http.wait("/livez", 503);
    assert!(process.http.wait("/metrics", 200).ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_shell_and_role_are_counted() {
    let process = Process::start();
    let (_cluster, remote) = process.attached().await;
    for _ask in 0..3 {
        remote.ask(storage::GetHead {}).await.unwrap();
    }
    let common = "role=\"storage\",alys_instance=\"storage\"";
    let expected = [
        format!("alys_messages_handled_total{{{common},message=\"GetHead\"}} 3"),
        format!("alys_message_handling_seconds_count{{{common},message=\"GetHead\"}} 3"),
        format!("alys_storage_heads_total{{{common}}} 3"),
        format!("alys_mailbox_depth{{{common},lane=\"normal\"}} 0"),
        format!("alys_mailbox_capacity{{{common}}} 1000"),
        format!("alys_links{{{common},peer=\"debug\"}} 1"),
        format!("alys_health{{{common},state=\"degraded\"}} 1"),
    ];
    // The snapshot is taken after the reply.
    let complete = |text: &str| expected.iter().all(|line| text.lines().any(|found| found == line));
    let text = process.http.until("/metrics", |_, text| complete(text));
    let resident = text.lines().find_map(|line| line.strip_prefix(&format!("alys_process_resident_bytes{{{common}}} ")));
    assert!(resident.unwrap().parse::<u64>().unwrap() > 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_answers_on_the_same_port() {
    let process = Process::start();
    let (_cluster, remote) = process.attached().await;
    remote.ask(storage::GetHead {}).await.unwrap();
    process.http.wait("/readyz", 200);
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", process.address())).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let serving = 1;
    let give_up = Instant::now() + common::PATIENCE;
    for service in ["", "storage"] {
        let check = || HealthCheckRequest { service: service.into() };
        while client.check(check()).await.unwrap().into_inner().status != serving {
            assert!(Instant::now() < give_up, "never serving");
        }
    }
    let unknown = client.check(HealthCheckRequest { service: "another".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_are_closed_and_the_rest_is_served() {
    let process = Process::start();
    process.http.wait("/livez", 200);
    let silent: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(process.address()).unwrap()).collect();
    drop(silent);
    assert_eq!(process.http.wait("/livez", 200), "ok\n");
    let closed = |stream: &std::net::TcpStream| {
        let mut stream = stream;
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        matches!(std::io::Read::read(&mut stream, &mut [0]), Ok(0) | Err(_))
    };
    let open: Vec<_> = (0..70).map(|_| std::net::TcpStream::connect(process.address()).unwrap()).collect();
    assert!(open.last().is_some_and(closed));
}

#[test]
fn an_address_in_use_is_temporary() {
    let (folder, taken) = (folder(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--ignored", "--nocapture"]).stdout(Stdio::null());
    command.env(RUN_DIR, folder.path()).env(LISTEN, taken.local_addr().unwrap().to_string());
    assert_eq!(command.status().unwrap().code(), Some(75));
}
