//! The shell: messages become Inputs, Effects become messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use alys_blocks::ChainSpec;
use alys_cluster::{ActorError, Cluster, Cx, LocalSender, Remote, RoleActor, RoleMetrics, Status};
use alys_proto::bridge::{self, FederationConfigUpdate};
use alys_proto::chain::{self, GovernanceBlockProposal};
use alys_proto::stream::Inbox;
use alys_proto::{Refused, storage};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::error::TrySendError;

use crate::config::Config;
use crate::core::{Answered, CloseReason, ConnectionId, Effect, Input, Millis, Registration, RoutedMessage, State};
use crate::io::{self, Outbound, Server};
use crate::metrics::Metrics;
use crate::trail::Trail;

/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Refusals shown in the status.
const SHOWN_REFUSALS: usize = 8;

/// The roles that stream asks.
#[derive(Clone)]
pub struct Peers {
    /// Blocks for governance.
    pub storage: Remote<storage::Inbox>,
    /// Approved deposits, block proposals.
    pub chain: Remote<chain::Inbox>,
    /// Signatures, federation updates.
    pub bridge: Remote<bridge::Inbox>,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        Self { storage: cluster.remote(), chain: cluster.remote(), bridge: cluster.remote() }
    }
}

/// The role's own messages.
pub enum Local {
    /// A member registered on a new stream.
    Session {
        /// Where messages to it go.
        outbound: Outbound,
        /// The stream.
        connection: ConnectionId,
        /// Common name of its certificate.
        certificate_name: String,
        /// Its first message.
        registration: Registration,
    },
    /// From a stream, a task or the timer.
    Input {
        /// What happened.
        input: Box<Input>,
        /// Held while the message waits: bounds what one member may have in the mailbox.
        slot: Option<OwnedSemaphorePermit>,
    },
}

/// The role.
pub struct StreamActor {
    config: Config,
    peers: Peers,
    state: State,
    trail: Trail,
    members: Vec<String>,
    outbound: BTreeMap<ConnectionId, Outbound>,
    server: Option<Server>,
    started: (Instant, u64),
    displaced_slow: u64,
}

impl StreamActor {
    /// Checks the configuration; opens nothing yet.
    pub fn new(config: Config, spec: Arc<ChainSpec>, peers: Peers) -> Result<Self, ActorError> {
        if let Some(problem) = config.problem() {
            return Err(ActorError::Configuration(problem.to_owned()));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix_millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let incarnation = rand::random();
        Ok(Self {
            state: State::new(&spec, config.timing(), incarnation),
            trail: Trail::default(),
            members: spec.federation.members.iter().map(|member| member.name.clone()).collect(),
            config,
            peers,
            outbound: BTreeMap::new(),
            server: None,
            started: (Instant::now(), unix_millis),
            displaced_slow: 0,
        })
    }

    /// The address it listens on, once started.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(|server| server.address)
    }

    /// Wall clock at start plus what the monotonic clock says has passed.
    fn now(&self) -> Millis {
        let passed = u64::try_from(self.started.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        Millis(self.started.1.saturating_add(passed))
    }

    fn step(&mut self, cx: &Cx<Self>, input: Input) {
        if let Input::Disconnected { connection } = &input {
            self.outbound.remove(connection);
        }
        self.trail.entering(&input, &self.state);
        for effect in self.state.step(self.now(), input) {
            self.trail.leaving(&effect, &self.state);
            self.perform(cx.local(), effect);
        }
    }

    fn perform(&mut self, local: &LocalSender<Local>, effect: Effect) {
        match effect {
            Effect::Send { connection, message } => self.send(local, connection, message),
            Effect::Close { connection, reason } => self.close(connection, &reason),
            Effect::ValidatePegIn { outpoint, request } => {
                let chain = self.peers.chain.clone();
                answer_later(local, async move { Input::ChainAnswered { outpoint, answer: answered(chain.ask(request).await) } });
            }
            Effect::DeliverSignatures { member, txid, request } => {
                let bridge = self.peers.bridge.clone();
                answer_later(local, async move {
                    Input::BridgeAnswered { member, txid, answer: answered(bridge.ask(request).await) }
                });
            }
            Effect::Route { route, message } => {
                let peers = self.peers.clone();
                answer_later(local, async move { Input::RouteAnswered { route, answer: peers.route(message).await } });
            }
        }
    }

    fn send(&mut self, local: &LocalSender<Local>, connection: ConnectionId, message: alys_proto::governance::ToMember) {
        let Some(outbound) = self.outbound.get(&connection) else { return };
        let numbered = message.sequence > 0;
        match outbound.try_send(Ok(message)) {
            Ok(()) => {}
            // Heartbeats and heads are worth nothing later.
            Err(TrySendError::Full(_)) if !numbered => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.displaced_slow = self.displaced_slow.saturating_add(1);
                self.outbound.remove(&connection);
                local.send(Local::Input { input: Box::new(Input::Disconnected { connection }), slot: None });
            }
        }
    }

