//! Real network roles on loopback, with probes in place of the other roles.

use std::sync::Arc;
use std::time::Duration;

use alys_blocks::ChainSpec;
use alys_cluster::testing::{Probe, Started, probe, start};
use alys_cluster::{ActorError, Remote};
use alys_proto::network::{GetPeers, ParallelBlockDownloadRequest, PublishConsensus, PublishTransaction};
use alys_proto::storage::{Blocks, Head};
use alys_proto::{chain, common, engine, network, storage, sync};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::kit;
use crate::{Config, NetworkActor, Peers};

struct Node {
    role: Started<NetworkActor>,
    chain: Probe<chain::Inbox>,
    engine: Probe<engine::Inbox>,
    sync: Probe<sync::Inbox>,
    _storage: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

/// Storage that knows one head.
fn storage_with(head: Head) -> (Remote<storage::Inbox>, tokio::task::JoinHandle<()>) {
    let (remote, mut probe) = probe::<storage::Inbox>();
    let task = tokio::spawn(async move {
        if let storage::Inbox::GetHead(_, reply) = probe.next().await {
            reply.send(head);
        }
    });
    (remote, task)
}

fn node(spec: ChainSpec, bootnodes: Vec<String>, head: Head) -> Node {
    node_on("/ip4/127.0.0.1/tcp/0", spec, bootnodes, head)
}

fn node_on(listen: &str, spec: ChainSpec, bootnodes: Vec<String>, head: Head) -> Node {
    let folder = TempDir::new().unwrap();
    let config = Config {
        data_dir: folder.path().to_owned(),
        listen: vec![listen.parse().unwrap()],
        bootnodes: bootnodes.iter().map(|address| address.parse().unwrap()).collect(),
        redial_min: Duration::from_millis(50),
        ..Config::default()
    };
    let (storage, serving) = storage_with(head);
    let ((chain_remote, chain), (engine_remote, engine), (sync_remote, sync)) = (probe(), probe(), probe());
    let peers = Peers { storage, chain: chain_remote, engine: engine_remote, sync: sync_remote };
    let role = start(NetworkActor::new(config, Arc::new(spec), peers).unwrap());
    Node { role, chain, engine, sync, _storage: serving, _folder: folder }
}

impl Node {
    async fn peers(&self) -> network::Peers {
        self.role.remote.ask(GetPeers {}).await.unwrap()
    }

    /// What an operator copies from the status into another node's `bootnodes`.
    async fn address(&self) -> String {
        let peers = self.peers().await;
        let status = self.role.status();
        let (_, shown) = status.iter().find(|(name, _)| *name == "addresses").unwrap();
        assert_eq!(*shown, format!("{}/p2p/{}", peers.listen_addresses[0], peers.local_peer_id));
        shown.clone()
    }

