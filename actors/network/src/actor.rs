//! The shell: messages and swarm events become inputs, effects become messages and swarm commands.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_blocks::{ChainSpec, CommittedRules, Spoken, SpokenFault};
use alys_cluster::{ActorError, Cluster, Cx, LocalSender, Remote, RoleActor, RoleMetrics, Status};
use alys_proto::engine::ProcessTransaction;
use alys_proto::network::{DownloadedBlocks, Inbox};
use alys_proto::storage::{GetBlocks, GetHead};
use alys_proto::{Refused, Reply, chain, common, engine, storage, sync};
use libp2p::PeerId;

use crate::config::Config;
use crate::core::bootnodes::Backoff;
use crate::core::gossip::{GossipFault, check_block};
use crate::core::handshake::Us;
use crate::core::input::Pooling;
use crate::core::{AnswerId, Effect, GossipId, Input, Settings, State, Way};
use crate::io::{self, Command, Event};
use crate::metrics::Metrics;

const TICK: Duration = Duration::from_secs(1);
/// How long the engine may take for a gossiped transaction.
const OFFER_PATIENCE: Duration = Duration::from_secs(2);
/// How long sync may take to read a range for a peer.
const SERVE_PATIENCE: Duration = Duration::from_secs(10);

/// The roles that network talks to.
#[derive(Clone)]
pub struct Peers {
    /// For our head.
    pub storage: Remote<storage::Inbox>,
    /// Gets blocks and consensus messages.
    pub chain: Remote<chain::Inbox>,
    /// Judges transactions.
    pub engine: Remote<engine::Inbox>,
    /// Serves ranges.
    pub sync: Remote<sync::Inbox>,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        Self { storage: cluster.remote(), chain: cluster.remote(), engine: cluster.remote(), sync: cluster.remote() }
    }
}

/// The network role.
pub struct NetworkActor {
    config: Config,
    spec: Arc<ChainSpec>,
    peers: Peers,
    rules: Arc<CommittedRules>,
    started: Instant,
    running: Option<Running>,
    downloads: HashMap<u64, Reply<DownloadedBlocks>>,
    next_download: u64,
}

struct Running {
    state: State,
    swarm: io::Swarm,
    unfinished: io::Unfinished,
}

/// What network tells itself.
pub struct Local(LocalKind);

enum LocalKind {
    Swarm(Event),
    Own(Input),
    Tick,
}

impl NetworkActor {
    /// A role that does not listen yet.
    pub fn new(config: Config, spec: Arc<ChainSpec>, peers: Peers) -> Result<Self, ActorError> {
        config.check()?;
        let rules = Arc::new(CommittedRules::of(&spec));
        Ok(Self {
            config,
            spec,
            peers,
            rules,
            started: Instant::now(),
            running: None,
            downloads: HashMap::new(),
            next_download: 0,
        })
    }

