//! What nobody waits for and is lost on a link is counted by its sender. Real processes: this test binary starts itself again
//! as the one who tells and as the one who is told. Run with `cargo nextest`, which gives each test a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use alys_cluster::testing::{Plain, free_port};
use alys_cluster::{ActorError, Cluster, Identity, Remote};
use alys_proto::{Refused, Role, storage, sync};
use common::process::{Process, RUN_DIR};
use common::{Http, PATIENCE, cluster_config, folder};

/// The port of the probes; without it the process is the one who is told.
const PROBES: &str = "ALYS_TEST_PROBES";
/// Told messages that may be under way to a peer with a mailbox of the usual capacity, as `mesh/window.rs` says.
const WINDOW: u32 = 875;

/// Tells sync what it is asked to tell. Sync takes nothing from storage, so all of it comes back.
async fn tell(sync: Remote<sync::Inbox>, message: storage::Inbox) -> Result<(), ActorError> {
    match message {
        // Answered when sync is linked.
        storage::Inbox::GetHead(_, reply) => match sync.ask_within(PATIENCE, sync::GetSyncStatus {}).await {
            Err(Refused::Unauthorised(_)) => reply.send(storage::Head::default()),
            other => reply.refuse(Refused::Failed(format!("{other:?}"))),
        },
        storage::Inbox::GetBlocks(asked, reply) => {
            let told = (0..asked.limit).try_for_each(|_| sync.tell(sync::SyncRequiredNotification::default()));
            match told {
                Ok(()) => reply.send(storage::Blocks::default()),
                Err(refused) => reply.refuse(refused),
            }
        }
        _ => {}
    }
    Ok(())
}

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Ok(run_dir) = std::env::var(RUN_DIR) else { return };
    let mut config = cluster_config(run_dir.as_ref());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let code = runtime.block_on(async {
        let Ok(probes) = std::env::var(PROBES) else {
            let told = Plain::new(|_: sync::Inbox| std::future::ready(Ok(())));
            return alys_cluster::run(&config, Identity::new(Role::Sync, "sync"), |_cluster| Ok(told)).await;
        };
        config.telemetry.listen = Some(probes.parse().unwrap());
        let identity = Identity::new(Role::Storage, "storage");
        let teller = |cluster: &Cluster| {
            let sync = cluster.remote();
            Ok(Plain::new(move |message| tell(sync.clone(), message)))
        };
        alys_cluster::run(&config, identity, teller).await
    });
    std::process::exit(i32::from(code));
}

/// The two, linked.
struct Pair {
    told: Process,
    _teller: Process,
    metrics: Http,
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

impl Pair {
    async fn linked() -> Self {
        let folder = folder();
        let metrics = Http(([127, 0, 0, 1], free_port().unwrap()).into());
        let teller = Process::command(folder.path()).env(PROBES, metrics.0.to_string()).spawn().unwrap();
        let (told, teller) = (Process::start(folder.path()), Process(teller));
        let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
        let pair = Self { told, _teller: teller, metrics, cluster, _folder: folder };
        pair.storage().ask_within(PATIENCE, storage::GetHead {}).await.unwrap();
        pair
    }

    fn storage(&self) -> Remote<storage::Inbox> {
        self.cluster.remote()
    }

    async fn tell(&self, limit: u32) {
        self.storage().ask_within(PATIENCE, storage::GetBlocks { limit, ..storage::GetBlocks::default() }).await.unwrap();
    }

    /// Waits until so many are counted as lost in this way, and in no other.
    fn counted(&self, lost: &str, count: u32) {
        let counts = |body: &str, how: &str| -> u32 {
            let label = format!("how=\"{how}\"");
            let line = body.lines().find(|line| line.starts_with("alys_link_messages_lost_total{") && line.contains(&label));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
        };
        let body = self.metrics.until("/metrics", |_, body| counts(body, lost) >= count);
        for how in ["returned", "cut_off", "malformed"] {
            assert_eq!(counts(&body, how), if how == lost { count } else { 0 }, "{how}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_did_not_take_is_counted_as_returned() {
    let pair = Pair::linked().await;
    pair.tell(WINDOW * 2).await;
    pair.counted("returned", WINDOW * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_its_link_ends_is_counted_as_cut_off() {
    let pair = Pair::linked().await;
    pair.told.signal("-STOP");
    let tasks = format!("/proc/{}/task", pair.told.pid());
    // proc(5): the state stands behind the name in brackets.
    let stopped = |task: std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.rsplit(')').next().unwrap().starts_with(" T"))
    };
    while !std::fs::read_dir(&tasks).unwrap().all(|task| stopped(task.unwrap())) {}
    // Nothing comes back any more, so what is above the window waits.
    pair.tell(WINDOW + 88).await;
    pair.told.signal("-KILL");
    pair.counted("cut_off", 88);
}
