//! The shell: messages become inputs, effects become questions to storage, network and chain, each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use alys_blocks::{ChainSpec, CommittedRules};
use alys_cluster::{ActorError, Cluster, Cx, LocalSender, Remote, RoleActor, RoleMetrics, Status};
use alys_proto::chain::ValidatedBlockBatch;
use alys_proto::network::{ParallelBlockDownloadRequest, ReportPeer};
use alys_proto::storage::{Blocks, GetBlocks, GetHead, Head};
use alys_proto::sync::{Inbox, SyncStatus};
use alys_proto::{Refused, Reply, chain, common, network, storage};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::core::{Effect, Input, Phase, RangeFault, Settings, State, Tip, check};
use crate::metrics::Metrics;

/// The roles that sync talks to.
#[derive(Clone)]
pub struct Peers {
    /// Has our blocks.
    pub storage: Remote<storage::Inbox>,
    /// Fetches those of others.
    pub network: Remote<network::Inbox>,
    /// Imports them.
    pub chain: Remote<chain::Inbox>,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        Self { storage: cluster.remote(), network: cluster.remote(), chain: cluster.remote() }
    }
}

/// The sync role.
pub struct SyncActor {
    config: Config,
    peers: Peers,
    rules: Arc<CommittedRules>,
    genesis: Vec<u8>,
    state: State,
    serving: Arc<Semaphore>,
}

/// What sync tells itself.
pub struct Local(Input);

impl SyncActor {
    /// A role with nothing to do.
    pub fn new(config: Config, spec: &ChainSpec, peers: Peers) -> Result<Self, ActorError> {
        config.check()?;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let settings =
            Settings { batch: config.batch_blocks, retry_min: millis(config.retry_min), retry_max: millis(config.retry_max) };
        let serving = usize::try_from(config.max_serving).unwrap_or(1);
        Ok(Self {
            peers,
            rules: Arc::new(CommittedRules::of(spec)),
            genesis: spec.genesis_hash().to_vec(),
            state: State::new(settings),
            serving: Arc::new(Semaphore::new(serving)),
            config,
        })
    }

    fn step(&mut self, cx: &Cx<Self>, input: Input) {
        let before = self.state.phase();
        for effect in self.state.step(input) {
            self.perform(cx.local().clone(), effect);
        }
        if self.state.phase() == Phase::Forked && before != Phase::Forked {
            tracing::error!(reason = self.state.failures().1, "peers have another committed chain: sync stops");
        }
    }

    fn perform(&self, local: LocalSender<Local>, effect: Effect) {
        match effect {
            Effect::ReadHead => self.read_head(local),
            Effect::Fetch { from, count } => self.fetch(local, from, count),
            Effect::Check { tip, blocks, peer } => self.check(local, tip, blocks, peer),
            Effect::Import(blocks) => self.import(local, blocks),
            Effect::Blame { peer, reason } => {
                tracing::info!(%peer, %reason, "bad range");
                // Without network there is nobody to blame.
                let _untold = self.peers.network.tell(ReportPeer { peer_id: peer, reason });
            }
            Effect::Wait(millis) => local.send_after(Duration::from_millis(millis), Local(Input::Woken)),
        }
    }

    fn read_head(&self, local: LocalSender<Local>) {
        let (storage, genesis) = (self.peers.storage.clone(), self.genesis.clone());
        tokio::spawn(async move {
            let head = storage.ask(GetHead {}).await.map_err(|refused| refused.to_string());
            let tip = |head: Head| Tip { height: head.height, hash: if head.height == 0 { genesis } else { head.hash } };
            local.send(Local(Input::Head(head.map(tip))));
        });
    }

    fn fetch(&self, local: LocalSender<Local>, from_height: u64, count: u32) {
        let (network, patience) = (self.peers.network.clone(), self.config.download_timeout);
        tokio::spawn(async move {
            let fetched = network.ask_within(patience, ParallelBlockDownloadRequest { from_height, count }).await;
            let fetched = fetched.map(|answer| (answer.blocks, answer.peer)).map_err(|refused| refused.to_string());
            local.send(Local(Input::Fetched(fetched)));
        });
    }

    fn check(&self, local: LocalSender<Local>, tip: Tip, blocks: Vec<common::CommittedBlock>, peer: String) {
        let rules = self.rules.clone();
        tokio::spawn(async move {
            let checked = tokio::task::spawn_blocking(move || check(&rules, &tip, &blocks).map(|()| blocks)).await;
            // A check that dies has met bytes that nobody honest sends.
            let outcome = checked.unwrap_or(Err(RangeFault::Empty));
            local.send(Local(Input::Checked { peer, outcome }));
        });
    }

    fn import(&self, local: LocalSender<Local>, blocks: Vec<common::CommittedBlock>) {
        let (chain, patience) = (self.peers.chain.clone(), self.config.import_timeout);
        tokio::spawn(async move {
            let imported = chain.ask_within(patience, ValidatedBlockBatch { blocks }).await;
            let imported = imported.map(|answer| answer.head_height).map_err(|refused| refused.to_string());
            local.send(Local(Input::Imported(imported)));
        });
    }

    fn serve(&self, local: LocalSender<Local>, request: GetBlocks, reply: Reply<Blocks>) {
        let Ok(permit) = self.serving.clone().try_acquire_owned() else {
            reply.refuse(Refused::Busy(format!("{} ranges are being read", self.config.max_serving)));
            return;
        };
        let storage = self.peers.storage.clone();
        tokio::spawn(async move {
            let answer = storage.ask(request).await;
            let served = answer.as_ref().map_or(0, |blocks| blocks.blocks.len());
            reply.answer(answer);
            drop(permit);
            local.send(Local(Input::Served(u64::try_from(served).unwrap_or(u64::MAX))));
        });
    }
}

impl RoleActor for SyncActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, _cx: &Cx<Self>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::SyncRequiredNotification(behind) => {
                tracing::debug!(local = behind.local_height, target = behind.target_height, "sync required");
                self.step(cx, Input::Required { local: behind.local_height, target: behind.target_height });
            }
            Inbox::GetSyncStatus(_, reply) => reply.send(SyncStatus {
                local_height: self.state.local(),
                target_height: self.state.target(),
                syncing: self.state.is_syncing(),
                served_blocks: self.state.counted().1,
            }),
            Inbox::ServeRange(request, reply) => self.serve(cx.local().clone(), request, reply),
        }
        Ok(())
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        self.step(cx, message.0);
        Ok(())
    }

    fn status(&self) -> Status {
        let (imported, served) = self.state.counted();
        let (failures, last_failure) = self.state.failures();
        let fields = vec![
            ("phase", self.state.phase().name().to_owned()),
            ("local_height", self.state.local().to_string()),
            ("target_height", self.state.target().to_string()),
            ("imported", imported.to_string()),
            ("served_blocks", served.to_string()),
            ("failures", failures.to_string()),
            ("last_failure", last_failure.to_owned()),
        ];
        match self.state.phase() {
            Phase::Forked => Status::degraded(last_failure.to_owned(), fields),
            _ if failures > 0 => Status::degraded(format!("behind, and {last_failure}"), fields),
            _ => Status::ready(fields),
        }
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        Some(Box::new(Metrics::of(&self.state)))
    }
}