    async fn step(&mut self, cx: &Cx<Self>, input: Input) -> Result<(), ActorError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        for effect in running.state.step(input) {
            self.perform(cx.local(), effect).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, local: &LocalSender<Local>, effect: Effect) -> Result<(), ActorError> {
        match effect {
            Effect::Publish { topic, data } => self.command(Command::Publish { topic, data }).await,
            Effect::Judge { peer, id, verdict } => self.command(Command::Judge { peer, id, verdict }).await,
            Effect::Handshake { peer, handshake } => self.command(Command::Handshake { peer, handshake }).await,
            Effect::Answer { answer, response } => self.command(Command::Answer { answer, response }).await,
            Effect::RequestBlocks { token, peer, request } => self.command(Command::RequestBlocks { token, peer, request }).await,
            Effect::Routable { peer, address } => self.command(Command::Routable { peer, address }).await,
            Effect::Dial(address) => self.command(Command::Dial(address)).await,
            Effect::Ban { peer, banned } => self.command(Command::Ban { peer, banned }).await,
            Effect::Disconnect { peer, reason } => {
                tracing::info!(%peer, %reason, "peer disconnected by us");
                self.command(Command::Disconnect(peer)).await
            }
            Effect::CheckBlock { peer, way, block } => {
                self.check_block(local.clone(), peer, way, block);
                Ok(())
            }
            Effect::CheckSpoken { peer, id, spoken } => {
                self.check_spoken(local.clone(), peer, id, spoken);
                Ok(())
            }
            Effect::OfferTransaction { peer, id, transaction } => {
                self.offer(local.clone(), peer, id, transaction);
                Ok(())
            }
            Effect::Serve { answer, request } => {
                self.serve(local.clone(), answer, request);
                Ok(())
            }
            Effect::BlockReceived { block, peer } => {
                let told = self.peers.chain.tell(chain::BlockReceived { block: Some(block), peer: peer.to_string() });
                log_untold("chain", told);
                Ok(())
            }
            Effect::ConsensusReceived { message, peer } => {
                let told = self.peers.chain.tell(chain::ConsensusMessage { message, peer: peer.to_string() });
                log_untold("chain", told);
                Ok(())
            }
            Effect::Downloaded { number, outcome } => {
                self.downloaded(number, outcome);
                Ok(())
            }
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), ActorError> {
        match &self.running {
            Some(running) if running.swarm.command(command).await => Ok(()),
            _ => Err(ActorError::Broken("the swarm's task is gone".into())),
        }
    }

    fn check_block(&self, local: LocalSender<Local>, peer: PeerId, way: Way, block: common::CommittedBlock) {
        let rules = self.rules.clone();
        tokio::spawn(async move {
            let checked = tokio::task::spawn_blocking(move || check_block(&rules, &block).map(|_proven| block)).await;
            let outcome = checked.unwrap_or_else(|died| Err(GossipFault::Malformed(format!("the check died: {died}"))));
            if let Err(fault) = &outcome {
                tracing::debug!(%peer, %fault, ?way, "block of a peer refused");
            }
            local.send(Local(LocalKind::Own(Input::BlockChecked { peer, way, outcome })));
        });
    }

    fn check_spoken(&self, local: LocalSender<Local>, peer: PeerId, id: GossipId, spoken: Spoken) {
        let rules = self.rules.clone();
        tokio::spawn(async move {
            let checking = move || rules.check_spoken(&spoken).map(|()| spoken.message);
            let checked = tokio::task::spawn_blocking(checking).await;
            let outcome = checked.unwrap_or_else(|died| Err(SpokenFault::Malformed(format!("the check died: {died}"))));
            if let Err(fault) = &outcome {
                tracing::debug!(%peer, %fault, "consensus message refused");
            }
            local.send(Local(LocalKind::Own(Input::SpokenChecked { peer, id, outcome })));
        });
    }

    fn offer(&self, local: LocalSender<Local>, peer: PeerId, id: GossipId, transaction: Vec<u8>) {
        let engine = self.peers.engine.clone();
        tokio::spawn(async move {
            let outcome = match engine.ask_within(OFFER_PATIENCE, ProcessTransaction { transaction }).await {
                Ok(result) if result.rejected.is_empty() => Pooling::Pooled,
                Ok(_) => Pooling::Refused,
                Err(_) => Pooling::Unknown,
            };
            local.send(Local(LocalKind::Own(Input::TransactionOffered { peer, id, outcome })));
        });
    }

    fn serve(&self, local: LocalSender<Local>, answer: AnswerId, request: GetBlocks) {
        let sync = self.peers.sync.clone();
        tokio::spawn(async move {
            let blocks = sync.ask_within(SERVE_PATIENCE, request).await.map(|blocks| blocks.blocks);
            // A stranger is not told what is wrong inside.
            let blocks = blocks.map_err(|_| "not now".to_owned());
            local.send(Local(LocalKind::Own(Input::BlocksRead { answer, blocks })));
        });
    }

    fn downloaded(&mut self, number: u64, outcome: Result<(Vec<common::CommittedBlock>, PeerId), String>) {
        let Some(reply) = self.downloads.remove(&number) else { return };
        match outcome {
            Ok((blocks, peer)) => reply.send(DownloadedBlocks { blocks, peer: peer.to_string() }),
            Err(reason) => reply.refuse(Refused::Failed(reason)),
        }
    }

    fn learn_head(&self, local: LocalSender<Local>) {
        let storage = self.peers.storage.clone();
        tokio::spawn(async move {
            loop {
                match storage.ask(GetHead {}).await {
                    Ok(head) => {
                        return local.send(Local(LocalKind::Own(Input::HeadKnown { height: head.height, hash: head.hash })));
                    }
                    Err(refused) => tracing::debug!(%refused, "storage does not say our head yet"),
                }
                tokio::time::sleep(TICK).await;
            }
        });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn log_untold(role: &str, told: Result<(), Refused>) {
    if let Err(refused) = told {
        // It comes again: consensus repeats itself and sync fetches what was missed.
        tracing::debug!(%refused, role, "not told");
    }
}

impl RoleActor for NetworkActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let keys = io::load_or_create(&self.config.data_dir)?;
        let local = keys.public().to_peer_id();
        let topics = io::topics(self.spec.genesis_hash().as_slice());
        let unfinished = io::Unfinished::default();
        let mut swarm = io::build(&self.config, keys, self.spec.genesis_hash().as_slice(), &topics, &unfinished)?;
        let listening = io::listen(&mut swarm, &self.config.listen).await?;
        tracing::info!(peer_id = %local, ?listening, "network is up");
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let settings = Settings {
            local,
            bootnodes: self.config.bootnodes.clone(),
            backoff: Backoff { shortest: millis(self.config.redial_min), longest: millis(self.config.redial_max) },
            handshake_timeout: millis(self.config.handshake_timeout),
            discovery: self.config.discovery,
        };
        let mut state = State::new(settings, Us::new(&self.spec));
        for address in listening {
            state.step(Input::Listening(address));
        }
        let sink = cx.local().clone();
        let swarm =
            io::Swarm::start(swarm, topics.to_vec(), self.started, move |event| sink.send(Local(LocalKind::Swarm(event))));
        self.running = Some(Running { state, swarm, unfinished });
        self.learn_head(cx.local().clone());
        cx.local().send(Local(LocalKind::Tick));
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        let input = match message {
            Inbox::FinalizedBlock(block) => Input::Finalized(block),
            Inbox::HeadAdvanced(head) => Input::HeadKnown { height: head.height, hash: head.hash },
            Inbox::PublishConsensus(publish) => Input::Consensus(publish.message),
            Inbox::PublishTransaction(publish) => Input::Transaction(publish.transaction),
            Inbox::ParallelBlockDownloadRequest(request, reply) => {
                let number = self.next_download;
                self.next_download = number.wrapping_add(1);
                self.downloads.insert(number, reply);
                Input::Download { number, from_height: request.from_height, count: request.count, at: self.now() }
            }
            Inbox::GetPeers(_, reply) => {
                match &self.running {
                    Some(running) => reply.send(running.state.peers()),
                    None => reply.refuse(Refused::NotReady("the swarm is not up".into())),
                }
                return Ok(());
            }
            Inbox::ReportPeer(report) => match report.peer_id.parse() {
                Ok(peer) => Input::Reported { peer, reason: report.reason },
                Err(_) => return Ok(()),
            },
        };
        self.step(cx, input).await
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        match message.0 {
            LocalKind::Swarm(Event::Input(input, permit)) => {
                let outcome = self.step(cx, input).await;
                drop(permit);
                outcome
            }
            LocalKind::Swarm(Event::ListenerLost(why)) => Err(ActorError::Network(format!("a listener ended: {why}"))),
            LocalKind::Own(input) => self.step(cx, input).await,
            LocalKind::Tick => {
                let input = Input::Tick { now: self.now(), random: rand::random() };
                let outcome = self.step(cx, input).await;
                cx.local().send_after(TICK, Local(LocalKind::Tick));
                outcome
            }
        }
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        if let Some(running) = self.running.take() {
            running.swarm.stop().await;
        }
    }

    fn status(&self) -> Status {
        let Some(running) = &self.running else { return Status::ready(Vec::new()) };
        let counters = running.state.counters();
        let (ready, connected) = running.state.connected();
        let addresses: Vec<String> = running.state.addresses().iter().map(ToString::to_string).collect();
        let fields = vec![
            ("addresses", addresses.join(" ")),
            ("peers", ready.to_string()),
            ("connected", connected.to_string()),
            ("banned", running.state.banned().to_string()),
            ("blocks_published", counters.blocks_published.to_string()),
            ("blocks_received", counters.blocks_received.to_string()),
            ("last_received_height", counters.last_received_height.to_string()),
            ("consensus_received", counters.consensus_received.to_string()),
            ("transactions_received", counters.transactions_received.to_string()),
            ("unpublished", counters.unpublished.to_string()),
            ("ignored", counters.ignored.to_string()),
            ("rejected", counters.rejected.to_string()),
            ("flooded", counters.flooded.to_string()),
            ("slow", counters.slow.to_string()),
            ("ranges_served", counters.ranges_served.to_string()),
            ("bans", counters.bans.to_string()),
        ];
        if ready == 0 && !self.config.bootnodes.is_empty() {
            return Status::degraded("no peer of this chain is connected".into(), fields);
        }
        Status::ready(fields)
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        let running = self.running.as_ref()?;
        Some(Box::new(Metrics::of(&running.state, &running.unfinished, self.config.bootnodes.len())))
    }
}
