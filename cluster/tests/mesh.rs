//! Real processes in a real mesh: this test binary starts itself again as a role. `pg` is a static of the process, so each
//! test needs a process of its own: run with `cargo nextest`, as `make test` does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, missing_docs)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, ClusterConfig, Cx, Identity, MeshConfig, Remote, RoleActor, Status};
use alys_proto::cluster::{Drain, Observe};
use alys_proto::{Refused, Role, storage};

/// Answers `GetHead` with its process id as height, so a test sees which incarnation answered.
struct Echo;

impl RoleActor for Echo {
    type Inbox = storage::Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: storage::Inbox) -> Result<(), ActorError> {
        match message {
            storage::Inbox::GetHead(_, reply) => {
                reply.send(storage::Head { height: u64::from(std::process::id()), hash: vec![] })
            }
            storage::Inbox::GetBlocks(_, reply) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                reply.refuse(Refused::Failed("too slow to be asked".into()));
            }
            storage::Inbox::GetBlockByHash(..) => return Err(ActorError::Configuration("asked to fail".into())),
            storage::Inbox::GetLedger(..) => panic!("asked to panic"),
            storage::Inbox::GetDocuments(..) => std::thread::sleep(Duration::from_secs(60)),
            _ => {}
        }
        Ok(())
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        Status::ready(vec![("answers", "pid".into())])
    }
}

const RUN_DIR: &str = "ALYS_TEST_RUN_DIR";
const LISTEN: &str = "ALYS_TEST_LISTEN";
const CERTIFICATE: &str = "ALYS_TEST_CERTIFICATE";

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Ok(run_dir) = std::env::var(RUN_DIR) else { return };
    let mut config = config(run_dir.as_ref());
    if let Ok(listen) = std::env::var(LISTEN) {
        let certificate = std::env::var(CERTIFICATE).unwrap();
        config.mesh = Some(mesh(run_dir.as_ref(), &certificate, Some(listen.parse().unwrap()), vec![]));
        config.run_dir = Path::new(&run_dir).join("another host");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identity = Identity::new(Role::Storage, "storage");
    let code = runtime.block_on(alys_cluster::run(&config, identity, |_cluster| Ok(Echo)));
    std::process::exit(i32::from(code));
}

fn config(folder: &Path) -> ClusterConfig {
    let mut config =
        ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), ..ClusterConfig::default() };
    config.telemetry.filter = "warn".into();
    config
}

/// A child that dies with the test.
struct Process(Child);

impl Process {
    fn start(folder: &Path) -> Self {
        Self(Self::command(folder).spawn().unwrap())
    }

    fn start_on_tcp(folder: &Path, listen: SocketAddr, certificate: &str) -> Self {
        let mut command = Self::command(folder);
        Self(command.env(LISTEN, listen.to_string()).env(CERTIFICATE, certificate).spawn().unwrap())
    }

    fn command(folder: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--ignored", "--nocapture"]).env(RUN_DIR, folder).stdout(Stdio::null());
        command
    }

    fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let give_up = Instant::now() + Duration::from_secs(10);
        while Instant::now() < give_up {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::yield_now();
        }
        panic!("the child did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    secret(&folder.path().join("cookie"), "0123456789abcdef0123456789abcdef");
    folder
}

/// Asks until the answer is the wanted process: during a restart a question may fail or reach the dying one.
async fn answered_by(remote: &Remote<storage::Inbox>, pid: u64) {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = remote.ask_within(Duration::from_secs(2), storage::GetHead {}).await;
        if answer.is_ok_and(|head| head.height == pid) {
            return;
        }
        assert!(Instant::now() < give_up, "process {pid} never answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_found_in_any_order_and_followed_through_kill_9() {
    let folder = folder();
    let cluster = alys_cluster::attach(&config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    let first = Process::start(folder.path());
    answered_by(&remote, first.pid()).await;
    for _restart in 0..3 {
        let killed = Process::start(folder.path());
        answered_by(&remote, killed.pid()).await;
        killed.signal("-KILL");
        drop(killed);
        answered_by(&remote, first.pid()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observation_answers_while_a_handler_hangs() {
    let folder = folder();
    let hanging = Process::start(folder.path());
    let cluster = alys_cluster::attach(&config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    answered_by(&remote, hanging.pid()).await;
    let late = remote.ask_within(Duration::from_millis(200), storage::GetBlocks::default()).await;
    assert!(matches!(late, Err(Refused::TooLate(_))), "{late:?}");
    let expired = remote.ask_within(Duration::from_millis(200), storage::GetHead {}).await;
    assert!(matches!(expired, Err(Refused::TooLate(_))), "{expired:?}");

    let observed = cluster.observe_all(Duration::from_secs(5)).await;
    let observation = observed[0].observation.as_ref().unwrap();
    let mailbox = observation.mailbox.as_ref().unwrap();
    assert_eq!(mailbox.in_flight, "GetBlocks");
    assert_eq!(mailbox.queued.iter().map(|queued| queued.name.as_str()).collect::<Vec<_>>(), ["GetHead"]);
    assert_eq!(u64::from(observation.pid), hanging.pid());
    assert!(observation.resident_bytes > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_has_its_exit_code() {
    let folder = folder();
    let cluster = alys_cluster::attach(&config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();

    let mut drained = Process::start(folder.path());
    answered_by(&remote, drained.pid()).await;
    drained.signal("-TERM");
    assert_eq!(drained.exit_code(), Some(0));

    let mut failing = Process::start(folder.path());
    answered_by(&remote, failing.pid()).await;
    let _refused = remote.ask(storage::GetBlockByHash::default()).await;
    assert_eq!(failing.exit_code(), Some(78));

    let mut panicking = Process::start(folder.path());
    answered_by(&remote, panicking.pid()).await;
    let _refused = remote.ask(storage::GetLedger::default()).await;
    assert_eq!(panicking.exit_code(), Some(70));
}

/// The handler even keeps its thread, so nothing of the shell may depend on that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_progress_says_so_and_ends_as_wedged_when_it_is_asked_to_go() {
    let folder = folder();
    let cluster = alys_cluster::attach(&config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    let mut hanging = Process::start(folder.path());
    answered_by(&remote, hanging.pid()).await;
    let inspector = cluster.inspector(Role::Storage, "storage").unwrap();
    let _late = remote.ask_within(Duration::from_millis(100), storage::GetDocuments::default()).await;
    let asked = Instant::now();
    let observation = loop {
        let observation = inspector.ask_within(Duration::from_secs(2), Observe {}).await.unwrap();
        if observation.health() == alys_cluster::Health::Wedged {
            break observation;
        }
        assert!(asked.elapsed() < Duration::from_secs(10), "{observation:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(asked.elapsed() > Duration::from_secs(4), "five seconds are allowed, not {:?}", asked.elapsed());
    assert!(observation.health_reason.contains("GetDocuments"), "{}", observation.health_reason);
    inspector.ask_within(Duration::from_secs(2), Drain { reason: "test".into(), restart: true }).await.unwrap();
    assert_eq!(hanging.exit_code(), Some(81));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_for_a_restart_ends_with_the_restart_code() {
    let folder = folder();
    let cluster = alys_cluster::attach(&config(folder.path())).await.unwrap();
    let mut role = Process::start(folder.path());
    answered_by(&cluster.remote::<storage::Inbox>(), role.pid()).await;
    let inspector = cluster.inspector(Role::Storage, "storage").unwrap();
    // An idle role may be gone before its answer is on the way.
    let _answer = inspector.ask_within(Duration::from_secs(2), Drain { reason: "test".into(), restart: true }).await;
    assert_eq!(role.exit_code(), Some(80));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_another_cluster_or_with_another_cookie_is_turned_away() {
    let folder = folder();
    let _role = Process::start(folder.path());
    let foreign = ClusterConfig { id: "another".into(), ..config(folder.path()) };
    let cluster = alys_cluster::attach(&foreign).await.unwrap();
    let answer = cluster.remote::<storage::Inbox>().ask_within(Duration::from_secs(1), storage::GetHead {}).await;
    assert!(matches!(answer, Err(Refused::Unreachable(_))), "{answer:?}");
}

/// A CA and one certificate a name, as PEM files `<name>.pem` and `<name>.key`.
fn certificates(folder: &Path, names: &[&str]) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for name in names {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["mesh.alys".into(), format!("{name}.role.alys")]).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        secret(&folder.join(format!("{name}.key")), &key.serialize_pem());
    }
}

fn mesh(folder: &Path, certificate: &str, listen: Option<SocketAddr>, seeds: Vec<String>) -> MeshConfig {
    MeshConfig {
        listen,
        seeds,
        ca_file: folder.join("ca.pem"),
        certificate_file: folder.join(format!("{certificate}.pem")),
        key_file: folder.join(format!("{certificate}.key")),
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_meet_over_tls_and_a_dialer_outlives_its_peer() {
    let folder = folder();
    certificates(folder.path(), &["storage", "debug"]);
    let listen = free_address();
    let mut config = config(folder.path());
    config.mesh = Some(mesh(folder.path(), "debug", None, vec![listen.to_string()]));
    let cluster = alys_cluster::attach(&config).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    for _restart in 0..2 {
        let role = Process::start_on_tcp(folder.path(), listen, "storage");
        answered_by(&remote, role.pid()).await;
        let observed = cluster.observe_all(Duration::from_secs(2)).await;
        let links = &observed.last().unwrap().observation.as_ref().unwrap().links;
        assert!(links.iter().all(|link| link.transport == "tls"), "{links:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_role_is_refused() {
    let folder = folder();
    certificates(folder.path(), &["engine", "debug"]);
    let listen = free_address();
    let _claims_storage = Process::start_on_tcp(folder.path(), listen, "engine");
    let mut config = config(folder.path());
    config.mesh = Some(mesh(folder.path(), "debug", None, vec![listen.to_string()]));
    let cluster = alys_cluster::attach(&config).await.unwrap();
    let answer = cluster.remote::<storage::Inbox>().ask_within(Duration::from_secs(2), storage::GetHead {}).await;
    assert!(matches!(answer, Err(Refused::Unreachable(_))), "{answer:?}");
}
