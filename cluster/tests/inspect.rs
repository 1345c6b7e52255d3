//! What a debug node may ask of a real role process: this test binary starts itself again as a role.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, Cluster, ClusterConfig, Cx, DebugConfig, Health, Identity, Remote, RoleActor, Status};
use alys_proto::cluster::{
    LogTail, MailboxFreeze, MailboxPeek, MailboxStep, MailboxThaw, Observation, Observe, Passage, TapFilter, TapOpen, TapRead,
};
use alys_proto::{Refused, Role, cluster, storage};

const PATIENCE: Duration = Duration::from_secs(20);
const WHO: &str = "a test";

/// Answers `GetHead` with how many it has answered.
#[derive(Default)]
struct Counter(u64);

impl RoleActor for Counter {
    type Inbox = storage::Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: storage::Inbox) -> Result<(), ActorError> {
        if let storage::Inbox::GetHead(_, reply) = message {
            self.0 += 1;
            tracing::info!(count = self.0, "counted");
            reply.send(storage::Head { height: self.0, hash: vec![] });
        }
        Ok(())
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        Status::ready(vec![("count", self.0.to_string())])
    }
}

const FOLDER: &str = "ALYS_TEST_FOLDER";
const ROLE: &str = "ALYS_TEST_ROLE";

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let (Ok(folder), Ok(role)) = (std::env::var(FOLDER), std::env::var(ROLE)) else { return };
    let identity = Identity::new(role.parse().unwrap(), &role);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = config(folder.as_ref());
    config.debug.freeze_signers = identity.role == Role::Storage;
    let code = runtime.block_on(alys_cluster::run(&config, identity, |_cluster| Ok(Counter::default())));
    std::process::exit(i32::from(code));
}

fn config(folder: &Path) -> ClusterConfig {
    let debug = DebugConfig { audit_file: folder.join("audit.log"), ..DebugConfig::default() };
    ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), debug, ..ClusterConfig::default() }
}

/// A child that dies with the test.
struct Process(Child);

