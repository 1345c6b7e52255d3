//! Leases on a real database, through the role's messages.

use alys_cluster::testing::{self, Started};
use alys_cluster::{Identity, Remote};
use alys_proto::cluster::Process;
use alys_proto::storage::{
    AcquireLease, AppendWal, CommitBlock, Document, GetHead, GetLeases, Inbox, LeaseVerdict, PutDocuments, ReleaseLease,
    RenewLease,
};
use alys_proto::{Refused, Role};
use tempfile::TempDir;

use super::actor::{first, spec};
use super::kit::config;
use crate::StorageActor;

const TERM_MILLIS: u64 = 60_000;

fn start(folder: &TempDir) -> Started<StorageActor> {
    testing::start(StorageActor::new(config(folder), &spec()).unwrap())
}

fn request(gone: &[u8]) -> AcquireLease {
    AcquireLease {
        instance: "chain".into(),
        term_millis: TERM_MILLIS,
        process: Some(Process { pid: 7, ..Process::default() }),
        gone: gone.to_vec(),
    }
}

async fn acquire(storage: &Started<StorageActor>, who: &Identity, gone: &[u8]) -> LeaseVerdict {
    storage.remote_from(who, 0).ask(request(gone)).await.unwrap()
}

fn epoch(verdict: &LeaseVerdict) -> Option<u64> {
    verdict.granted.then(|| verdict.lease.as_ref().unwrap().epoch)
}

fn is_fenced<T: std::fmt::Debug>(answer: Result<T, Refused>) -> bool {
    matches!(&answer, Err(Refused::Fenced(_))) || panic!("{answer:?}")
}

/// Every write there is.
async fn all_fenced(remote: &Remote<Inbox>) -> bool {
    let document = Document { owner: "chain".into(), key: "cursor".into(), value: vec![1] };
    is_fenced(remote.ask(first()).await)
        && is_fenced(remote.ask(AppendWal { height: 1, entries: vec![vec![9]] }).await)
        && is_fenced(remote.ask(PutDocuments { documents: vec![document] }).await)
}

#[tokio::test]
async fn a_new_holder_fences_the_old_one_and_epochs_survive_a_restart() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    let (old, new) = (Identity::new(Role::Chain, "chain"), Identity::new(Role::Chain, "chain"));
    assert_eq!(epoch(&acquire(&storage, &old, &[]).await), Some(1));
    storage.remote_from(&old, 1).ask(RenewLease { epoch: 1 }).await.unwrap();
    let held = acquire(&storage, &new, &[]).await;
    let lease = held.lease.clone().unwrap();
    assert_eq!((epoch(&held), lease.incarnation, lease.process.unwrap().pid), (None, old.incarnation.to_bytes(), 7));
    assert!((1..=TERM_MILLIS).contains(&lease.remaining_millis));

    assert_eq!(epoch(&acquire(&storage, &new, &old.incarnation.to_bytes()).await), Some(2));
    // Nobody has seen epoch 2 in a message yet: this is storage's own record.
    assert!(all_fenced(&storage.remote_from(&old, 1)).await);
    assert!(all_fenced(&storage.remote_from(&old, 2)).await, "under the other's epoch");
    assert!(is_fenced(storage.remote_from(&old, 1).ask(RenewLease { epoch: 1 }).await));
    assert!(is_fenced(storage.remote_from(&old, 1).ask(ReleaseLease { epoch: 1 }).await));
    assert_eq!(storage.remote.ask(GetHead {}).await.unwrap().height, 0, "a fenced write was written");
    assert_eq!(storage.remote.ask(GetLeases {}).await.unwrap().fenced_writes, 6);
    assert_eq!(storage.remote_from(&new, 2).ask(first()).await.unwrap().height, 1);
    storage.stop().await.unwrap();

    let storage = start(&folder);
    assert!(all_fenced(&storage.remote_from(&old, 1)).await);
    let third = Identity::new(Role::Chain, "chain-b");
    assert_eq!(epoch(&acquire(&storage, &third, &[]).await), None, "a restart counts as a renewal");
    assert_eq!(epoch(&acquire(&storage, &new, &[]).await), Some(2));
    storage.remote_from(&new, 2).ask(ReleaseLease { epoch: 2 }).await.unwrap();
    storage.stop().await.unwrap();

    let storage = start(&folder);
    assert_eq!(epoch(&acquire(&storage, &third, &[]).await), Some(3), "what was given back stays so");
    let leases = storage.remote.ask(GetLeases {}).await.unwrap().leases;
    assert_eq!(
        leases.iter().map(|lease| (lease.role(), lease.epoch, lease.released)).collect::<Vec<_>>(),
        [(Role::Chain, 3, false)]
    );
    storage.stop().await.unwrap();
}

#[tokio::test]
async fn every_role_refuses_an_epoch_below_the_highest_it_has_seen() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    let (old, new) = (Identity::new(Role::Chain, "chain"), Identity::new(Role::Chain, "chain"));
    // A read, which storage's record does not guard: this is the check at the door of every role.
    storage.remote_from(&old, 4).ask(GetHead {}).await.unwrap();
    storage.remote_from(&new, 5).ask(GetHead {}).await.unwrap();
    assert!(is_fenced(storage.remote_from(&old, 4).ask(GetHead {}).await));
    assert!(is_fenced(storage.remote_from(&old, 0).ask(GetHead {}).await));
    storage.remote_from(&Identity::new(Role::Bridge, "bridge"), 1).ask(GetHead {}).await.unwrap();
    assert_eq!(epoch(&acquire(&storage, &old, &[]).await), Some(1), "who asks for a lease has none yet");
    storage.stop().await.unwrap();
}

#[tokio::test]
async fn a_malformed_question_for_a_lease_is_refused() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    let chain = Identity::new(Role::Chain, "chain");
    let breaches = [
        (Identity::new(Role::Debug, "debug"), request(&[]), "debug holds no lease"),
        (chain.clone(), AcquireLease { term_millis: 1, ..request(&[]) }, "term of 1 ms"),
        (chain.clone(), AcquireLease { instance: "x".repeat(1_000), ..request(&[]) }, "instance"),
        (chain, request(&[1, 2, 3]), "3 bytes instead of 8"),
    ];
    for (who, request, says) in breaches {
        let refused = storage.remote_from(&who, 0).ask(request).await.unwrap_err();
        assert!(matches!(&refused, Refused::Malformed(reason) if reason.contains(says)), "{says}: {refused}");
    }
    storage.stop().await.unwrap();
}

/// What the old holder had sent before is written before the new one gets its lease; what comes behind is refused.
#[tokio::test]
async fn a_grant_stands_between_the_writes_of_two_holders() {
    let folder = TempDir::new().unwrap();
    let storage = start(&folder);
    let (old, new) = (Identity::new(Role::Chain, "chain"), Identity::new(Role::Chain, "chain"));
    acquire(&storage, &old, &[]).await;
    let from_old = storage.remote_from(&old, 1);
    let before = from_old.ask(first());
    let grant = storage.remote_from(&new, 0);
    let grant = grant.ask(request(&old.incarnation.to_bytes()).clone());
    let (before, granted) = tokio::join!(before, grant);
    assert_eq!(epoch(&granted.unwrap()), Some(2));
    let head = storage.remote_from(&new, 2).ask(GetHead {}).await.unwrap().height;
    // A grant waits in the control lane, so it may overtake; either way the new holder reads what there is.
    assert_eq!(before.is_ok(), head == 1);
    assert!(is_fenced(storage.remote_from(&old, 1).ask(CommitBlock::default()).await));
    storage.stop().await.unwrap();
}
