//! A peer that lies: our own network role, which speaks the protocol well, in front of a test that serves blocks nobody has
//! signed. It shows its head honestly, so that others believe that it has the blocks.

use std::sync::Arc;
use std::time::Duration;

use alys_blocks::{Certificate, ChainSpec};
use alys_cluster::Remote;
use alys_cluster::testing::{Started, free_port, probe, start};
use alys_network::{Config, NetworkActor, Peers};
use alys_proto::chain::ChainHead;
use alys_proto::network::GetPeers;
use alys_proto::storage::{self, Blocks, GetBlocks, Head};
use alys_proto::sync;
use eyre::WrapErr as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const LOOK: Duration = Duration::from_millis(10);

/// The running liar.
pub struct Liar {
    role: Started<NetworkActor>,
    serving: JoinHandle<()>,
    address: String,
    _folder: TempDir,
}

impl Liar {
    /// Joins a chain with a head that it takes from a node's storage, as it takes the blocks that it falsifies.
    pub async fn start(spec: ChainSpec, head: &ChainHead, honest: Remote<storage::Inbox>) -> eyre::Result<Self> {
        let folder = crate::cluster::temporary_folder()?;
        let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port()?);
        let config = Config { data_dir: folder.path().to_owned(), listen: vec![listen.parse()?], ..Config::default() };
        let ((storage, mut heads), (sync, mut ranges)) = (probe::<storage::Inbox>(), probe::<sync::Inbox>());
        let peers = Peers { storage, chain: probe().0, engine: probe().0, sync };
        let role = start(NetworkActor::new(config, Arc::new(spec), peers).map_err(|cause| eyre::eyre!("{cause}"))?);
        let ours = Head { height: head.height, hash: head.hash.clone() };
        let serving = tokio::spawn(async move {
            loop {
                if let Some(storage::Inbox::GetHead(_, reply)) = heads.try_next() {
                    reply.send(ours.clone());
                }
                if let Some(sync::Inbox::ServeRange(request, reply)) = ranges.try_next() {
                    reply.answer(honest.ask(request).await.map(|blocks| falsified(&request, ours.height, blocks)));
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        let id = role.remote.ask(GetPeers {}).await.wrap_err("the liar's network")?.local_peer_id;
        Ok(Self { role, serving, address: format!("{listen}/p2p/{id}"), _folder: folder })
    }

    /// What others take as bootnode.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its name in the network.
    pub fn peer_id(&self) -> &str {
        self.address.rsplit('/').next().unwrap_or_default()
    }

    /// Ends it.
    pub async fn stop(self) -> eyre::Result<()> {
        self.serving.abort();
        self.role.stop().await.map(drop).map_err(|cause| eyre::eyre!("{cause}"))
    }
}

/// Blocks whose certificates are of nobody. Its head alone is as it should be.
fn falsified(request: &GetBlocks, head: u64, mut blocks: Blocks) -> Blocks {
    let shows_head = request.from_height == head && request.limit == 1;
    for block in blocks.blocks.iter_mut().filter(|_| !shows_head) {
        if let Ok(mut certificate) = Certificate::decode(&block.certificate) {
            certificate.signatures.iter_mut().for_each(|signed| signed.signature.0[7] ^= 1);
            block.certificate = certificate.encode();
        }
    }
    blocks
}
