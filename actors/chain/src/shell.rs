//! Carries effects out, in order. When storage or the engine cannot do one, everything behind it waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alys_cluster::{ActorError, LocalSender};
use alys_proto::{Message as _, Refused, Reply, chain, network, storage, sync};

use crate::actor::{Local, Peers};
use crate::config::Config;
use crate::core::consensus::evidence;
use crate::core::{Answer, AuxBlock, Commit, Effect, Input, Note, State, Status, Ticket};
use crate::held::{self, Held};
use crate::io::engine::EngineDoor;
use crate::io::{bridge as bitcoin, clock};
use crate::trail::{Accepting, Trail};

/// Of our documents in storage.
const OWNER: &str = "chain";

/// Who waits for an answer.
pub(crate) enum Waiter {
    PegIn(Reply<chain::PegInVerdict>, Accepting),
    Proposal(Reply<chain::ProposalVerdict>, Accepting),
    Batch(Reply<chain::BatchImported>),
    AuxBlock(Reply<chain::AuxBlock>),
}

/// The core with everything it needs to act.
pub(crate) struct Shell {
    pub(crate) state: State,
    peers: Peers,
    engine: EngineDoor,
    local: LocalSender<Local>,
    config: Config,
    queue: VecDeque<Effect>,
    /// Of a batch that is being imported.
    held: Held,
    /// Inputs that must not be lost and came while the queue was stuck: at most the running timers and questions, and
    /// the last view of Bitcoin.
    deferred: VecDeque<Input>,
    waiters: BTreeMap<Ticket, Waiter>,
    trail: Trail,
    next_ticket: u64,
    /// Why the queue is stuck.
    pub(crate) stuck: Option<String>,
    asking_view: Arc<AtomicBool>,
    pub(crate) refused_messages: u64,
}

impl Shell {
    pub(crate) fn new(
        state: State,
        effects: Vec<Effect>,
        peers: Peers,
        engine: EngineDoor,
        local: LocalSender<Local>,
        config: Config,
    ) -> Self {
        Self {
            state,
            peers,
            engine,
            local,
            config,
            queue: effects.into(),
            held: Held::default(),
            deferred: VecDeque::new(),
            waiters: BTreeMap::new(),
            trail: Trail::default(),
            next_ticket: 0,
            stuck: None,
            asking_view: Arc::default(),
            refused_messages: 0,
        }
    }

    /// A number under which `waiter` will be answered.
    pub(crate) fn ticket(&mut self, waiter: Waiter) -> Ticket {
        self.next_ticket = self.next_ticket.saturating_add(1);
        let ticket = Ticket(self.next_ticket);
        self.waiters.insert(ticket, waiter);
        ticket
    }

    /// An input that must not be lost: a timer, the answer of a task, a view of Bitcoin.
    pub(crate) async fn own_input(&mut self, input: Input) -> Result<(), ActorError> {
        if self.stuck.is_some() {
            if matches!(input, Input::BitcoinView(_)) {
                self.deferred.retain(|waiting| !matches!(waiting, Input::BitcoinView(_)));
            }
            self.deferred.push_back(input);
            return Ok(());
        }
        self.input(input).await
    }

    /// One step of the core and everything that follows from it.
    pub(crate) async fn input(&mut self, input: Input) -> Result<(), ActorError> {
        let effects = self.state.step(clock::now(), input);
        self.queue.extend(effects);
        self.pump().await
    }

    /// Carries out what waits.
    pub(crate) async fn pump(&mut self) -> Result<(), ActorError> {
        self.stuck = None;
        loop {
            while let Some(effect) = self.queue.pop_front() {
                if let Some((effect, reason)) = self.carry_out(effect).await? {
                    tracing::warn!(%reason, "waiting to go on");
                    self.queue.push_front(effect);
                    self.stuck = Some(reason);
                    self.local.send_after(self.config.retry, Local::Pump);
                    return Ok(());
                }
            }
            let Some(input) = self.deferred.pop_front() else { return Ok(()) };
            self.queue.extend(self.state.step(clock::now(), input));
        }
    }

