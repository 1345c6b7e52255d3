//! Real processes in a real mesh: this test binary starts itself again as a role. `pg` is a static of the process, so each
//! test needs a process of its own: run with `cargo nextest`, as `make test` does.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use alys_cluster::ClusterConfig;
use alys_proto::cluster::{Drain, Observe};
use alys_proto::{Refused, Role, storage};

use common::process::{Process, answered_by, certificates, mesh};
use common::{cluster_config as config, folder, free_address};

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    common::process::run_child();
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
