//! The task that owns the swarm. Commands come in, events go out; both are bounded, and while the role is behind with
//! events the swarm is not polled, so peers feel it and nothing piles up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alys_proto::network::{Handshake, PeerRequest, PeerResponse, peer_request::Request};
use alys_proto::storage::GetBlocks;
use futures::StreamExt as _;
use libp2p::gossipsub::{IdentTopic, MessageAcceptance, MessageId, PeerScoreThresholds, PublishError};
use libp2p::request_response::{InboundRequestId, OutboundRequestId, ResponseChannel};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::behaviour::Behaviour;
use super::counted::Counted;
use crate::core::{AnswerId, GossipId, Input, Millis, Token, Topic, Verdict};

/// Commands that wait; the role waits behind them.
const MAX_COMMANDS: usize = 1_024;
/// Events on their way to the role. Gossip is at most 12 MiB, so 1.5 GiB in the worst case, which rates keep far away.
const MAX_EVENTS: usize = 128;
/// How often gossip is asked whom it trusts no more.
const TRUST_EVERY: Duration = Duration::from_secs(1);

/// What the swarm is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    Publish { topic: Topic, data: Vec<u8> },
    Judge { peer: PeerId, id: GossipId, verdict: Verdict },
    Handshake { peer: PeerId, handshake: Handshake },
    RequestBlocks { token: Token, peer: PeerId, request: GetBlocks },
    Answer { answer: AnswerId, response: PeerResponse },
    Dial(Multiaddr),
    Routable { peer: PeerId, address: Multiaddr },
    Disconnect(PeerId),
    Ban { peer: PeerId, banned: bool },
}

/// What the swarm says.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something for the core. The permit, if any, is given back when it was handled.
    Input(Input, Option<OwnedSemaphorePermit>),
    /// A listener ended.
    ListenerLost(String),
}

/// What one of our requests was.
pub(super) enum Asked {
    Handshake,
    Blocks(Token),
}

/// The running task.
pub(crate) struct Swarm {
    commands: mpsc::Sender<Command>,
    task: tokio::task::JoinHandle<()>,
}

impl Swarm {
    /// Starts the task.
    pub(crate) fn start(
        swarm: libp2p::Swarm<Counted<Behaviour>>,
        topics: Vec<(Topic, IdentTopic)>,
        started: Instant,
        sink: impl Fn(Event) + Send + 'static,
    ) -> Self {
        let (commands, queue) = mpsc::channel(MAX_COMMANDS);
        let task = Task {
            swarm,
            topics,
            started,
            sink: Box::new(sink),
            answers: HashMap::new(),
            answering: HashMap::new(),
            next_answer: 0,
            asked: HashMap::new(),
        };
        Self { commands, task: tokio::spawn(task.run(queue)) }
    }

    /// Queues a command. False when the task is gone.
    pub(crate) async fn command(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Closes all connections.
    pub(crate) async fn stop(self) {
        drop(self.commands);
        // A panic of the task is of no interest any more.
        let _ended = self.task.await;
    }
}

/// The task's state.
pub(super) struct Task {
    pub(super) swarm: libp2p::Swarm<Counted<Behaviour>>,
    pub(super) topics: Vec<(Topic, IdentTopic)>,
    /// The core counts time from here.
    started: Instant,
    sink: Box<dyn Fn(Event) + Send>,
    /// Questions of peers, at most `MAX_REQUEST_STREAMS` per connection.
    pub(super) answers: HashMap<AnswerId, (InboundRequestId, ResponseChannel<PeerResponse>)>,
    /// Those of them that were answered, until the peer has the answer.
    pub(super) answering: HashMap<InboundRequestId, AnswerId>,
    pub(super) next_answer: AnswerId,
    /// Our questions, each with a timeout.
    pub(super) asked: HashMap<OutboundRequestId, Asked>,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let room = Arc::new(Semaphore::new(MAX_EVENTS));
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let mut look = tokio::time::interval(TRUST_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = queue.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                _ = look.tick() => self.tell_distrusted(),
                free = room.clone().acquire_owned(), if permit.is_none() => permit = free.ok(),
                event = self.swarm.select_next_some(), if permit.is_some() => {
                    if let Some(event) = self.translate(event) {
                        let event = match event {
                            Event::Input(input, _) => Event::Input(input, permit.take()),
                            lost => lost,
                        };
                        (self.sink)(event);
                    }
                }
            }
        }
    }

    /// Messages that are forged, or too long for their topic, stay within gossip: all that shows them is its own score.
    fn tell_distrusted(&self) {
        let bound = PeerScoreThresholds::default().graylist_threshold;
        let gossip = &self.swarm.behaviour().gossip;
        for peer in self.swarm.connected_peers() {
            if gossip.peer_score(peer).is_some_and(|score| score < bound) {
                (self.sink)(Event::Input(Input::Distrusted { peer: *peer }, None));
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Publish { topic, data } => self.publish(topic, data),
            Command::Judge { peer, id, verdict } => {
                let acceptance = match verdict {
                    Verdict::Accept => MessageAcceptance::Accept,
                    Verdict::Ignore => MessageAcceptance::Ignore,
                    Verdict::Reject => MessageAcceptance::Reject,
                };
                let known =
                    self.swarm.behaviour_mut().gossip.report_message_validation_result(&MessageId::new(&id.0), &peer, acceptance);
                tracing::trace!(%peer, known, ?verdict, "gossip judged");
            }
            Command::Handshake { peer, handshake } => self.ask(peer, Request::Handshake(handshake), Asked::Handshake),
            Command::RequestBlocks { token, peer, request } => self.ask(peer, Request::Blocks(request), Asked::Blocks(token)),
            Command::Answer { answer, response } => {
                if let Some((id, channel)) = self.answers.remove(&answer) {
                    self.answering.insert(id, answer);
                    // The peer may have gone; libp2p tells it as it tells all that becomes of an answer.
                    let _gone = self.swarm.behaviour_mut().peers.send_response(channel, response);
                }
            }
            Command::Dial(address) => {
                if let Err(error) = self.swarm.dial(address.clone()) {
                    tracing::debug!(%address, %error, "not dialled");
                }
            }
            Command::Routable { peer, address } => {
                let _updated = self.swarm.behaviour_mut().discovery.add_address(&peer, address);
            }
            Command::Disconnect(peer) => {
                // It may have gone by itself.
                let _gone = self.swarm.disconnect_peer_id(peer);
            }
            Command::Ban { peer, banned } => {
                let behaviour = self.swarm.behaviour_mut();
                if banned {
                    behaviour.bans.block_peer(peer);
                    behaviour.discovery.remove_peer(&peer);
                } else {
                    behaviour.bans.unblock_peer(peer);
                }
            }
        }
    }

    pub(super) fn now(&self) -> Millis {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ask(&mut self, peer: PeerId, request: Request, asked: Asked) {
        let id = self.swarm.behaviour_mut().peers.send_request(&peer, Ok(PeerRequest { request: Some(request) }));
        self.asked.insert(id, asked);
    }

    fn publish(&mut self, topic: Topic, data: Vec<u8>) {
        let Some((_, ident)) = self.topics.iter().find(|(known, _)| *known == topic) else { return };
        let sent = match self.swarm.behaviour_mut().gossip.publish(ident.hash(), data) {
            Ok(_) => true,
            // A peer was faster with the same bytes.
            Err(PublishError::Duplicate) => return,
            Err(error) => {
                tracing::debug!(?topic, %error, "not published");
                false
            }
        };
        (self.sink)(Event::Input(Input::Published { topic, sent }, None));
    }
}
