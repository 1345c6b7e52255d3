//! The supervisor over real processes: restart, order of a drain, stragglers, and nobody outlives the parent.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, missing_docs)]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use alys_cluster::testing::{Started, start};
use alys_cluster::{Identity, Tenure};
use alys_proto::Role;
use alys_proto::supervisor::{DrainRole, GetInstances, Instance, RestartRole, ResumeRole, ScaleRole};
use alys_supervisor::core::generation::Age;
use alys_supervisor::core::input::View;
use alys_supervisor::io::child::{Children, Keeping};
use alys_supervisor::io::lifeline;
use alys_supervisor::io::look::{Looking, own_host};
use alys_supervisor::{ChildSpec, Config, Peers, Plan, Said, Seen, Supervision, SupervisorActor};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const SOCKET: &str = "ALYS_TEST_SOCKET";
const PATIENCE: Duration = Duration::from_secs(15);

fn shell(name: &str, role: Option<Role>, after: &[Role], script: &str) -> ChildSpec {
    let args = ["-c", script].map(OsString::from).to_vec();
    ChildSpec { name: name.into(), role, after: after.to_vec(), program: "/bin/sh".into(), args }
}

/// A child that says its pid, and its name when it is told to end.
fn polite(directory: &Path, role: Role, after: &[Role]) -> ChildSpec {
    let (at, name) = (directory.display(), role.name());
    let script = format!(
        "trap 'echo {name} >> {at}/order; exit 0' TERM; echo $$ > {at}/{name}.new; mv {at}/{name}.new {at}/{name}.pid; while :; do sleep 0.02; done"
    );
    shell(name, Some(role), after, &script)
}

/// A child that says its arguments.
fn forever(directory: &Path, role: Role) -> ChildSpec {
    let script = format!("echo \"$@\" >> {}/said; while :; do sleep 0.02; done", directory.display());
    let mut child = shell(role.name(), Some(role), &[], &script);
    child.args.push("sh".into());
    child
}

/// Stands for the mesh: what wrote its pid is ready.
fn peers(directory: &Path) -> Peers {
    let directory = directory.to_owned();
    let look = move || -> Looking {
        let seen = [Role::Storage, Role::Engine, Role::Chain].into_iter().filter_map(|role| {
            let text = std::fs::read_to_string(directory.join(format!("{role}.pid"))).ok()?;
            let said = Said { host: own_host(), pid: text.trim().parse().ok()?, view: View::Working, age: Age::Unknown };
            Some(Seen { identity: Identity::new(role, role.name()), said: Some(said) })
        });
        Box::pin(std::future::ready(seen.collect()))
    };
    Peers { look: Arc::new(look), drain: Arc::new(|_, _, _| {}), tenure: Tenure::fixed(true), own: "supervisor".into() }
}

fn supervisor(directory: &Path, children: Vec<ChildSpec>) -> SupervisorActor {
    let config = Config {
        log_dir: directory.join("logs"),
        state_dir: directory.to_owned(),
        phase_budget: Duration::from_millis(500),
        look: Duration::from_millis(20),
        look_starting: Duration::from_millis(20),
        ..Config::default()
    };
    let plan = Plan { children, ..Plan::default() };
    SupervisorActor::new(config, Supervision::default(), plan, peers(directory)).unwrap()
}

