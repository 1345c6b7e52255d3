//! The role between probes of storage, network and chain.

use std::time::Duration;

use alys_cluster::testing::{Probe, Started, probe, start};
use alys_proto::chain::BatchImported;
use alys_proto::network::DownloadedBlocks;
use alys_proto::storage::{Blocks, GetBlocks, Head};
use alys_proto::sync::{GetSyncStatus, SyncRequiredNotification};
use alys_proto::{Refused, chain, network, storage};

use super::kit;
use crate::{Config, Peers, SyncActor};

struct Rig {
    role: Started<SyncActor>,
    storage: Probe<storage::Inbox>,
    network: Probe<network::Inbox>,
    chain: Probe<chain::Inbox>,
}

fn rig(config: Config) -> Rig {
    let ((to_storage, storage), (to_network, network), (to_chain, chain)) = (probe(), probe(), probe());
    let peers = Peers { storage: to_storage, network: to_network, chain: to_chain };
    Rig { role: start(SyncActor::new(config, &kit::spec(), peers).unwrap()), storage, network, chain }
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
    for (head, range) in [(0usize, 0..2), (2, 2..3)] {
        let hash = if head == 0 { Vec::new() } else { blocks[head - 1].hash.clone() };
        rig.head_is(Head { height: head as u64, hash }).await;
        let asked = rig.peer_sends(Ok(blocks[range.clone()].to_vec())).await;
        assert_eq!(asked, (head as u64 + 1, range.len() as u32));
        let chain::Inbox::ValidatedBlockBatch(batch, reply) = rig.chain.next().await else { panic!("something else came") };
        assert_eq!(batch.blocks, blocks[range.clone()]);
        reply.send(BatchImported { head_height: range.end as u64 });
    }
    rig.head_is(Head { height: 3, hash: blocks[2].hash.clone() }).await;
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
    rig.head_is(Head::default()).await;
    let mut forged = kit::chain(2);
    forged[1].certificate = forged[0].certificate.clone();
    rig.peer_sends(Ok(forged)).await;
    let network::Inbox::ReportPeer(report) = rig.network.next().await else { panic!("something else came") };
    assert_eq!(report.peer_id, "peer");
    assert!(rig.chain.try_next().is_none());
    rig.head_is(Head::default()).await;
    rig.peer_sends(Ok(kit::chain(2))).await;
    assert!(matches!(rig.chain.next().await, chain::Inbox::ValidatedBlockBatch(..)));
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
