//! The shell: messages become inputs, effects become questions to storage, network, chain and the leader, each in a task of
//! its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_blocks::{ChainSpec, CommittedRules};
use alys_cluster::{ActorError, Cluster, Cx, LocalSender, Remote, RoleActor, RoleMetrics, Status};
use alys_proto::chain::ValidatedBlockBatch;
use alys_proto::common::CommittedBlock;
use alys_proto::network::{ParallelBlockDownloadRequest, ReportPeer};
use alys_proto::storage::{Blocks, GetBlocks, GetHead, Head};
use alys_proto::sync::{DeliverPiece, Delivered, Inbox, PullWork, SyncStatus, Work};
use alys_proto::{Refused, Reply, chain, network, storage, sync};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::core::{
    Cut, Effect, ImportFault, Input, Learned, Millis, Phase, Piece, Progress, RangeFault, Rests, Settings, State, Task, Tip,
    Worker, check, check_piece,
};
use crate::metrics::{Metrics, Work as WorkFigures};
use crate::team::Team;

/// How often the team is looked at, and a worker without work asks for some.
const TICK: Duration = Duration::from_secs(1);

/// The roles that sync talks to.
#[derive(Clone)]
pub struct Peers {
    /// Has our blocks.
    pub storage: Remote<storage::Inbox>,
    /// Fetches those of others.
    pub network: Remote<network::Inbox>,
    /// Imports them.
    pub chain: Remote<chain::Inbox>,
    /// The leader of the team.
    pub leader: Remote<sync::Inbox>,
    /// All of the team.
    pub team: Team,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        Self {
            storage: cluster.remote(),
            network: cluster.remote(),
            chain: cluster.remote(),
            leader: cluster.remote(),
            team: Team::from(cluster),
        }
    }
}

/// The sync role.
pub struct SyncActor {
    config: Config,
    peers: Peers,
    rules: Arc<CommittedRules>,
    genesis: Vec<u8>,
    state: State,
    worker: Worker,
    members: BTreeSet<String>,
    leads: bool,
    /// The highest target that any leader has named.
    known_target: u64,
    progress: Progress,
    serving: Arc<Semaphore>,
    began: Instant,
}

/// What sync tells itself.
pub struct Local(Note);

enum Note {
    Lead(Input),
    Work(Learned),
    /// A leader elsewhere answered.
    Told(Result<Work, Refused>),
    Tick,
}

impl SyncActor {
    /// A role with nothing to do.
    pub fn new(config: Config, spec: &ChainSpec, peers: Peers) -> Result<Self, ActorError> {
        config.check()?;
        let cut = Cut {
            batch: config.batch_blocks,
            window: config.window,
            // Its worker gives up first.
            patience: millis(config.download_timeout.saturating_add(config.import_timeout)),
        };
        let settings = Settings { cut, retry_min: millis(config.retry_min), retry_max: millis(config.retry_max) };
        let rests = Rests { idle: millis(TICK), first: millis(config.retry_min), longest: millis(config.retry_max) };
        let serving = usize::try_from(config.max_serving).unwrap_or(1);
        Ok(Self {
            peers,
            rules: Arc::new(CommittedRules::of(spec)),
            genesis: spec.genesis_hash().to_vec(),
            state: State::new(settings),
            worker: Worker::new(rests),
            members: BTreeSet::new(),
            leads: false,
            known_target: 0,
            progress: Progress::default(),
            serving: Arc::new(Semaphore::new(serving)),
            config,
            began: Instant::now(),
        })
    }

    fn now(&self) -> Millis {
        millis(self.began.elapsed())
    }

    /// Who lives, and who leads now.
    fn look(&mut self, local: &LocalSender<Local>) {
        let members = (self.peers.team.members)();
        let led = std::mem::replace(&mut self.leads, self.peers.team.leads(&members));
        let gone: Vec<&String> = self.members.difference(&members).collect();
        self.state.gone(gone.into_iter());
        self.members = members;
        if led && !self.leads {
            tracing::info!("another instance leads");
            self.step(local, Input::Deposed);
        } else if self.leads && !led {
            tracing::info!(workers = self.members.len(), target = self.known_target, "leads the workers");
            let tasks = self.worker.forget_leader();
            self.perform(local, tasks);
            let (local_height, target) = (self.state.local(), self.known_target);
            self.step(local, Input::Required { local: local_height, target });
        }
    }

    fn step(&mut self, local: &LocalSender<Local>, input: Input) {
        let before = self.state.phase();
        for effect in self.state.step(input) {
            match effect {
                Effect::ReadHead => self.read_head(local.clone()),
                Effect::Import { tip, worker, blocks } => self.import(local.clone(), tip, &worker, blocks),
                Effect::WakeWorker => self.work(local, Learned::Woken(None)),
                Effect::Wait(millis) => {
                    local.send_after(Duration::from_millis(millis), Local(Note::Lead(Input::Woken)));
                }
            }
        }
        if self.state.phase() == Phase::Forked && before != Phase::Forked {
            tracing::error!(reason = self.state.failures().1, "peers have another committed chain: sync stops");
        }
    }

