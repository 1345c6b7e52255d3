//! A validator that signs two things in one place: its key, and our own network role to tell the others.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, FixedBytes};
use alys_blocks::{ChainSpec, Spoken, Vote, VoteKind};
use alys_chain::core::consensus::Gossip;
use alys_chain::core::consensus::codec::VoteMessage;
use alys_cluster::testing::{Started, free_port, probe, start};
use alys_network::{Config, NetworkActor, Peers};
use alys_proto::network::{HeadAdvanced, PublishConsensus};
use alys_proto::storage::{self, Head};
use malachite_ed25519::PrivateKey;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const LOOK: Duration = Duration::from_millis(10);

/// The running twin of a validator that is away.
pub struct Twin {
    role: Started<NetworkActor>,
    serving: JoinHandle<()>,
    spec: Arc<ChainSpec>,
    key: PrivateKey,
    _folder: TempDir,
}

impl Twin {
    /// Joins a chain through other nodes, at its first block.
    pub fn start(spec: ChainSpec, key: PrivateKey, bootnodes: &[String]) -> eyre::Result<Self> {
        let folder = crate::cluster::temporary_folder()?;
        let config = Config {
            data_dir: folder.path().to_owned(),
            listen: vec![format!("/ip4/127.0.0.1/tcp/{}", free_port()?).parse()?],
            bootnodes: bootnodes.iter().map(|address| address.parse()).collect::<Result<_, _>>()?,
            ..Config::default()
        };
        let spec = Arc::new(spec);
        let (storage, mut heads) = probe::<storage::Inbox>();
        let peers = Peers { storage, chain: probe().0, engine: probe().0, sync: probe().0 };
        let role = start(NetworkActor::new(config, spec.clone(), peers).map_err(|cause| eyre::eyre!("{cause}"))?);
        let genesis = Head { height: 0, hash: spec.genesis_hash().to_vec() };
        let serving = tokio::spawn(async move {
            loop {
                if let Some(storage::Inbox::GetHead(_, reply)) = heads.try_next() {
                    reply.send(genesis.clone());
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(Self { role, serving, spec, key, _folder: folder })
    }

    /// Votes for nothing and for something that is not, in the first round of a height.
    pub fn vote_twice(&self, height: u64) -> eyre::Result<()> {
        // What is said of heights far from one's own is not passed on.
        self.role.remote.tell(HeadAdvanced { height: height.saturating_sub(1), hash: vec![1; 32] })?;
        for block in [B256::ZERO, B256::repeat_byte(0x11)] {
            self.role.remote.tell(PublishConsensus { message: self.spoken(height, block) })?;
        }
        Ok(())
    }

    /// Ends it.
    pub async fn stop(self) -> eyre::Result<()> {
        self.serving.abort();
        self.role.stop().await.map(drop).map_err(|cause| eyre::eyre!("{cause}"))
    }

    fn spoken(&self, height: u64, block: B256) -> Vec<u8> {
        let domain = self.spec.domain();
        let validator = B256::from(*self.key.public_key().as_bytes());
        let vote = Vote { kind: VoteKind::Prevote.code(), height, round: 0, block, validator };
        let signature = FixedBytes(self.key.sign(domain.vote_root(&vote).as_slice()).to_bytes());
        let message = Gossip::Vote(VoteMessage { vote, signature }).encode();
        Spoken::sign(&domain, &self.key, height, message).encode()
    }
}
