//! Where messages go, what becomes of them when their receiver ends, and how little of a process its peers see. Real
//! processes: this test binary starts itself again as a role.
#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use alys_cluster::{Cluster, ClusterConfig, Identity, Policy};
use alys_proto::cluster::{Hello, MailboxFreeze, Observe};
use alys_proto::{Message as _, Role, SCHEMA, storage};

use common::process::{FILTER, Process, answered_by};
use common::{PATIENCE, cluster_config, folder};

/// Not a test: what the child processes run.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    common::process::run_child();
}

/// Three instances of one role, all in view.
async fn three(folder: &std::path::Path) -> (Cluster, Vec<Process>) {
    let processes: Vec<Process> = ["a", "b", "c"].map(|name| Process::start_as(folder, name)).into();
    let cluster = alys_cluster::attach(&cluster_config(folder)).await.unwrap();
    let mut changes = cluster.changes();
    while cluster.remotes::<storage::Inbox>().len() < processes.len() {
        tokio::time::timeout(PATIENCE, changes.changed()).await.expect("all come into view").unwrap();
    }
    (cluster, processes)
}

async fn who_answers(cluster: &Cluster, policy: Policy) -> u64 {
    cluster.remote_by::<storage::Inbox>(policy).ask_within(PATIENCE, storage::GetHead {}).await.unwrap().height
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_can_be_reached_each_by_its_own_address() {
    let folder = folder();
    let (cluster, processes) = three(folder.path()).await;
    let mut answered = BTreeSet::new();
    for (_, remote) in cluster.remotes::<storage::Inbox>() {
        answered.insert(remote.ask_within(PATIENCE, storage::GetHead {}).await.unwrap().height);
    }
    assert_eq!(answered, processes.iter().map(Process::pid).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_loaded_instance_is_asked() {
    let folder = folder();
    let (cluster, processes) = three(folder.path()).await;
    // Two of the three have a question of ours under way that they will not answer.
    let mut asked = Vec::new();
    for (_, remote) in cluster.remotes::<storage::Inbox>().into_iter().take(2) {
        asked.push(tokio::spawn(async move { remote.ask_within(PATIENCE, storage::GetBlocks::default()).await }));
    }
    let observed = async || {
        let seen = cluster.observe_all(PATIENCE).await.into_iter().filter_map(|one| one.observation.ok());
        seen.map(|one| (u64::from(one.pid), one.mailbox.unwrap().in_flight)).collect::<Vec<_>>()
    };
    let give_up = Instant::now() + PATIENCE;
    let free = loop {
        let (busy, free): (Vec<_>, Vec<_>) = observed().await.into_iter().partition(|(_, in_flight)| in_flight == "GetBlocks");
        if let (2, [(pid, _)]) = (busy.len(), &free[..]) {
            break *pid;
        }
        assert!(Instant::now() < give_up, "two of {} never got busy", processes.len());
    };
    for _question in 0..20 {
        assert_eq!(who_answers(&cluster, Policy::LeastLoaded).await, free);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stays_with_its_instance_when_another_one_goes() {
    let folder = folder();
    let (cluster, mut processes) = three(folder.path()).await;
    let mut before = Vec::new();
    for key in 0..30 {
        before.push(who_answers(&cluster, Policy::ByKey(key)).await);
    }
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3, "the keys are spread: {before:?}");
    let gone = processes.pop().unwrap();
    gone.signal("-KILL");
    let mut changes = cluster.changes();
    while cluster.remotes::<storage::Inbox>().len() > 2 {
        tokio::time::timeout(PATIENCE, changes.changed()).await.expect("it goes out of view").unwrap();
    }
    for (key, pid) in (0..30).zip(before) {
        let now = who_answers(&cluster, Policy::ByKey(key)).await;
        assert!(now == pid || pid == gone.pid(), "key {key} went from {pid} to {now} though {} was killed", gone.pid());
    }
}

/// A reply just before an actor stops can be lost in ractor, and what is queued when a node stops is dropped: a drain answers
/// all of it first.
#[tokio::test(flavor = "multi_thread")]
async fn every_question_that_waits_is_answered_before_a_drained_process_ends() {
    const QUESTIONS: u64 = 500;
    let folder = folder();
    let mut role = Process::start(folder.path());
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    let remote = cluster.remote::<storage::Inbox>();
    answered_by(&remote, role.pid()).await;
    let inspector = cluster.inspector(Role::Storage, "storage").unwrap();
    // Held, so that all of them wait when the end is asked for; a drain ends a freeze.
    inspector.ask_within(PATIENCE, MailboxFreeze { who: "a test".into(), ..MailboxFreeze::default() }).await.unwrap();
    let asked: Vec<_> = (0..QUESTIONS)
        .map(|_| {
            let remote = remote.clone();
            tokio::spawn(async move { remote.ask_within(PATIENCE, storage::GetHead {}).await })
        })
        .collect();
    let waiting = async || inspector.ask_within(PATIENCE, Observe {}).await.unwrap().mailbox.unwrap().depth;
    while waiting().await < QUESTIONS {}
    role.signal("-TERM");
    for question in asked {
        assert_eq!(question.await.unwrap().map(|head| head.height), Ok(role.pid()));
    }
    assert_eq!(role.exit_code(), Some(0));
}

/// Every actor with a serialisable message is announced to every peer and costs memory there.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_two_actors_that_its_peers_know_of() {
    let folder = folder();
    let role = Process::start(folder.path());
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    answered_by(&cluster.remote(), role.pid()).await;
    let observed = cluster.observe_all(PATIENCE).await;
    let status = &observed[0].observation.as_ref().unwrap().status;
    let remotable = status.iter().find(|field| field.name == "remotable").map(|field| field.value.as_str());
    assert_eq!(remotable, Some("2"), "the signs of its role and of its inspector");
}

/// Its listener cannot be turned off, and whoever reaches it meets neither TLS nor a limit.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_outside_of_the_host_reaches_ractors_own_listener() {
    const LISTEN: &str = "0A";
    let folder = folder();
    let role = Process::start(folder.path());
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    answered_by(&cluster.remote(), role.pid()).await;
    let own: BTreeSet<String> = std::fs::read_dir(format!("/proc/{}/fd", role.pid()))
        .unwrap()
        .filter_map(|entry| {
            std::fs::read_link(entry.unwrap().path())
                .ok()?
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')
                .map(str::to_owned)
        })
        .collect();
    // proc(5): local address, state and inode of every socket of TCP.
    let mut listening = Vec::new();
    for family in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{}/net/{family}", role.pid())).unwrap();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == LISTEN && own.contains(fields[9]) {
                listening.push(fields[1].to_owned());
            }
        }
    }
    assert!(!listening.is_empty(), "it has one");
    assert!(listening.iter().all(|address| address.starts_with("0100007F:")), "not on 127.0.0.1 alone: {listening:?}");
}