    /// Gives the effect back when it has to be tried again.
    async fn carry_out(&mut self, effect: Effect) -> Result<Option<(Effect, String)>, ActorError> {
        if !held::may_pass(&effect)
            && let Err(reason) = self.commit_held().await?
        {
            return Ok(Some((effect, reason)));
        }
        match effect {
            Effect::AppendWal { height, entries } => {
                let request = storage::AppendWal { height, entries: entries.clone() };
                if let Err(refused) = self.peers.storage.ask_within(self.config.storage_deadline, request).await {
                    return Ok(Some((Effect::AppendWal { height, entries }, format!("storage: {refused}"))));
                }
            }
            Effect::KeepEvidence(evidence) => {
                let value = evidence.encode_to_vec();
                let document = storage::Document { owner: OWNER.into(), key: evidence::key(&evidence), value };
                let request = storage::PutDocuments { documents: vec![document] };
                match self.peers.storage.ask_within(self.config.storage_deadline, request).await {
                    Ok(_) => {}
                    Err(refused) if refused.is_passing() => {
                        return Ok(Some((Effect::KeepEvidence(evidence), format!("storage: {refused}"))));
                    }
                    // No block hangs on it.
                    Err(refused) => tracing::error!(%refused, ?evidence, "evidence of an equivocation is not kept"),
                }
            }
            Effect::CommitBlock(commit) => {
                let (hash, more) = (commit.hash, commit.more);
                if !self.held.has_room(&commit)
                    && let Err(reason) = self.commit_held().await?
                {
                    return Ok(Some((Effect::CommitBlock(commit), reason)));
                }
                self.held.hold(commit, || self.state.status());
                if !more && let Err(reason) = self.commit_held().await? {
                    let again = self.held.commits().back().cloned();
                    return Ok(again.map(|commit| (Effect::CommitBlock(commit), reason)));
                }
                self.queue.extend(self.state.step(clock::now(), Input::Committed { hash }));
            }
            other => self.start(other),
        }
        Ok(None)
    }

    /// Storage, then the engine, then everybody. Repeating any part of it changes nothing [PEG-19].
    async fn commit_held(&mut self) -> Result<Result<(), String>, ActorError> {
        let requests: Vec<_> = self.held.commits().iter().map(|commit| held::request(commit)).collect();
        let (storage, deadline) = (&self.peers.storage, self.config.storage_deadline);
        let stored = match <[_; 1]>::try_from(requests) {
            Ok([request]) => storage.ask_within(deadline, request).await,
            Err(blocks) if blocks.is_empty() => return Ok(Ok(())),
            Err(blocks) => storage.ask_within(deadline, storage::CommitBlocks { blocks }).await,
        };
        if let Err(refused) = stored {
            self.check_storage_head(&refused).await?;
            return Ok(Err(format!("storage: {refused}")));
        }
        while let Some((height, el_hash)) = self.held.commits().front().map(|next| (next.block.height, next.el_hash)) {
            if let Err(failure) = self.engine.commit(height, el_hash).await {
                self.engine.ensure_can_catch_up().await?;
                return Ok(Err(format!("engine: {}", failure.0)));
            }
            if let Some(commit) = self.held.done() {
                self.announce(&commit);
            }
        }
        Ok(Ok(()))
    }

    /// A refusal that another try cannot change: storage has moved on without us.
    async fn check_storage_head(&mut self, refused: &Refused) -> Result<(), ActorError> {
        let Some(first) = self.held.commits().front().filter(|_| !refused.is_passing()) else { return Ok(()) };
        let Ok(head) = self.peers.storage.ask(storage::GetHead {}).await else { return Ok(()) };
        let is_ours = self.held.commits().iter().any(|commit| commit.block.hash == head.hash);
        let moved_on = head.height >= first.block.height && !is_ours;
        let behind = head.height.saturating_add(1) < first.block.height;
        if moved_on || behind {
            return Err(ActorError::Broken(format!(
                "storage's head is {} and does not precede block {}: {refused}",
                head.height, first.block.height
            )));
        }
        Ok(())
    }

    /// What people see: never a head that is not on disk.
    pub(crate) fn status(&self) -> Status {
        self.held.before().cloned().unwrap_or_else(|| self.state.status())
    }

    fn announce(&mut self, commit: &Commit) {
        tracing::info!(
            height = commit.block.height, hash = %commit.hash, facts = commit.facts.len(), burns = commit.block.burns.len(), "block committed"
        );
        self.trail.committed(&commit.facts, self.state.ledger());
        let _away = if commit.decided_here {
            self.peers.network.tell(commit.block.clone())
        } else {
            self.peers.network.tell(network::HeadAdvanced { height: commit.block.height, hash: commit.block.hash.clone() })
        };
        self.peers.tell_committed(&commit.block, &commit.facts);
    }

    /// Effects that nobody waits for.
    fn start(&mut self, effect: Effect) {
        match effect {
            Effect::Publish(message) => {
                // Lost gossip is sent again by the rebroadcast timer.
                let _away = self.peers.network.tell(network::PublishConsensus { message });
            }
            Effect::GetTemplate(wanted) => {
                let (engine, local) = (self.engine.clone(), self.local.clone());
                tokio::spawn(async move {
                    let (height, round) = (wanted.height, wanted.round);
                    let result = engine.build(wanted).await;
                    end_if_lost(&engine, result.is_err(), &local).await;
                    local.send(Local::Input(Input::TemplateBuilt { height, round, result }));
                });
            }
            Effect::Execute { hash, payload, parent_beacon_block_root } => {
                let (engine, local) = (self.engine.clone(), self.local.clone());
                tokio::spawn(async move {
                    let result = engine.execute(payload, parent_beacon_block_root).await;
                    end_if_lost(&engine, result.is_err(), &local).await;
                    local.send(Local::Input(Input::ExecutionDone { hash, result }));
                });
            }
            Effect::ValidatePegs(check) => {
                let (bridge, local) = (self.peers.bridge.clone(), self.local.clone());
                tokio::spawn(async move {
                    let subject = check.subject;
                    let verdict = bitcoin::validate(&bridge, check).await;
                    local.send(Local::Input(Input::PegVerdict { subject, verdict }));
                });
            }
            Effect::GetBitcoinView => self.ask_view(),
            Effect::StartTimer { timer, at } => {
                let delay = Duration::from_millis(clock::now().until(at));
                self.local.send_after(delay, Local::Input(Input::Timer(timer)));
            }
            Effect::SyncRequired { local, target } => {
                let _away = self.peers.sync.tell(sync::SyncRequiredNotification { local_height: local, target_height: target });
            }
            Effect::Answer { ticket, answer } => self.answer(ticket, answer),
            Effect::Halt(reason) => {
                tracing::error!(%reason, "THE CHAIN IS HALTED: an operator must find out why before it goes on")
            }
            Effect::Note(note) => self.note(&note),
            // Awaited by `carry_out`.
            Effect::AppendWal { .. } | Effect::KeepEvidence(_) | Effect::CommitBlock(_) => {}
        }
    }

