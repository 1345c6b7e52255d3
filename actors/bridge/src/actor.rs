//! The shell: messages become inputs, effects go to the outbox. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use alys_blocks::ChainSpec;
use alys_cluster::{ActorError, Cluster, Cx, Health, Remote, RoleActor, RoleMetrics, Status};
use alys_peg::{InputSignature, txid_from_bytes};
use alys_proto::bridge::{BitcoinView, FederationSignatures, Inbox, SignatureVerdict};
use alys_proto::{Refused, Reply, chain, storage, stream};
use bitcoin::{Transaction, Txid};

use crate::config::Config;
use crate::core::input::Ticket;
use crate::core::state::{Bitcoin, Broken};
use crate::core::{BlockRef, Effect, Extension, Input, Millis, Rules, State};
use crate::io::bitcoind::Bitcoind;
use crate::io::outbox::{Door, Outbox, Outgoing, bitcoin_block};
use crate::io::wallet::FederationWallet;
use crate::load;
use crate::metrics::Metrics;
use crate::trail::Trail;
use crate::validation;

/// Effects that may wait for storage before nothing new is taken on: each is at most one window of blocks' findings.
const MOST_WAITING: usize = 1_000;
/// How long a drain waits for the effects that are under way.
const DRAIN: Duration = Duration::from_secs(2);

/// The roles that bridge talks to.
#[derive(Clone)]
pub struct Peers {
    /// Keeps ledger and documents.
    pub storage: Remote<storage::Inbox>,
    /// Puts things into blocks.
    pub chain: Remote<chain::Inbox>,
    /// Reaches governance.
    pub stream: Remote<stream::Inbox>,
}

impl From<&Cluster> for Peers {
    fn from(cluster: &Cluster) -> Self {
        Self { storage: cluster.remote(), chain: cluster.remote(), stream: cluster.remote() }
    }
}

/// Bridge's own messages: timers, and answers of its tasks.
pub enum Local {
    /// Look for due work.
    Tick,
    /// Ask bitcoind for its tip.
    Poll,
    /// Its tip, or why there is none.
    Polled(Result<BlockRef, String>),
    /// What it has after what we know.
    Extended(Box<Result<Extension, String>>),
    /// Its fee estimate.
    Fees(Result<Option<u64>, String>),
    /// A transaction of its mempool.
    Unconfirmed(Box<Transaction>),
    /// What it said to a payout.
    Broadcast {
        /// The payout.
        txid: Txid,
        /// Its reason, if it refused.
        outcome: Result<(), String>,
    },
    /// The ledger, read again.
    Ledger(Box<storage::Ledger>),
}

/// The bridge role.
pub struct BridgeActor {
    config: Config,
    rules: Rules,
    peers: Peers,
    bitcoind: Arc<Bitcoind>,
    started: Instant,
    running: Option<Running>,
    replies: BTreeMap<Ticket, Reply<SignatureVerdict>>,
    next_ticket: u64,
    failed_polls: u32,
    polling: bool,
}

/// What exists after the start.
struct Running {
    state: State,
    trail: Trail,
    outbox: Outbox,
}

impl BridgeActor {
    /// A bridge for this chain. Fails when the configuration or the specification cannot work.
    pub fn new(config: Config, spec: Arc<ChainSpec>, peers: Peers) -> Result<Self, ActorError> {
        config.check().map_err(ActorError::Configuration)?;
        let rules = Rules::new(spec, config.intervals(), config.fallback_fee_rate)
            .map_err(|cause| ActorError::Configuration(format!("chain specification: {cause}")))?;
        let bitcoind = Arc::new(Bitcoind::new(config.bitcoind.clone(), rules.federation.network()));
        Ok(Self {
            config,
            rules,
            peers,
            bitcoind,
            started: Instant::now(),
            running: None,
            replies: BTreeMap::new(),
            next_ticket: 0,
            failed_polls: 0,
            polling: false,
        })
    }

