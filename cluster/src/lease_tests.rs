//! A keeper against a storage that a test plays.
#![allow(clippy::unwrap_used, clippy::panic)]

use alys_proto::common::Done;

use super::*;
use crate::testing::{Probe, probe};

const TERM: Duration = Duration::from_millis(900);

fn keeper() -> (Lease, Arc<Keeper>, Probe<storage::Inbox>) {
    let (remote, storage) = probe();
    let lease = Lease::of(Role::Chain);
    let identity = Identity::new(Role::Chain, "chain");
    let keeper = Keeper::new(&lease, &identity, remote, LeaseConfig { term: TERM }).unwrap();
    (lease, keeper, storage)
}

fn verdict(granted: bool, epoch: u64, process: alys_proto::cluster::Process) -> LeaseVerdict {
    let lease = storage::Lease {
        role: Role::Chain.into(),
        instance: "chain-b".into(),
        incarnation: vec![7; 8],
        epoch,
        remaining_millis: 10,
        process: Some(process),
        ..storage::Lease::default()
    };
    LeaseVerdict { granted, lease: Some(lease) }
}

async fn acquire(storage: &mut Probe<storage::Inbox>) -> (AcquireLease, alys_proto::Reply<LeaseVerdict>) {
    match storage.next().await {
        storage::Inbox::AcquireLease(request, reply) => (request, reply),
        _ => panic!("not a question for a lease"),
    }
}

#[test]
fn a_role_without_leases_always_acts() {
    let lease = Lease::of(Role::Stream);
    assert_eq!((lease.check(), lease.epoch(), lease.show()), (Ok(()), 0, None));
}

#[tokio::test]
async fn nothing_is_done_before_the_lease_is_held_nor_after_it_is_given_back() {
    let (lease, keeper, mut storage) = keeper();
    assert!(matches!(lease.check(), Err(Refused::Fenced(_))));
    let waiting = tokio::spawn({
        let keeper = keeper.clone();
        async move {
            let shown = std::sync::Mutex::new(Vec::new());
            keeper.acquire(|reason| shown.lock().unwrap().push(reason)).await.unwrap();
            shown.into_inner().unwrap()
        }
    });
    let (request, reply) = acquire(&mut storage).await;
    assert_eq!((request.instance.as_str(), request.term_millis, request.gone.len()), ("chain", 900, 0));
    reply.send(verdict(false, 6, process::own()));
    let (request, reply) = acquire(&mut storage).await;
    assert!(request.gone.is_empty(), "the holder's process is ours, and it exists");
    assert!(lease.check().is_err(), "refused is not held");
    reply.send(verdict(true, 7, process::own()));
    let shown = waiting.await.unwrap();
    assert!(shown[0].starts_with("the lease of chain (epoch 6) is held by chain-b (0707070707070707, pid "), "{shown:?}");
    assert_eq!((lease.check(), lease.epoch()), (Ok(()), 7));

    let giving_back = tokio::spawn(async move { keeper.give_back().await });
    let storage::Inbox::ReleaseLease(request, reply) = storage.next().await else { panic!("not a release") };
    assert!(lease.check().is_err(), "closed before it is given back");
    assert_eq!(request.epoch, 7);
    reply.send(Done {});
    giving_back.await.unwrap();
}

#[tokio::test]
async fn a_holder_whose_process_is_gone_is_reported() {
    let (_, keeper, mut storage) = keeper();
    let waiting = tokio::spawn(async move { keeper.acquire(|_| {}).await });
    let (_, reply) = acquire(&mut storage).await;
    let mut dead = process::own();
    dead.started_ticks += 1;
    reply.send(verdict(false, 6, dead));
    let (request, reply) = acquire(&mut storage).await;
    assert_eq!(request.gone, vec![7; 8]);
    reply.send(verdict(true, 7, process::own()));
    waiting.await.unwrap().unwrap();
}

/// The grant was on its way for longer than it is good for: the process may have been frozen as long.
#[tokio::test]
async fn time_counts_from_the_question_not_from_the_answer() {
    let (lease, keeper, mut storage) = keeper();
    let waiting = tokio::spawn({
        let keeper = keeper.clone();
        async move { keeper.acquire(|_| {}).await }
    });
    let (_, reply) = acquire(&mut storage).await;
    tokio::time::sleep(TERM / 4).await;
    reply.send(verdict(true, 1, process::own()));
    waiting.await.unwrap().unwrap();
    let left = lease.show().unwrap().remaining_millis;
    assert!(left <= millis(TERM * 2 / 3 - TERM / 4), "{left} ms left");
}

#[tokio::test]
async fn renewals_hold_it_and_a_refused_one_loses_it_at_once() {
    let (lease, keeper, mut storage) = keeper();
    keeper.state.epoch.store(3, Ordering::Release);
    keeper.state.hold(boot_clock(), TERM);
    let renewing = tokio::spawn(keeper.clone().renew());
    let before = lease.show().unwrap().remaining_millis;
    let storage::Inbox::RenewLease(request, reply) = storage.next().await else { panic!("not a renewal") };
    assert_eq!(request.epoch, 3);
    assert!(before > lease.show().unwrap().remaining_millis);
    reply.send(Done {});
    // Doubt renews at once, so it does not wait for a third of the term.
    lease.doubt();
    let storage::Inbox::RenewLease(_, reply) = storage.next().await else { panic!("not a renewal") };
    lease.check().unwrap();
    reply.refuse(Refused::Fenced("chain-b holds epoch 4".into()));
    renewing.await.unwrap();
    assert!(lease.check().is_err());
}