/// At debug level ractor_cluster prints every payload.
#[tokio::test(flavor = "multi_thread")]
async fn ractors_sessions_are_never_logged_whatever_the_filter_says() {
    let folder = folder();
    let log = folder.path().join("log");
    let mut command = Process::command(folder.path());
    command.env(FILTER, "trace,ractor_cluster=trace").stderr(std::fs::File::create(&log).unwrap()).stdin(Stdio::null());
    let mut role = Process(command.spawn().unwrap());
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    answered_by(&cluster.remote(), role.pid()).await;
    let _heads = cluster.remote::<storage::Inbox>().ask_within(Duration::from_secs(5), storage::GetHead {}).await.unwrap();
    role.signal("-TERM");
    assert_eq!(role.exit_code(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("\"DEBUG\""), "the filter is open: {text}");
    assert!(!text.contains("ractor_cluster"), "a session was logged");
}

/// Peers remove a socket that refuses them: what a killed process left behind. One that is bound and does not listen yet
/// looks like that, so a process gives it the name by which it is found only then: by a rename, not by the bind.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_its_name_when_it_listens() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    let folder = folder();
    std::fs::create_dir(folder.path().join("run")).unwrap();
    std::fs::set_permissions(folder.path().join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let changes = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&changes, folder.path().join("run"), WatchFlags::CREATE | WatchFlags::MOVED_TO).unwrap();
    let _role = Process::start(folder.path());
    let named = tokio::task::spawn_blocking(move || {
        let mut room = [std::mem::MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(changes, &mut room);
        loop {
            let event = events.next().unwrap();
            if event.file_name().is_some_and(|name| name.to_bytes().ends_with(b".sock")) {
                return event.events();
            }
        }
    });
    let named = tokio::time::timeout(PATIENCE, named).await.expect("it gets a socket").unwrap();
    assert_eq!(named, ReadFlags::MOVED_TO, "it could be found before it listened");
}

/// N and N+1 run side by side, N and N+2 do not: whether the process goes on with a stranger of this schema.
async fn goes_on(folder: &std::path::Path, schema: u32) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const GO: u8 = 1;
    const TAKEN: u8 = 2;
    let sockets = std::fs::read_dir(folder.join("run")).unwrap().map(|entry| entry.unwrap().path());
    let socket = sockets.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "sock")).unwrap();
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let identity = Identity::new(Role::Network, "network");
    let hello = Hello {
        cluster_id: ClusterConfig::default().id,
        role: identity.role.into(),
        incarnation: identity.incarnation.to_bytes(),
        schema,
        pid: std::process::id(),
        instance: identity.instance,
        started_unix_millis: identity.started_millis,
        link: 1,
        stream: 0,
        told_window: 0,
    };
    let bytes = hello.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    // At once: one that it does not go on with is closed when the hello is read.
    stream.write_all(&[&length, bytes.as_slice(), &[GO]].concat()).await.unwrap();
    let length = stream.read_u32().await.unwrap();
    let mut theirs = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut theirs).await.unwrap();
    assert_eq!(Hello::decode(theirs.as_slice()).unwrap().schema, SCHEMA);
    stream.read_u8().await.is_ok_and(|answer| answer == TAKEN)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_the_next_schema_is_taken_and_one_further_away_is_not() {
    let folder = folder();
    let role = Process::start(folder.path());
    let cluster = alys_cluster::attach(&cluster_config(folder.path())).await.unwrap();
    answered_by(&cluster.remote(), role.pid()).await;
    for (schema, taken) in [(SCHEMA - 1, true), (SCHEMA, true), (SCHEMA + 1, true), (SCHEMA + 2, false), (SCHEMA + 1_000, false)]
    {
        assert_eq!(goes_on(folder.path(), schema).await, taken, "{schema}");
    }
}