impl Process {
    fn start(folder: &Path, role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--ignored", "--nocapture"]).env(FOLDER, folder).env(ROLE, role);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// Joins and waits until the role is ready.
async fn attach(folder: &Path, role: Role) -> (Cluster, Remote<cluster::Inbox>) {
    let cluster = alys_cluster::attach(&config(folder)).await.unwrap();
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(inspector) = cluster.inspector(role, role.name())
            && let Ok(seen) = inspector.ask(Observe {}).await
            && seen.health() == Health::Ready
        {
            return (cluster, inspector);
        }
        assert!(Instant::now() < give_up, "{role} was never ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn observe_until(inspector: &Remote<cluster::Inbox>, what: &str, holds: impl Fn(&Observation) -> bool) -> Observation {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let seen = inspector.ask(Observe {}).await.unwrap();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < give_up, "{what}: {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn freeze() -> MailboxFreeze {
    MailboxFreeze { who: WHO.into(), reason: "to look".into() }
}

fn depth(seen: &Observation) -> u64 {
    seen.mailbox.as_ref().unwrap().depth
}

/// Tells storage nothing it knows: `GetHead` is asked without waiting for the answer.
fn ask_heads(cluster: &Cluster, count: usize) -> Vec<tokio::task::JoinHandle<Result<storage::Head, Refused>>> {
    let ask = |_| {
        let remote = cluster.remote::<storage::Inbox>();
        tokio::spawn(async move { remote.ask_within(PATIENCE, storage::GetHead {}).await })
    };
    (0..count).map(ask).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_mailbox_takes_nothing_a_step_one_and_a_thaw_the_rest() {
    let folder = folder();
    let _role = Process::start(folder.path(), "storage");
    let (cluster, inspector) = attach(folder.path(), Role::Storage).await;
    assert!(matches!(inspector.ask(MailboxStep { who: WHO.into() }).await, Err(Refused::Failed(_))), "it is not frozen");
    inspector.ask(freeze()).await.unwrap();
    let asked = ask_heads(&cluster, 3);
    let seen = observe_until(&inspector, "three wait", |seen| depth(seen) == 3).await;
    assert_eq!((seen.health(), seen.health_reason.as_str()), (Health::Frozen, "by a test"));
    let peeked = inspector.ask(MailboxPeek { name: "GetHead".into(), ..MailboxPeek::default() }).await.unwrap();
    assert_eq!(peeked.messages.len(), 3);
    assert!(peeked.messages.iter().all(|message| message.sender() == Role::Debug));

    inspector.ask(MailboxStep { who: WHO.into() }).await.unwrap();
    let stepped = observe_until(&inspector, "one was let through", |seen| depth(seen) == 2).await;
    let frozen = stepped.mailbox.as_ref().and_then(|mailbox| mailbox.frozen.clone()).unwrap();
    assert_eq!((frozen.stepped, frozen.who.as_str()), (1, WHO));
    inspector.ask(MailboxThaw { who: WHO.into() }).await.unwrap();
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(observe_until(&inspector, "served", |seen| depth(seen) == 0).await.health(), Health::Ready);

    let audit = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    let done: Vec<&str> = ["\"step\"", "\"freeze\"", "\"step\"", "\"thaw\""].to_vec();
    assert!(audit.lines().zip(done).all(|(line, what)| line.contains(what) && line.contains("\"a test\"")), "{audit}");
    assert_eq!(audit.lines().count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_ends_by_itself_when_its_debugger_is_gone() {
    let folder = folder();
    let _role = Process::start(folder.path(), "storage");
    let (cluster, inspector) = attach(folder.path(), Role::Storage).await;
    inspector.ask(freeze()).await.unwrap();
    let frozen = Instant::now();
    for answer in ask_heads(&cluster, 1) {
        answer.await.unwrap().unwrap();
    }
    assert!(frozen.elapsed() >= Duration::from_secs(4), "it was not frozen");
    assert!(frozen.elapsed() < Duration::from_secs(8), "the lease is five seconds, not {:?}", frozen.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn consensus_and_signing_are_not_frozen_outside_of_test_chains() {
    let folder = folder();
    let _role = Process::start(folder.path(), "stream");
    let (_cluster, inspector) = attach(folder.path(), Role::Stream).await;
    let refused = inspector.ask(freeze()).await;
    assert!(matches!(&refused, Err(Refused::Unauthorised(reason)) if reason.contains("freeze_signers")), "{refused:?}");
    assert_eq!(inspector.ask(Observe {}).await.unwrap().health(), Health::Ready);
    assert!(!folder.path().join("audit.log").exists(), "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_written_down_is_not_made() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("audit.log")).unwrap();
    let _role = Process::start(folder.path(), "storage");
    let (_cluster, inspector) = attach(folder.path(), Role::Storage).await;
    assert!(matches!(inspector.ask(freeze()).await, Err(Refused::Failed(reason)) if reason.contains("audit.log")));
    assert_eq!(inspector.ask(Observe {}).await.unwrap().health(), Health::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_shows_what_passes_and_goes_with_its_viewer() {
    let folder = folder();
    let _role = Process::start(folder.path(), "storage");
    let (cluster, inspector) = attach(folder.path(), Role::Storage).await;
    let filter = TapFilter { name: "GetHead".into(), sender: Role::Debug.into(), ..TapFilter::default() };
    let tap = inspector.ask(TapOpen { filter: Some(filter), ..TapOpen::default() }).await.unwrap().tap;
    for answer in ask_heads(&cluster, 2) {
        answer.await.unwrap().unwrap();
    }
    let (mut passed, give_up) = (Vec::new(), Instant::now() + PATIENCE);
    while passed.len() < 4 {
        let batch = inspector.ask(TapRead { tap, limit: 0 }).await.unwrap();
        assert_eq!(batch.missed, 0);
        passed.extend(batch.passed);
        assert!(Instant::now() < give_up, "{passed:?}");
    }
    let count = |passage| passed.iter().filter(|seen| seen.passage() == passage && seen.name == "GetHead").count();
    assert_eq!((count(Passage::Arrived), count(Passage::Handled)), (2, 2));
    let handled = passed.iter().find(|seen| seen.passage() == Passage::Handled).unwrap();
    assert!(handled.took_micros > 0 && handled.message_id.len() == 16, "{handled:?}");
    // Nobody reads it any more.
    observe_until(&inspector, "the tap is gone", |seen| seen.mailbox.as_ref().unwrap().taps == 0).await;
    assert!(matches!(inspector.ask(TapRead { tap, limit: 0 }).await, Err(Refused::Failed(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn vitals_and_the_last_log_lines_are_shown() {
    let folder = folder();
    let _role = Process::start(folder.path(), "storage");
    let (cluster, inspector) = attach(folder.path(), Role::Storage).await;
    for answer in ask_heads(&cluster, 3) {
        answer.await.unwrap().unwrap();
    }
    let seen = observe_until(&inspector, "three handled", |seen| seen.mailbox.as_ref().unwrap().handled >= 4).await;
    let mailbox = seen.mailbox.unwrap();
    assert!(mailbox.p50_micros > 0 && mailbox.p50_micros <= mailbox.p99_micros, "{mailbox:?}");
    let lines = inspector.ask(LogTail { contains: "counted".into(), ..LogTail::default() }).await.unwrap().lines;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.windows(2).all(|pair| pair[0].number < pair[1].number), "{lines:?}");
}