    fn close(&mut self, connection: ConnectionId, reason: &CloseReason) {
        tracing::info!(connection = connection.0, %reason, "session closed");
        if let Some(outbound) = self.outbound.remove(&connection) {
            // When it is full the member reads the end of the stream without a reason.
            let _reason_is_a_courtesy = outbound.try_send(Err(to_status(reason)));
        }
    }
}

impl RoleActor for StreamActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let server = io::serve(&self.config, self.members.clone(), self.peers.storage.clone(), cx.local().clone()).await?;
        tracing::info!(address = %server.address, "waiting for governance nodes");
        self.server = Some(server);
        cx.local().send(Local::Input { input: Box::new(Input::Tick), slot: None });
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::BitcoinTransactionDetected(detected) => {
                if let Some(deposit) = detected.deposit {
                    self.step(cx, Input::DepositDetected(deposit));
                }
            }
            Inbox::RequestFederationSignatures(request) => self.step(cx, Input::SignaturesRequested(request)),
            Inbox::SigningFinished(finished) => self.step(cx, Input::SigningFinished { txid: finished.txid }),
            Inbox::FinalizedBlock(block) => self.step(cx, Input::Finalized { height: block.height, hash: block.hash }),
            Inbox::GetMembers(_, reply) => reply.send(self.state.members()),
        }
        Ok(())
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        match message {
            Local::Session { outbound, connection, certificate_name, registration } => {
                tracing::info!(connection = connection.0, member = %certificate_name, "session opened");
                self.outbound.insert(connection, outbound);
                self.step(cx, Input::Connected { connection, certificate_name, registration });
            }
            Local::Input { input, slot } => {
                if matches!(*input, Input::Tick) {
                    cx.local().send_after(TICK, Local::Input { input: Box::new(Input::Tick), slot: None });
                }
                self.step(cx, *input);
                drop(slot);
            }
        }
        Ok(())
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        self.outbound.clear();
        self.server = None;
    }

    fn status(&self) -> Status {
        let (connected, members) = self.state.connected_members();
        let (deposits, payouts, routed) = self.state.open();
        let counters = self.state.counters();
        let fields = vec![
            ("members", format!("{connected}/{members}")),
            ("threshold", self.state.threshold().to_string()),
            ("listen", self.address().map(|address| address.to_string()).unwrap_or_default()),
            ("deposits_open", deposits.to_string()),
            ("payouts_open", payouts.to_string()),
            ("records_routed", routed.to_string()),
            ("member_faults", counters.member_faults.to_string()),
            ("dropped", counters.deposits_dropped.saturating_add(counters.payouts_dropped).to_string()),
            ("slow_members", self.displaced_slow.to_string()),
            ("refusals", self.state.refusals(SHOWN_REFUSALS).join("; ")),
        ];
        if connected < self.state.threshold() {
            return Status::degraded(
                format!("{connected} of {members} governance nodes are connected, {} are needed", self.state.threshold()),
                fields,
            );
        }
        Status::ready(fields)
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        Some(Box::new(Metrics::of(&self.state, self.displaced_slow)))
    }
}

impl Peers {
    /// Routing by payload. Only what passes is repeated; a record that the role refuses is its last word.
    async fn route(&self, message: RoutedMessage) -> Answered<()> {
        let outcome = match message {
            RoutedMessage::BlockProposal(record) => {
                self.chain.ask(GovernanceBlockProposal { record }).await.map(|verdict| verdict.reason)
            }
            RoutedMessage::FederationUpdate(record) => {
                self.bridge.ask(FederationConfigUpdate { record }).await.map(|_done| String::new())
            }
        };
        match outcome {
            Ok(reason) => {
                tracing::info!(reason, "governance record handed on");
                Answered::Reply(())
            }
            Err(refused) if refused.is_passing() => Answered::Passing(refused.to_string()),
            Err(refused) => {
                tracing::warn!(%refused, "governance record refused");
                Answered::Reply(())
            }
        }
    }
}

/// Any refusal by chain or bridge to answer at all is asked again: bridge repeats its side as long as the work is open.
fn answered<T>(outcome: Result<T, Refused>) -> Answered<T> {
    match outcome {
        Ok(reply) => Answered::Reply(reply),
        Err(refused) => Answered::Passing(refused.to_string()),
    }
}

fn answer_later(local: &LocalSender<Local>, question: impl Future<Output = Input> + Send + 'static) {
    let local = local.clone();
    tokio::spawn(async move {
        let input = Box::new(question.await);
        local.send(Local::Input { input, slot: None });
    });
}

fn to_status(reason: &CloseReason) -> tonic::Status {
    let text = reason.to_string();
    match reason {
        CloseReason::NotAMember | CloseReason::WrongName { .. } | CloseReason::WrongKey => tonic::Status::permission_denied(text),
        CloseReason::WrongChain => tonic::Status::failed_precondition(text),
        CloseReason::RegisteredTwice | CloseReason::BadNumber | CloseReason::ForgedAcknowledgement(_) => {
            tonic::Status::invalid_argument(text)
        }
        CloseReason::Gap { .. } => tonic::Status::data_loss(text),
        CloseReason::Busy => tonic::Status::resource_exhausted(text),
        CloseReason::Displaced => tonic::Status::already_exists(text),
        CloseReason::Silent => tonic::Status::deadline_exceeded(text),
    }
}
