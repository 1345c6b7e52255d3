//! A real process and a real datagram socket in place of the service manager's.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alys_cluster::{ActorError, ClusterConfig, Cx, Identity, RoleActor, Status};
use alys_proto::{Role, storage};
use common::{PATIENCE, cluster_config, folder};

const RUN_DIR: &str = "ALYS_TEST_RUN_DIR";

/// Of a handler.
const DEADLINE: Duration = Duration::from_secs(3);

/// Of the service manager: pings come at least twice as often.
const WATCHDOG: Duration = Duration::from_secs(2);

/// Its handlers hang.
struct Hanging;

impl RoleActor for Hanging {
    type Inbox = storage::Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, _message: storage::Inbox) -> Result<(), ActorError> {
        std::future::pending().await
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        Status::ready(vec![])
    }
}

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Ok(run_dir) = std::env::var(RUN_DIR) else { return };
    let config = ClusterConfig { handler_deadline: DEADLINE, ..cluster_config(run_dir.as_ref()) };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identity = Identity::new(Role::Storage, "storage");
    std::process::exit(i32::from(runtime.block_on(alys_cluster::run(&config, identity, |_cluster| Ok(Hanging)))));
}

/// A process and what it tells.
struct Process {
    child: Child,
    manager: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Process {
    fn start() -> Self {
        let folder = folder();
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact", "--ignored", "--nocapture"]).stdout(Stdio::null()).env(RUN_DIR, folder.path());
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Self { child: command.spawn().unwrap(), manager, folder }
    }

    /// The next lines, or none within `patience`.
    fn told(&self, patience: Duration) -> Option<String> {
        let mut buffer = [0; 4_096];
        self.manager.set_read_timeout(Some(patience)).unwrap();
        let length = self.manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Reads on until a line is told; everything told on the way.
    fn until(&self, line: &str) -> String {
        let (give_up, mut all) = (Instant::now() + PATIENCE, String::new());
        while !all.lines().any(|told| told.starts_with(line)) {
            assert!(Instant::now() < give_up, "never told {line}, but\n{all}");
            all.push_str(&self.told(Duration::from_secs(1)).unwrap_or_default());
        }
        all
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_fed_by_progress_and_stop_with_it() {
    let process = Process::start();
    let told = process.until("STATUS=ready");
    assert!(told.lines().any(|line| line == "READY=1"), "{told}");
    for _ping in 0..3 {
        process.until("WATCHDOG=1");
    }

    let cluster = alys_cluster::attach(&cluster_config(process.folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    assert!(remote.ask_within(Duration::from_secs(1), storage::GetHead {}).await.is_err(), "it hangs");
    process.until("STATUS=wedged: GetHead has made no progress for ");
    let silence = Instant::now() + WATCHDOG + WATCHDOG;
    while let Some(left) = silence.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let told = process.told(left).unwrap_or_default();
        assert!(!told.contains("WATCHDOG=1"), "a ping without progress: {told}");
    }
}

#[test]
fn the_end_is_announced() {
    let mut process = Process::start();
    process.until("READY=1");
    let pid = process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    process.until("STOPPING=1");
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}