    /// One question at a time, however many claims wait.
    fn ask_view(&self) {
        if self.asking_view.swap(true, Ordering::AcqRel) {
            return;
        }
        let (bridge, local, asking) = (self.peers.bridge.clone(), self.local.clone(), self.asking_view.clone());
        tokio::spawn(async move {
            let view = bitcoin::view(&bridge).await;
            asking.store(false, Ordering::Release);
            if let Some(view) = view {
                local.send(Local::Input(Input::BitcoinView(view)));
            }
        });
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(waiter) = self.waiters.remove(&ticket) else { return };
        let (accepted, reason) = match &answer {
            Answer::Accepted => (true, String::new()),
            Answer::Refused(reason) | Answer::ImportRefused(reason) | Answer::Busy(reason) => (false, reason.clone()),
            Answer::Imported(_) | Answer::AuxBlock(_) => (true, String::new()),
        };
        let busy = matches!(answer, Answer::Busy(_));
        if let Waiter::PegIn(_, accepting) | Waiter::Proposal(_, accepting) = &waiter
            && accepted
        {
            self.trail.accepted(accepting);
        }
        match waiter {
            Waiter::PegIn(reply, _) if busy => reply.refuse(Refused::Busy(reason)),
            Waiter::Proposal(reply, _) if busy => reply.refuse(Refused::Busy(reason)),
            Waiter::AuxBlock(reply) if busy => reply.refuse(Refused::Busy(reason)),
            Waiter::Batch(reply) if busy => reply.refuse(Refused::Busy(reason)),
            Waiter::PegIn(reply, _) => reply.send(chain::PegInVerdict { accepted, reason }),
            Waiter::Proposal(reply, _) => reply.send(chain::ProposalVerdict { accepted, reason }),
            Waiter::Batch(reply) => match answer {
                Answer::Imported(head_height) => reply.send(chain::BatchImported { head_height }),
                _ => reply.refuse(Refused::Failed(reason)),
            },
            Waiter::AuxBlock(reply) => match answer {
                Answer::AuxBlock(block) => reply.send(aux_block(&block)),
                _ => reply.refuse(Refused::Failed(reason)),
            },
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::MessageRefused(reason) => {
                self.refused_messages = self.refused_messages.saturating_add(1);
                tracing::debug!(reason, "consensus message refused");
            }
            Note::ImportRefused(reason) => {
                self.refused_messages = self.refused_messages.saturating_add(1);
                tracing::debug!(reason, "block from outside refused");
            }
            Note::ProposalRefused { hash, reason } => tracing::warn!(%hash, %reason, "block refused"),
            Note::OwnBlockRefused(reason) => tracing::error!(%reason, "a block built here breaks a rule and is not proposed"),
            Note::EngineAway(reason) => tracing::warn!(reason, "the engine built no block"),
            Note::ClaimDropped(reason) => tracing::warn!(reason, "peg claim dropped"),
            Note::WantsWork(halted) => tracing::warn!(%halted, "no block is made: the chain waits for work"),
            Note::Waiting { hash, reason } => tracing::debug!(%hash, reason, "block waits"),
            Note::Equivocation(validator) => tracing::error!(%validator, "a validator signed two different things in one place"),
            Note::RoundMissed { height, round } => tracing::warn!(height, round, "the slot before was missed"),
        }
    }
}

/// The role ends when what failed can never succeed.
async fn end_if_lost(engine: &EngineDoor, failed: bool, local: &LocalSender<Local>) {
    if failed && let Err(lost) = engine.ensure_can_catch_up().await {
        local.send(Local::End(lost));
    }
}

fn aux_block(block: &AuxBlock) -> chain::AuxBlock {
    chain::AuxBlock {
        hash: block.hash.0.to_vec(),
        aux_chain_id: block.chain_id,
        end_height: block.end.height,
        end_hash: block.end.hash.to_vec(),
        bits: block.bits,
        target: block.target.to_be_bytes_vec(),
    }
}