    fn step(&mut self, input: Input) -> Result<(), ActorError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        running.trail.entering(&input, &running.state);
        let effects = running.state.step(input).map_err(|broken: Broken| ActorError::Broken(broken.to_string()))?;
        for effect in effects {
            running.trail.leaving(&effect, &running.state);
            let reply = match &effect {
                Effect::Answer { ticket, .. } => self.replies.remove(ticket),
                _ => None,
            };
            running.outbox.push(Outgoing { effect, reply });
        }
        Ok(())
    }

    /// Storage has been away for long: taking on more would only fill memory.
    fn is_stuck(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.outbox.backlog() >= MOST_WAITING)
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn poll(&mut self, cx: &Cx<Self>) {
        if self.polling {
            return;
        }
        self.polling = true;
        let (bitcoind, local) = (self.bitcoind.clone(), cx.local().clone());
        tokio::spawn(async move {
            let tip = bitcoind.tip().await;
            local.send(Local::Polled(tip.map_err(|error| error.chain())));
        });
    }

    fn polled(&mut self, cx: &Cx<Self>, tip: Result<BlockRef, String>) -> Result<(), ActorError> {
        self.polling = false;
        let wait = match &tip {
            Ok(_) => {
                self.failed_polls = 0;
                self.config.poll_interval
            }
            Err(reason) => {
                if self.failed_polls == 0 {
                    tracing::warn!(%reason, "bitcoind gives no answer");
                }
                self.failed_polls = self.failed_polls.saturating_add(1);
                let doubled = self.config.poll_interval.saturating_mul(1_u32 << self.failed_polls.min(10));
                doubled.min(self.config.longest_backoff)
            }
        };
        cx.local().send_after(wait, Local::Poll);
        self.step(tip.map_or_else(Input::BitcoinAway, Input::BitcoinTip))
    }

    fn view(&self) -> BitcoinView {
        match self.running.as_ref().map(|running| running.state.view()) {
            Some(Ok(tip)) => BitcoinView { tip: Some(bitcoin_block(tip)), available: true, reason: String::new() },
            Some(Err(reason)) => BitcoinView { tip: None, available: false, reason },
            None => BitcoinView { tip: None, available: false, reason: "bridge is starting".into() },
        }
    }

    fn signatures(&mut self, message: FederationSignatures, reply: Reply<SignatureVerdict>) -> Result<(), ActorError> {
        if self.is_stuck() {
            reply.refuse(Refused::Busy("storage does not take signatures at the moment".into()));
            return Ok(());
        }
        let (txid, signatures) = match parse_signatures(&message) {
            Ok(parsed) => parsed,
            Err(reason) => {
                reply.send(SignatureVerdict { accepted: false, complete: false, reason });
                return Ok(());
            }
        };
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.replies.insert(ticket, reply);
        self.step(Input::Signatures { ticket, member: message.member, txid, signatures })
    }
}

impl RoleActor for BridgeActor {
    type Inbox = Inbox;
    type Local = Local;

    async fn start(&mut self, cx: &Cx<Self>) -> Result<(), ActorError> {
        let wallet =
            FederationWallet::new(&self.rules.federation).map_err(|error| ActorError::Configuration(error.to_string()))?;
        let ledger = load::ledger(&self.peers.storage, &self.rules.spec).await?;
        let documents = load::documents(&self.peers.storage).await?;
        let (state, effects) = State::restore(self.rules.clone(), ledger, &documents);
        let (config, bitcoind, peers, local) =
            (self.config.clone(), self.bitcoind.clone(), self.peers.clone(), cx.local().clone());
        let lease = cx.lease().clone();
        let outbox = Outbox::start(Door { config, bitcoind, peers, wallet, local, lease });
        for effect in effects {
            outbox.push(Outgoing { effect, reply: None });
        }
        self.running = Some(Running { state, trail: Trail::default(), outbox });
        cx.local().send(Local::Poll);
        cx.local().send(Local::Tick);
        Ok(())
    }

