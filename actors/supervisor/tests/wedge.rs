//! A real role whose handler hangs, in a real mesh: this test binary starts itself again as the role. Run with
//! `cargo nextest`: `pg` is a static of the process.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use alys_cluster::testing::start;
use alys_cluster::{ActorError, ClusterConfig, Cx, Identity, RoleActor, Status};
use alys_proto::supervisor::{GetInstances, Instance};
use alys_proto::{Role, sync};
use alys_supervisor::{ChildSpec, Config, Peers, Plan, Supervision, SupervisorActor};

const PATIENCE: Duration = Duration::from_secs(30);
const FOLDER: &str = "ALYS_TEST_WEDGE";

/// Keeps its thread when it is asked for its status.
struct Hanging;

impl RoleActor for Hanging {
    type Inbox = sync::Inbox;
    type Local = ();

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, _cx: &Cx<Self>, message: sync::Inbox) -> Result<(), ActorError> {
        if let sync::Inbox::GetSyncStatus(..) = message {
            std::thread::sleep(Duration::from_secs(600));
        }
        Ok(())
    }

    async fn local(&mut self, _cx: &Cx<Self>, (): ()) -> Result<(), ActorError> {
        Ok(())
    }

    fn status(&self) -> Status {
        Status::ready(Vec::new())
    }
}

fn cluster(folder: &Path) -> ClusterConfig {
    let mut config =
        ClusterConfig { run_dir: folder.join("run"), cookie_file: folder.join("cookie"), ..ClusterConfig::default() };
    config.telemetry.filter = "warn".into();
    config
}

/// Not a test: the role.
#[test]
#[ignore = "the body of a child process"]
fn process_role() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = cluster(Path::new(&folder));
    let run = alys_cluster::run(&config, Identity::new(Role::Sync, "sync"), |_| Ok(Hanging));
    std::process::exit(i32::from(runtime.block_on(run)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_whose_handler_hangs_is_replaced_within_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mesh = alys_cluster::attach(&cluster(folder.path())).await.unwrap();
    let mut args: Vec<OsString> = vec![format!("{FOLDER}={}", folder.path().display()).into()];
    args.push(std::env::current_exe().unwrap().into());
    args.extend(["process_role", "--exact", "--ignored", "--nocapture"].map(OsString::from));
    let child = ChildSpec { name: "sync".into(), role: Some(Role::Sync), after: vec![], program: "/usr/bin/env".into(), args };
    let config = Config { log_dir: folder.path().join("logs"), state_dir: folder.path().to_owned(), ..Config::default() };
    let plan = Plan { children: vec![child], ..Plan::default() };
    let supervisor =
        start(SupervisorActor::new(config, Supervision::default(), plan, Peers::new(&mesh, &cluster(folder.path()))).unwrap());
    let running = async |not: u32| -> Instance {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let all = supervisor.remote.ask(GetInstances {}).await.unwrap().instances;
            let found = all.into_iter().find(|one| one.name == "sync" && one.state == "running" && one.pid != not);
            match found {
                Some(instance) => return instance,
                None => assert!(Instant::now() < give_up, "it never ran"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let first = running(0).await;
    let hangs = Instant::now();
    let sync = mesh.remote::<sync::Inbox>();
    let _late = sync.ask_within(Duration::from_millis(100), sync::GetSyncStatus {}).await;
    let second = running(first.pid).await;
    assert!(hangs.elapsed() <= Duration::from_secs(10), "replaced after {:?}", hangs.elapsed());
    assert_eq!((second.restarts, second.last_exit.as_str()), (1, "signal 9"));
    supervisor.stop().await.unwrap();
}
