//! The role between probes of storage, network and chain.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alys_cluster::testing::{Probe, Started, probe, start};
use alys_proto::chain::BatchImported;
use alys_proto::network::DownloadedBlocks;
use alys_proto::storage::{Blocks, GetBlocks, Head};
use alys_proto::sync::{DeliverPiece, GetSyncStatus, PullWork, SyncRequiredNotification, Work};
use alys_proto::{Refused, chain, network, storage, sync};

use super::kit;
use crate::{Config, Peers, SyncActor, Team};

/// A role that leads, or one that works for the leader that the test plays.
struct Rig {
    role: Started<SyncActor>,
    storage: Probe<storage::Inbox>,
    network: Probe<network::Inbox>,
    chain: Probe<chain::Inbox>,
    leader: Probe<sync::Inbox>,
}

fn rig(config: Config) -> Rig {
    rig_in(config, Team::alone())
}

fn rig_in(config: Config, team: Team) -> Rig {
    let ((to_storage, storage), (to_network, network), (to_chain, chain)) = (probe(), probe(), probe());
    let (to_leader, leader) = probe();
    let peers = Peers { storage: to_storage, network: to_network, chain: to_chain, leader: to_leader, team };
    Rig { role: start(SyncActor::new(config, &kit::spec(), peers).unwrap()), storage, network, chain, leader }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Rig {
    async fn head_is(&mut self, head: Head) {
        let storage::Inbox::GetHead(_, reply) = self.storage.next().await else { panic!("something else was asked") };
        reply.send(head);
    }

    async fn peer_sends(&mut self, blocks: Result<Vec<alys_proto::common::CommittedBlock>, Refused>) -> (u64, u32) {
        let network::Inbox::ParallelBlockDownloadRequest(request, reply) = self.network.next().await else {
            panic!("something else was asked")
        };
        reply.answer(blocks.map(|blocks| DownloadedBlocks { blocks, peer: "peer".into() }));
        (request.from_height, request.count)
    }
}

#[tokio::test]
async fn it_brings_chain_what_it_misses() {
    let mut rig = rig(Config { batch_blocks: 2, ..Config::default() });
    let blocks = kit::chain(3);
    rig.role.remote.tell(SyncRequiredNotification { local_height: 0, target_height: 3 }).unwrap();
    rig.head_is(Head::default()).await;
    // Both pieces are fetched at once, though chain has taken none yet.
    for range in [0..2, 2..3] {
        let asked = rig.peer_sends(Ok(blocks[range.clone()].to_vec())).await;
        assert_eq!(asked, (range.start as u64 + 1, range.len() as u32));
    }
    for (range, head) in [(0..2, 2), (2..3, 3)] {
        let chain::Inbox::ValidatedBlockBatch(batch, reply) = rig.chain.next().await else { panic!("something else came") };
        assert_eq!(batch.blocks, blocks[range]);
        reply.send(BatchImported { head_height: head });
        rig.head_is(Head { height: head, hash: blocks[head as usize - 1].hash.clone() }).await;
    }
    loop {
        let status = rig.role.remote.ask(GetSyncStatus {}).await.unwrap();
        if !status.syncing {
            assert_eq!((status.local_height, status.target_height), (3, 3));
            break;
        }
    }
    rig.role.stop().await.unwrap();
}

#[tokio::test]
async fn a_bad_range_never_reaches_chain_and_its_peer_is_reported() {
    let mut rig = rig(Config { retry_min: Duration::from_millis(1), ..Config::default() });
    rig.role.remote.tell(SyncRequiredNotification { local_height: 0, target_height: 2 }).unwrap();
    rig.head_is(Head::default()).await;
    rig.peer_sends(Err(Refused::Failed("no peer has block 1".into()))).await;
    let mut forged = kit::chain(2);
    forged[1].certificate = forged[0].certificate.clone();
    rig.peer_sends(Ok(forged)).await;
    let network::Inbox::ReportPeer(report) = rig.network.next().await else { panic!("something else came") };
    assert_eq!(report.peer_id, "peer");
    assert!(rig.chain.try_next().is_none());
    rig.peer_sends(Ok(kit::chain(2))).await;
    assert!(matches!(rig.chain.next().await, chain::Inbox::ValidatedBlockBatch(..)));
}

#[tokio::test]
async fn workers_elsewhere_pull_from_the_leader_and_bring_it_their_pieces() {
    let mut rig = rig(Config { batch_blocks: 2, ..Config::default() });
    let (remote, blocks) = (rig.role.remote.clone(), kit::chain(4));
    let pull = |failed_from| PullWork { worker: "sync-2".into(), failed_from, target_height: 0 };
    assert_eq!(remote.ask(pull(0)).await.unwrap(), Work::default(), "nothing is missing");
    remote.tell(SyncRequiredNotification { local_height: 0, target_height: 4 }).unwrap();
    rig.head_is(Head::default()).await;
    let network::Inbox::ParallelBlockDownloadRequest(own, slow) = rig.network.next().await else { panic!("no download") };
    assert_eq!((own.from_height, own.count), (1, 2));
    let work = remote.ask(pull(0)).await.unwrap();
    assert_eq!(work, Work { from_height: 3, count: 2, target_height: 4 });
    remote.ask(DeliverPiece { worker: "sync-2".into(), from_height: 3, blocks: blocks[2..].to_vec() }).await.unwrap();
    assert!(rig.chain.try_next().is_none(), "1 is missing");
    slow.send(DownloadedBlocks { blocks: blocks[..2].to_vec(), peer: "peer".into() });
    for (range, head) in [(0..2, 2u64), (2..4, 4)] {
        let chain::Inbox::ValidatedBlockBatch(batch, reply) = rig.chain.next().await else { panic!("something else came") };
        assert_eq!(batch.blocks, blocks[range]);
        reply.send(BatchImported { head_height: head });
        rig.head_is(Head { height: head, hash: blocks[head as usize - 1].hash.clone() }).await;
    }
}

#[tokio::test]
async fn a_worker_serves_its_leader_and_takes_over_when_that_is_gone() {
    let live = Arc::new(Mutex::new(names(&["sync", "sync-2"])));
    let seen = live.clone();
    let team = Team { own: "sync-2".into(), members: Arc::new(move || seen.lock().unwrap().clone()) };
    let mut rig = rig_in(Config { batch_blocks: 2, ..Config::default() }, team);
    let blocks = kit::chain(4);
    let sync::Inbox::PullWork(asked, reply) = rig.leader.next().await else { panic!("something else came") };
    assert_eq!((asked.worker.as_str(), asked.target_height), ("sync-2", 0));
    reply.send(Work { from_height: 1, count: 2, target_height: 4 });
    assert_eq!(rig.peer_sends(Ok(blocks[..2].to_vec())).await, (1, 2));
    let sync::Inbox::DeliverPiece(piece, reply) = rig.leader.next().await else { panic!("something else came") };
    assert_eq!((piece.from_height, piece.blocks.as_slice()), (1, &blocks[..2]));
    let refused = rig.role.remote.ask(PullWork { worker: "sync-3".into(), ..PullWork::default() }).await;
    assert!(matches!(refused, Err(Refused::NotReady(_))), "{refused:?}");

    // The leader dies with the piece. Its worker knows where it wanted to get, and goes on from what storage has.
    *live.lock().unwrap() = names(&["sync-2", "sync-3"]);
    drop(reply);
    rig.head_is(Head { height: 2, hash: blocks[1].hash.clone() }).await;
    assert_eq!(rig.peer_sends(Ok(blocks[2..].to_vec())).await, (3, 2));
    let chain::Inbox::ValidatedBlockBatch(batch, _) = rig.chain.next().await else { panic!("something else came") };
    assert_eq!(batch.blocks, blocks[2..]);
}

#[tokio::test]
async fn ranges_are_served_from_storage_so_many_at_once() {
    let mut rig = rig(Config { max_serving: 1, ..Config::default() });
    let remote = rig.role.remote.clone();
    let request = GetBlocks { from_height: 1, limit: 2 };
    let first = tokio::spawn({
        let remote = remote.clone();
        async move { remote.ask(request).await }
    });
    let storage::Inbox::GetBlocks(asked, reply) = rig.storage.next().await else { panic!("something else was asked") };
    assert_eq!(asked, request);
    assert!(matches!(remote.ask(request).await, Err(Refused::Busy(_))));
    reply.send(Blocks { blocks: kit::chain(2) });
    assert_eq!(first.await.unwrap().unwrap().blocks, kit::chain(2));
    loop {
        if remote.ask(GetSyncStatus {}).await.unwrap().served_blocks == 2 {
            break;
        }
    }
    rig.role.stop().await.unwrap();
}