    fn work(&mut self, local: &LocalSender<Local>, learned: Learned) {
        let tasks = self.worker.step(learned);
        self.perform(local, tasks);
    }

    fn perform(&mut self, local: &LocalSender<Local>, tasks: Vec<Task>) {
        for task in tasks {
            match task {
                Task::Pull { failed } => self.pull(local, failed),
                Task::Fetch(piece) => self.fetch(local.clone(), piece),
                Task::Check { piece, blocks, peer } => self.check(local.clone(), piece, blocks, peer),
                Task::Deliver { piece, blocks, .. } => self.deliver(local, piece, blocks),
                Task::Blame { peer, reason } => {
                    tracing::info!(%peer, %reason, "bad range");
                    // Without network there is nobody to blame.
                    let _untold = self.peers.network.tell(ReportPeer { peer_id: peer, reason });
                }
                Task::Rest { turn, millis } => {
                    local.send_after(Duration::from_millis(millis), Local(Note::Work(Learned::Woken(Some(turn)))));
                }
            }
        }
    }

    fn pull(&mut self, local: &LocalSender<Local>, failed: Option<u64>) {
        if self.leads {
            let (own, now) = (self.peers.team.own.clone(), self.now());
            let piece = self.state.pull(&own, failed, now);
            local.send(Local(Note::Work(Learned::Work(Ok(piece)))));
            return;
        }
        let asked =
            PullWork { worker: self.peers.team.own.clone(), failed_from: failed.unwrap_or(0), target_height: self.known_target };
        let (leader, local) = (self.peers.leader.clone(), local.clone());
        tokio::spawn(async move { local.send(Local(Note::Told(leader.ask(asked).await))) });
    }

    fn deliver(&mut self, local: &LocalSender<Local>, piece: Piece, blocks: Vec<CommittedBlock>) {
        let worker = self.peers.team.own.clone();
        if self.leads {
            self.step(local, Input::Delivered { worker, from: piece.from, blocks });
            local.send(Local(Note::Work(Learned::Delivered(Ok(())))));
            return;
        }
        let (leader, local) = (self.peers.leader.clone(), local.clone());
        let delivery = DeliverPiece { worker, from_height: piece.from, blocks };
        tokio::spawn(async move {
            let taken = leader.ask(delivery).await.map(|Delivered {}| ()).map_err(|refused| refused.to_string());
            local.send(Local(Note::Work(Learned::Delivered(taken))));
        });
    }

    fn read_head(&self, local: LocalSender<Local>) {
        let (storage, genesis) = (self.peers.storage.clone(), self.genesis.clone());
        tokio::spawn(async move {
            let head = storage.ask(GetHead {}).await.map_err(|refused| refused.to_string());
            let tip = |head: Head| Tip { height: head.height, hash: if head.height == 0 { genesis } else { head.hash } };
            local.send(Local(Note::Lead(Input::Head(head.map(tip)))));
        });
    }

    fn fetch(&self, local: LocalSender<Local>, piece: Piece) {
        let (network, patience) = (self.peers.network.clone(), self.config.download_timeout);
        tokio::spawn(async move {
            let asked = ParallelBlockDownloadRequest { from_height: piece.from, count: piece.count };
            let fetched = network.ask_within(patience, asked).await;
            let fetched = fetched.map(|answer| (answer.blocks, answer.peer)).map_err(|refused| refused.to_string());
            local.send(Local(Note::Work(Learned::Fetched(fetched))));
        });
    }

    fn check(&self, local: LocalSender<Local>, piece: Piece, blocks: Vec<CommittedBlock>, peer: String) {
        let rules = self.rules.clone();
        tokio::spawn(async move {
            let checking = move || check_piece(&rules, piece.from, &blocks).map(|()| blocks);
            // A check that dies has met bytes that nobody honest sends.
            let outcome = tokio::task::spawn_blocking(checking).await.unwrap_or(Err(RangeFault::Empty));
            local.send(Local(Note::Work(Learned::Checked { peer, outcome })));
        });
    }

    /// Its worker has proven every block and its place behind the one before; the first one's place is behind our head.
    fn import(&self, local: LocalSender<Local>, tip: Tip, worker: &str, blocks: Vec<CommittedBlock>) {
        let (chain, patience, rules, worker) =
            (self.peers.chain.clone(), self.config.import_timeout, self.rules.clone(), worker.to_owned());
        tokio::spawn(async move {
            let first = check(&rules, &tip, blocks.get(..1).unwrap_or(&[]));
            let imported = match first {
                Err(fault @ RangeFault::Fork { .. }) => Err(ImportFault::Fork(format!("{worker}: {fault}"))),
                Err(fault) => Err(ImportFault::Failed(format!("{worker}: {fault}"))),
                Ok(()) => chain
                    .ask_within(patience, ValidatedBlockBatch { blocks })
                    .await
                    .map(|answer| answer.head_height)
                    .map_err(|refused| ImportFault::Failed(refused.to_string())),
            };
            local.send(Local(Note::Lead(Input::Imported(imported))));
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
            local.send(Local(Note::Lead(Input::Served(u64::try_from(served).unwrap_or(u64::MAX)))));
        });
    }