    /// Asks until a condition holds. The question itself paces the loop.
    async fn until(&self, what: &str, holds: impl Fn(&network::Peers, &[(&'static str, String)]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let peers = self.peers().await;
            if holds(&peers, &self.role.status()) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {peers:?} {:?}", self.role.status());
            tokio::task::yield_now().await;
        }
    }
}

fn field(status: &[(&'static str, String)], name: &str) -> u64 {
    status.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| value.parse().unwrap())
}

/// Two nodes that know each other.
async fn pair(head_of_b: Head) -> (Node, Node) {
    let a = node(kit::spec(), Vec::new(), Head::default());
    let b = node(kit::spec(), vec![a.address().await], head_of_b);
    a.until("a has a peer", |peers, _| peers.peers.len() == 1).await;
    b.until("b has a peer", |peers, _| peers.peers.len() == 1).await;
    (a, b)
}

/// Publishes until somebody got it: gossip learns of a subscription a moment after the handshake.
async fn publish(node: &Node, block: common::CommittedBlock) {
    let before = field(&node.role.status(), "blocks_published");
    for height in block.height.. {
        node.role.remote.tell(if height == block.height { block.clone() } else { kit::block(height) }).unwrap();
        let unpublished = field(&node.role.status(), "unpublished");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            node.peers().await;
            let status = node.role.status();
            if field(&status, "blocks_published") > before {
                return;
            }
            if field(&status, "unpublished") > unpublished {
                break;
            }
            assert!(Instant::now() < deadline, "{status:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalised_block_reaches_the_other_cluster_and_garbage_does_not() {
    let (a, mut b) = pair(Head::default()).await;
    publish(&a, kit::block(1)).await;
    let chain::Inbox::BlockReceived(received) = b.chain.next().await else { panic!("something else came") };
    let block = received.block.unwrap();
    assert_eq!(block, kit::block(block.height));
    assert_eq!(received.peer, a.peers().await.local_peer_id);
    b.until("b counts it", |_, status| {
        field(status, "blocks_received") == 1 && field(status, "last_received_height") == block.height
    })
    .await;

    let mut forged = kit::block(50);
    forged.certificate = kit::block(51).certificate;
    publish(&a, forged).await;
    b.until("b refuses it", |_, status| field(status, "rejected") == 1).await;
    assert!(b.chain.try_next().is_none(), "chain never sees it");
    publish(&a, kit::block(60)).await;
    assert!(matches!(b.chain.next().await, chain::Inbox::BlockReceived(_)), "and life goes on");
    a.role.stop().await.unwrap();
    b.role.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consensus_reaches_chain_and_transactions_the_engine() {
    let (a, mut b) = pair(Head::default()).await;
    publish(&a, kit::block(1)).await;
    a.role.remote.tell(PublishConsensus { message: kit::spoken(4, b"vote").encode() }).unwrap();
    a.role.remote.tell(PublishTransaction { transaction: vec![2, 9, 9] }).unwrap();
    let consensus = loop {
        match b.chain.next().await {
            chain::Inbox::ConsensusMessage(message) => break message,
            _ => continue,
        }
    };
    assert_eq!(consensus.message, b"vote");
    let engine::Inbox::ProcessTransaction(offered, reply) = b.engine.next().await else { panic!("something else came") };
    assert_eq!(offered.transaction, [2, 9, 9]);
    reply.send(engine::TransactionResult { transaction_hash: vec![1; 32], rejected: String::new() });
    b.until("b counts it", |_, status| field(status, "transactions_received") == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_fetched_from_a_peer_that_has_it() {
    let head = Head { height: 3, hash: kit::block(3).hash };
    let (a, mut b) = pair(head).await;
    a.until("a knows b's head", |peers, _| peers.peers[0].head_height == 3).await;
    let served = tokio::spawn(async move {
        loop {
            let sync::Inbox::ServeRange(request, reply) = b.sync.next().await else { panic!("something else came") };
            if (request.from_height, request.limit) == (2, 2) {
                reply.send(Blocks { blocks: vec![kit::block(2), kit::block(3)] });
                return b;
            }
            assert_eq!((request.from_height, request.limit), (3, 1), "b's head, which a does not have");
            reply.send(Blocks { blocks: vec![kit::block(3)] });
        }
    });
    let answer = a.role.remote.ask(ParallelBlockDownloadRequest { from_height: 2, count: 2 }).await.unwrap();
    let b = served.await.unwrap();
    assert_eq!(answer.blocks, [kit::block(2), kit::block(3)]);
    assert_eq!(answer.peer, b.peers().await.local_peer_id);
    let refused = a.role.remote.ask(ParallelBlockDownloadRequest { from_height: 9, count: 2 }).await.unwrap_err();
    assert!(refused.to_string().contains("no peer has block 9"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_chain_is_turned_away() {
    let a = node(kit::spec(), Vec::new(), Head::default());
    let other = ChainSpec { chain_id: 1, ..kit::spec() };
    let b = node(other, vec![a.address().await], Head::default());
    // Whoever hears first closes the connection, so the other side may not get to count it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while field(&a.role.status(), "bans") + field(&b.role.status(), "bans") == 0 {
        assert!(a.peers().await.peers.is_empty() && b.peers().await.peers.is_empty());
        assert!(Instant::now() < deadline, "{:?} {:?}", a.role.status(), b.role.status());
    }
    assert!(a.peers().await.peers.is_empty() && b.peers().await.peers.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_a_configuration_error() {
    let a = node(kit::spec(), Vec::new(), Head::default());
    let taken = a.peers().await.listen_addresses[0].clone();
    let folder = TempDir::new().unwrap();
    let config = Config { data_dir: folder.path().to_owned(), listen: vec![taken.parse().unwrap()], ..Config::default() };
    let peers = Peers { storage: probe().0, chain: probe().0, engine: probe().0, sync: probe().0 };
    let second = start(NetworkActor::new(config, Arc::new(kit::spec()), peers).unwrap());
    let Err(error) = timeout(Duration::from_secs(5), second.finished()).await.unwrap() else { panic!("it started") };
    assert!(matches!(&error, ActorError::Configuration(what) if what.contains("another program listens there")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootnode_that_comes_back_is_dialled_again() {
    let a = node(kit::spec(), Vec::new(), Head::default());
    let address = a.address().await;
    let b = node(kit::spec(), vec![address.clone()], Head::default());
    b.until("b has a peer", |peers, _| peers.peers.len() == 1).await;
    let folder = a._folder;
    a.role.stop().await.unwrap();
    b.until("b lost it", |peers, _| peers.peers.is_empty()).await;
    let (listen, _) = address.split_once("/p2p/").unwrap();
    let config = Config { data_dir: folder.path().to_owned(), listen: vec![listen.parse().unwrap()], ..Config::default() };
    let peers = Peers { storage: storage_with(Head::default()).0, chain: probe().0, engine: probe().0, sync: probe().0 };
    let again = start(NetworkActor::new(config, Arc::new(kit::spec()), peers).unwrap());
    b.until("b found it again", |peers, _| peers.peers.len() == 1).await;
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_meet_over_quic_too() {
    let listen = "/ip4/127.0.0.1/udp/0/quic-v1";
    let a = node_on(listen, kit::spec(), Vec::new(), Head::default());
    let address = a.address().await;
    assert!(address.contains("/quic-v1/p2p/"), "{address}");
    let b = node_on(listen, kit::spec(), vec![address], Head::default());
    b.until("b has a peer", |peers, _| peers.peers.first().is_some_and(|peer| peer.address.contains("/quic-v1"))).await;
    a.until("a has a peer whose ping is known", |peers, _| peers.peers.first().is_some_and(|peer| peer.round_trip_micros > 0))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_know_one_in_common_find_each_other() {
    let a = node(kit::spec(), Vec::new(), Head::default());
    let b = node(kit::spec(), vec![a.address().await], Head::default());
    b.until("b has a peer", |peers, _| peers.peers.len() == 1).await;
    let c = node(kit::spec(), vec![a.address().await], Head::default());
    let (b_id, c_id) = (b.peers().await.local_peer_id, c.peers().await.local_peer_id);
    let has = |peers: &network::Peers, id: &str| peers.peers.iter().any(|peer| peer.peer_id == id);
    c.until("c has found b", |peers, _| has(peers, &b_id)).await;
    b.until("b has c", |peers, _| has(peers, &c_id)).await;
}