/// Asks until the instance is as wanted.
async fn until(started: &Started<SupervisorActor>, name: &str, wanted: impl Fn(&Instance) -> bool) -> Instance {
    let asking = async {
        loop {
            let all = started.remote.ask(GetInstances {}).await.unwrap().instances;
            match all.into_iter().find(|instance| instance.name == name) {
                Some(instance) if wanted(&instance) => return instance,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{name} never became as wanted"))
}

fn pid(instance: &Instance) -> Pid {
    Pid::from_raw(instance.pid as i32).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_child_comes_back_and_an_asked_one_too() {
    let directory = tempfile::tempdir().unwrap();
    let started = start(supervisor(directory.path(), vec![polite(directory.path(), Role::Storage, &[])]));
    let first = until(&started, "storage", |instance| instance.state == "running").await;

    kill_process(pid(&first), Signal::KILL).unwrap();
    let second = until(&started, "storage", |instance| instance.state == "running" && instance.pid != first.pid).await;
    assert_eq!((second.restarts, second.last_exit.as_str()), (1, "signal 9"));

    let asked = RestartRole { instance: "storage".into(), reason: "test".into(), dry_run: false };
    started.remote.ask(asked).await.unwrap();
    let third = until(&started, "storage", |instance| instance.state == "running" && instance.pid != second.pid).await;
    assert_eq!(third.restarts, 2);

    let unknown = started.remote.ask(RestartRole { instance: "nobody".into(), ..RestartRole::default() }).await;
    assert!(unknown.unwrap_err().to_string().contains("storage"), "the error says what there is");
    started.stop().await.unwrap();
    assert!(test_kill_process(pid(&third)).is_err(), "stopped with its supervisor");
}

/// What a person ordered holds for the next supervisor too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_and_a_scale_outlive_the_supervisor() {
    let directory = tempfile::tempdir().unwrap();
    let children = || vec![polite(directory.path(), Role::Storage, &[]), forever(directory.path(), Role::Sync)];
    let started = start(supervisor(directory.path(), children()));
    let storage = until(&started, "storage", |instance| instance.state == "running").await;

    let dry = DrainRole { instance: "storage".into(), reason: "test".into(), dry_run: true };
    let told = started.remote.ask(dry.clone()).await.unwrap();
    let blocked: Vec<Role> = told.blocked.iter().map(|blocked| blocked.role()).collect();
    assert_eq!(told.decision, "storage: drain, then keep stopped");
    assert!(blocked.contains(&Role::Engine) && told.messages.contains(&"CommitBlock".to_owned()), "{told:?}");
    assert_eq!(until(&started, "storage", |_| true).await, storage, "a dry run does nothing");

    started.remote.ask(DrainRole { dry_run: false, ..dry }).await.unwrap();
    started.remote.ask(ScaleRole { role: Role::Sync.into(), instances: 3, ..ScaleRole::default() }).await.unwrap();
    until(&started, "storage", |instance| instance.state == "drained").await;
    until(&started, "sync-3", |instance| instance.pid != 0).await;
    let refused = started.remote.ask(RestartRole { instance: "storage".into(), ..RestartRole::default() }).await.unwrap_err();
    assert!(refused.to_string().contains("alys resume storage"), "{refused}");
    let refused = started.remote.ask(ScaleRole { role: Role::Storage.into(), instances: 2, ..ScaleRole::default() }).await;
    assert!(refused.unwrap_err().to_string().contains("storage"));
    started.stop().await.unwrap();

    let again = start(supervisor(directory.path(), children()));
    let worker = until(&again, "sync-3", |instance| instance.pid != 0).await;
    until(&again, "storage", |instance| instance.state == "drained").await;
    let said = std::fs::read_to_string(directory.path().join("said")).unwrap();
    assert!(said.contains("--instance sync-3"), "{said}");
    again.remote.ask(ResumeRole { instance: "storage".into(), ..ResumeRole::default() }).await.unwrap();
    until(&again, "storage", |instance| instance.state == "running").await;
    again.remote.ask(ScaleRole { role: Role::Sync.into(), instances: 1, ..ScaleRole::default() }).await.unwrap();
    let gone = async {
        while again.remote.ask(GetInstances {}).await.unwrap().instances.iter().any(|instance| instance.name == "sync-3") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert!(test_kill_process(pid(&worker)).is_err(), "scaled away");
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stop_in_reverse_order() {
    let directory = tempfile::tempdir().unwrap();
    let children = [Role::Chain, Role::Engine, Role::Storage].map(|role| polite(directory.path(), role, role.depends_on()));
    let started = start(supervisor(directory.path(), children.to_vec()));
    until(&started, "chain", |instance| instance.state == "running").await;
    started.stop().await.unwrap();
    assert_eq!(std::fs::read_to_string(directory.path().join("order")).unwrap(), "chain\nengine\nstorage\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_straggler_is_killed_and_the_others_are_not_held_up() {
    let directory = tempfile::tempdir().unwrap();
    let deaf = shell("deaf", None, &[Role::Storage], "trap '' TERM; echo deaf >&2; while :; do sleep 0.05; done");
    let started = start(supervisor(directory.path(), vec![deaf, polite(directory.path(), Role::Storage, &[])]));
    let deaf = until(&started, "deaf", |instance| instance.state == "running").await;
    let log = directory.path().join("logs/deaf.log");
    until(&started, "deaf", |_| std::fs::read_to_string(&log).is_ok_and(|text| text == "deaf\n")).await;
    started.stop().await.unwrap();
    assert!(test_kill_process(pid(&deaf)).is_err());
    assert_eq!(std::fs::read_to_string(directory.path().join("order")).unwrap(), "storage\n", "storage drained by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_fails_at_once_with_the_childs_own_words() {
    let directory = tempfile::tempdir().unwrap();
    let broken = shell("engine", Some(Role::Engine), &[], "echo 'port 8545 is taken' >&2; exit 78");
    let mut actor_plan = Plan { children: vec![broken, polite(directory.path(), Role::Storage, &[])], ..Plan::default() };
    actor_plan.fail_fast = true;
    let config = Config { log_dir: directory.path().join("logs"), phase_budget: Duration::from_millis(500), ..Config::default() };
    let actor = SupervisorActor::new(config, Supervision::default(), actor_plan, peers(directory.path())).unwrap();
    let ended = start(actor).finished().await;
    let Err(alys_cluster::ActorError::Configuration(text)) = ended else { panic!("it went on") };
    assert!(text.contains("engine") && text.contains("port 8545 is taken"), "{text}");
}

/// Not a test: the supervisor that gets killed below.
#[test]
#[ignore = "run by `nobody_outlives_a_killed_supervisor` as a process of its own"]
fn process_supervisor() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let args = ["process_child", "--exact", "--ignored", "--nocapture"].map(OsString::from).to_vec();
        let program = std::env::current_exe().unwrap();
        let spec = ChildSpec { name: "child".into(), role: None, after: vec![], program, args };
        let keeping = Keeping { directory: directory.path().into(), limit: 1 << 20, ..Keeping::default() };
        let mut children = Children::new(vec![spec], keeping, Arc::new(|_| {})).unwrap();
        children.spawn("child");
        std::future::pending::<()>().await;
    });
}

/// Not a test: a role so stuck that it does not even react to SIGTERM.
#[test]
#[ignore = "run by `process_supervisor` as a process of its own"]
fn process_child() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _deaf = runtime.block_on(async { tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) }).unwrap();
    lifeline::arm().unwrap();
    let mut socket = UnixStream::connect(std::env::var(SOCKET).unwrap()).unwrap();
    socket.write_all(b"!").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn nobody_outlives_a_killed_supervisor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut supervisor = Command::new(std::env::current_exe().unwrap())
        .args(["process_supervisor", "--exact", "--ignored", "--nocapture"])
        .env(SOCKET, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut child, _) = listener.accept().unwrap();
    child.set_read_timeout(Some(PATIENCE)).unwrap();
    child.read_exact(&mut [0]).unwrap();

    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    // The child holds the other end for as long as it lives.
    assert_eq!(child.read(&mut [0]).expect("the child is still there"), 0);
}