    /// A worker elsewhere wants work.
    fn give(&mut self, local: &LocalSender<Local>, asked: &PullWork, reply: Reply<Work>) {
        self.look(local);
        if !self.leads {
            reply.refuse(Refused::NotReady("another instance leads".into()));
            return;
        }
        self.learn_target(asked.target_height);
        self.step(local, Input::Required { local: self.state.local(), target: asked.target_height });
        let failed = (asked.failed_from > 0).then_some(asked.failed_from);
        let piece = self.state.pull(&asked.worker, failed, self.now());
        let (from_height, count) = piece.map_or((0, 0), |piece| (piece.from, piece.count));
        reply.send(Work { from_height, count, target_height: self.state.target() });
    }

    fn learn_target(&mut self, target: u64) {
        self.known_target = self.known_target.max(target);
    }
}

impl RoleActor for SyncActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        self.look(cx.local());
        self.work(cx.local(), Learned::Woken(None));
        cx.local().send_after(TICK, Local(Note::Tick));
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::SyncRequiredNotification(behind) => {
                tracing::debug!(local = behind.local_height, target = behind.target_height, "sync required");
                self.look(cx.local());
                self.learn_target(behind.target_height);
                if self.leads {
                    self.step(cx.local(), Input::Required { local: behind.local_height, target: behind.target_height });
                }
            }
            Inbox::GetSyncStatus(_, reply) => reply.send(SyncStatus {
                local_height: self.state.local(),
                target_height: self.state.target(),
                syncing: self.state.is_syncing(),
                served_blocks: self.state.counted().1,
            }),
            Inbox::PullWork(asked, reply) => self.give(cx.local(), &asked, reply),
            Inbox::DeliverPiece(DeliverPiece { worker, from_height, blocks }, reply) => {
                self.step(cx.local(), Input::Delivered { worker, from: from_height, blocks });
                reply.send(Delivered {});
            }
            Inbox::ServeRange(request, reply) => self.serve(cx.local().clone(), request, reply),
        }
        Ok(())
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        match message.0 {
            Note::Lead(input) => self.step(cx.local(), input),
            Note::Work(learned) => self.work(cx.local(), learned),
            Note::Told(Ok(work)) => {
                self.learn_target(work.target_height);
                let piece = (work.count > 0).then_some(Piece { from: work.from_height, count: work.count });
                self.work(cx.local(), Learned::Work(Ok(piece)));
            }
            Note::Told(Err(refused)) => self.work(cx.local(), Learned::Work(Err(refused.to_string()))),
            Note::Tick => {
                self.look(cx.local());
                if self.state.is_syncing() {
                    self.progress.note(self.now(), self.state.local());
                } else {
                    self.progress.clear();
                }
                cx.local().send_after(TICK, Local(Note::Tick));
            }
        }
        Ok(())
    }

    fn status(&self) -> Status {
        let (imported, served) = self.state.counted();
        let (failures, last_failure) = self.state.failures();
        let (worker_failures, last_of_worker) = self.worker.failures();
        let (out, waiting) = self.state.pieces();
        let (rate, left) = self.progress.show(self.state.target());
        let failures = failures.saturating_add(worker_failures);
        let last_failure = if last_failure.is_empty() { last_of_worker } else { last_failure };
        let fields = vec![
            ("phase", self.state.phase().name().to_owned()),
            ("local_height", self.state.local().to_string()),
            ("target_height", self.state.target().max(self.known_target).to_string()),
            ("blocks_per_second", rate),
            ("left", left),
            ("imported", imported.to_string()),
            ("served_blocks", served.to_string()),
            ("failures", failures.to_string()),
            ("last_failure", last_failure.to_owned()),
            ("leads", self.leads.to_string()),
            ("workers", self.members.len().max(1).to_string()),
            ("worker", self.worker.name().to_owned()),
            ("fetched", self.worker.fetched().to_string()),
            ("pieces_out", out.to_string()),
            ("pieces_waiting", waiting.to_string()),
        ];
        match self.state.phase() {
            Phase::Forked => Status::degraded(last_failure.to_owned(), fields),
            _ if failures > 0 => Status::degraded(format!("behind, and {last_failure}"), fields),
            _ => Status::ready(fields),
        }
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        let figures = WorkFigures {
            leads: self.leads,
            workers: self.members.len().max(1),
            target_height: self.state.target().max(self.known_target),
            blocks_per_second: self.progress.rate(),
            failures: self.state.failures().0.saturating_add(self.worker.failures().0),
            fetched_blocks: self.worker.fetched(),
        };
        Some(Box::new(Metrics::of(&self.state, figures)))
    }
}

fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)
}
