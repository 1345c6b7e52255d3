//! What goes wrong between processes: a peer that freezes, links that are half open, certificates that are replaced, senders
//! that may not send, strangers that only take up room. Real processes, real signals, real TLS.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, missing_docs)]

mod common;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use alys_proto::{Refused, storage};

use common::process::{Process, answered_by, certificates, mesh};
use common::{PATIENCE, cluster_config, folder, free_address};

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    common::process::run_child();
}

/// Waits until the instance is out of view; how long that took.
async fn gone(cluster: &alys_cluster::Cluster) -> Duration {
    let begin = Instant::now();
    let mut changes = cluster.changes();
    while !cluster.instances().is_empty() {
        tokio::time::timeout(PATIENCE, changes.changed()).await.expect("it goes out of view").unwrap();
    }
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_peer_is_out_of_view_within_three_seconds_and_back_after_its_thaw() {
    let folder = folder();
    let peer = Process::start(folder.path());
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    answered_by(&remote, peer.pid()).await;
    let asked = tokio::spawn({
        let remote = remote.clone();
        async move { remote.ask_within(PATIENCE, storage::GetBlocks::default()).await }
    });
    // The question is in its handler before it freezes.
    let observed = async || cluster.observe_all(PATIENCE).await[0].observation.clone().unwrap().mailbox.unwrap().in_flight;
    while observed().await != "GetBlocks" {}
    peer.signal("-STOP");
    let took = gone(&cluster).await;
    assert!(took < Duration::from_secs(4), "three seconds, and one for a busy machine: {took:?}");
    let answer = asked.await.unwrap();
    assert!(matches!(answer, Err(Refused::Unreachable(_))), "who waits learns it at once: {answer:?}");
    peer.signal("-CONT");
    let mut changes = cluster.changes();
    while cluster.instances().is_empty() {
        tokio::time::timeout(PATIENCE, changes.changed()).await.expect("it comes back").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_session_never_shadows_a_restart_under_the_same_name() {
    let folder = folder();
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    let mut frozen = Vec::new();
    for _restart in 0..5 {
        let role = Process::start(folder.path());
        answered_by(&remote, role.pid()).await;
        // Its sockets stay open, nobody answers on them: as half-open as a session gets.
        role.signal("-STOP");
        frozen.push(role);
    }
    let last = Process::start(folder.path());
    answered_by(&remote, last.pid()).await;
    for role in &frozen {
        role.signal("-CONT");
    }
    for _question in 0..50 {
        let head = remote.ask(storage::GetHead {}).await.unwrap();
        assert_eq!(head.height, last.pid(), "an earlier start answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_may_not_send_is_refused_by_name() {
    let folder = folder();
    let role = Process::start(folder.path());
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    answered_by(&remote, role.pid()).await;
    let refused = remote.ask(storage::CommitBlock::default()).await;
    assert!(matches!(&refused, Err(Refused::Unauthorised(why)) if why.contains("storage.CommitBlock")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_links_stand() {
    let folder = folder();
    certificates(folder.path(), &["storage", "debug"]);
    let listen = free_address();
    let mut config = cluster_config(folder.path());
    config.mesh = Some(mesh(folder.path(), "debug", None, vec![listen.to_string()]));
    let first = Process::start_on_tcp(folder.path(), listen, "storage");
    let cluster = alys_cluster::attach(&config).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    answered_by(&remote, first.pid()).await;

    // A new authority and new certificates of it: the standing link goes on, new ones are made with the new.
    certificates(folder.path(), &["storage", "debug"]);
    answered_by(&remote, first.pid()).await;
    drop(first);
    let second = Process::start_on_tcp(folder.path(), listen, "storage");
    answered_by(&remote, second.pid()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_neither_slow_links_nor_stay() {
    const STRANGERS: usize = 400;
    let folder = folder();
    certificates(folder.path(), &["storage", "debug"]);
    let listen = free_address();
    let mut config = cluster_config(folder.path());
    config.mesh = Some(mesh(folder.path(), "debug", None, vec![listen.to_string()]));
    let role = Process::start_on_tcp(folder.path(), listen, "storage");
    let cluster = alys_cluster::attach(&config).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    answered_by(&remote, role.pid()).await;
    let strangers: Vec<TcpStream> = (0..STRANGERS).filter_map(|_| TcpStream::connect(listen).ok()).collect();
    for _question in 0..100 {
        remote.ask(storage::GetHead {}).await.unwrap();
    }
    // Most are turned away at once, the last when their time to say something is over.
    for mut stranger in strangers {
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        let closed = std::io::Read::read(&mut stranger, &mut [0]);
        assert!(!matches!(&closed, Ok(1..)), "{closed:?}");
        assert!(!matches!(&closed, Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock), "still open");
    }
    answered_by(&remote, role.pid()).await;
}