    async fn handle(&mut self, cx: &Cx<Self>, message: Inbox) -> Result<(), ActorError> {
        match message {
            Inbox::BurnEventDetected(message) => match message.burns.iter().map(|burn| burn.height).max() {
                Some(height) => self.step(Input::Burned { height }),
                None => Ok(()),
            },
            Inbox::FinalizedBlock(block) => self.step(Input::Finalized { height: block.height, facts: block.facts }),
            Inbox::ValidatePegOperations(question, reply) => {
                let (bitcoind, rules) = (self.bitcoind.clone(), self.rules.clone());
                tokio::spawn(async move { reply.send(validation::answer(&bitcoind, &rules, &question).await) });
                Ok(())
            }
            Inbox::GetBitcoinView(_, reply) => {
                reply.send(self.view());
                Ok(())
            }
            Inbox::FederationSignatures(message, reply) => self.signatures(message, reply),
            Inbox::FederationConfigUpdate(_, reply) => {
                reply.refuse(Refused::Failed(
                    "the federation of this chain is the one of its specification; rotation is not activated".into(),
                ));
                Ok(())
            }
            Inbox::GetFederation(_, reply) => {
                answer(reply, self.running.as_ref().map(|running| running.state.federation()));
                Ok(())
            }
            Inbox::ListPegs(_, reply) => {
                answer(reply, self.running.as_ref().map(|running| running.state.pegs()));
                Ok(())
            }
            Inbox::BitcoinTransactionSeen(message) => {
                self.poll(cx);
                match B256::try_from(message.txid.as_slice()) {
                    Ok(txid) => self.step(Input::TransactionSeen(txid_from_bytes(txid))),
                    Err(_) => Ok(()),
                }
            }
        }
    }

    async fn local(&mut self, cx: &Cx<Self>, message: Local) -> Result<(), ActorError> {
        match message {
            Local::Tick => {
                cx.local().send_after(self.config.tick_interval, Local::Tick);
                if self.is_stuck() { Ok(()) } else { self.step(Input::Tick(self.now())) }
            }
            Local::Poll if self.is_stuck() => {
                cx.local().send_after(self.config.poll_interval, Local::Poll);
                Ok(())
            }
            Local::Poll => {
                self.poll(cx);
                Ok(())
            }
            Local::Polled(tip) => self.polled(cx, tip),
            Local::Extended(read) => self.step((*read).map_or_else(Input::BitcoinAway, Input::Extended)),
            Local::Fees(estimate) => self.step(estimate.map_or_else(Input::BitcoinAway, Input::Fees)),
            Local::Unconfirmed(transaction) => self.step(Input::Unconfirmed(transaction)),
            Local::Broadcast { txid, outcome } => self.step(Input::Broadcast { txid, outcome }),
            Local::Ledger(ledger) => self.step(Input::Ledger { height: ledger.height, facts: ledger.facts }),
        }
    }

    async fn stop(&mut self, _cx: &Cx<Self>) {
        let asked = Instant::now();
        while self.running.as_ref().is_some_and(|running| running.outbox.backlog() > 0) && asked.elapsed() < DRAIN {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn status(&self) -> Status {
        let Some(running) = &self.running else {
            return Status { health: Health::Starting, reason: "reading the ledger".into(), fields: Vec::new() };
        };
        let mut fields = running.state.fields();
        fields.push(("effects_waiting", running.outbox.backlog().to_string()));
        let alarm = running.state.alarms().into_iter().next();
        let away = match running.state.bitcoin() {
            Bitcoin::Away(reason) => Some(reason.clone()),
            Bitcoin::CatchingUp(_) | Bitcoin::Following => None,
        };
        match alarm.or(away).or_else(|| running.outbox.trouble()) {
            Some(reason) => Status::degraded(reason, fields),
            None => Status::ready(fields),
        }
    }

    fn metrics(&self) -> Option<Box<dyn RoleMetrics>> {
        let running = self.running.as_ref()?;
        Some(Box::new(Metrics::of(&running.state, running.outbox.backlog())))
    }
}

fn answer<T: alys_proto::Message>(reply: Reply<T>, value: Option<T>) {
    match value {
        Some(value) => reply.send(value),
        None => reply.refuse(Refused::NotReady("bridge is starting".into())),
    }
}

fn parse_signatures(message: &FederationSignatures) -> Result<(Txid, Vec<InputSignature>), String> {
    let txid = B256::try_from(message.payout_txid.as_slice()).map_err(|_| "payout_txid is not a transaction id".to_owned())?;
    let signatures: Result<Vec<InputSignature>, _> = message.signatures.iter().map(InputSignature::try_from).collect();
    Ok((txid_from_bytes(txid), signatures.map_err(|refused| refused.to_string())?))
}
