//! What the swarm says, in the core's words.

use std::io::ErrorKind;

use alys_proto::network::{PeerRequest, PeerResponse, peer_request::Request, peer_response::Response};
use libp2p::request_response::{self, InboundFailure, Message, OutboundFailure, ResponseChannel};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, gossipsub, identify, ping};

use super::behaviour::BehaviourEvent;
use super::codec::Misuse;
use super::counted::Noticed;
use super::task::{Asked, Event, Task};
use crate::core::{AnswerId, GossipId, Input, Millis};

/// Here gossip stops to listen to a connection (`MAX_SUBSTREAM_ATTEMPTS` of libp2p-gossipsub).
const MAX_GOSSIP_STREAMS: u32 = 5;

type Asking = Result<PeerRequest, Misuse>;
type PeerEvent = request_response::Event<Asking, PeerResponse>;

impl Task {
    /// `None` for what the core need not know.
    pub(super) fn translate(&mut self, event: SwarmEvent<Noticed<BehaviourEvent>>) -> Option<Event> {
        let input = match event {
            SwarmEvent::Behaviour(Noticed::Inner(event)) => self.behaviour(event)?,
            SwarmEvent::Behaviour(Noticed::Streams(peer, _)) => Input::StreamOpened { peer },
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let address = endpoint.get_remote_address().clone();
                Input::Connected { peer: peer_id, address, outbound: endpoint.is_dialer() }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => Input::Disconnected { peer: peer_id },
            SwarmEvent::NewListenAddr { address, .. } => Input::Listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => Input::NotListening(address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                let why = reason.err().map_or_else(|| "it ended".into(), |error| error.to_string());
                return Some(Event::ListenerLost(format!("{addresses:?}: {why}")));
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                tracing::debug!(peer = ?peer_id, %error, "dialling failed");
                return None;
            }
            _ => return None,
        };
        Some(Event::Input(input, None))
    }

    fn behaviour(&mut self, event: BehaviourEvent) -> Option<Input> {
        match event {
            BehaviourEvent::Gossip(Noticed::Inner(gossipsub::Event::Message { propagation_source, message_id, message })) => {
                let (topic, _) = self.topics.iter().find(|(_, ident)| ident.hash() == message.topic)?;
                Some(Input::Gossip { peer: propagation_source, id: GossipId(message_id.0), topic: *topic, data: message.data })
            }
            // One is enough for a connection; gossip closes it on what is no gossip at all, and then another one comes.
            BehaviourEvent::Gossip(Noticed::Streams(peer, 2..MAX_GOSSIP_STREAMS)) => Some(Input::Malformed { peer }),
            BehaviourEvent::Gossip(Noticed::Streams(peer, MAX_GOSSIP_STREAMS..)) => Some(Input::Distrusted { peer }),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                Some(Input::Identified { peer: peer_id, agent: info.agent_version, addresses: info.listen_addrs })
            }
            BehaviourEvent::Ping(ping::Event { peer, result: Err(failure), .. }) => {
                tracing::debug!(%peer, %failure, "no pong");
                let _gone = self.swarm.disconnect_peer_id(peer);
                None
            }
            BehaviourEvent::Ping(ping::Event { peer, result: Ok(round_trip), .. }) => {
                Some(Input::Pong { peer, micros: u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX) })
            }
            BehaviourEvent::Peers(event) => self.peers(event),
            _ => None,
        }
    }

    fn peers(&mut self, event: PeerEvent) -> Option<Input> {
        match event {
            PeerEvent::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                self.question(peer, request_id, request, channel)
            }
            PeerEvent::Message { peer, message: Message::Response { request_id, response }, .. } => {
                let asked = self.asked.remove(&request_id)?;
                answer(peer, &asked, response, self.now())
            }
            PeerEvent::OutboundFailure { peer, request_id, error, .. } => match (self.asked.remove(&request_id)?, error) {
                (Asked::Handshake, OutboundFailure::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    Some(Input::Malformed { peer })
                }
                (Asked::Handshake, error) => {
                    tracing::debug!(%peer, %error, "no handshake");
                    None
                }
                // What cannot be read is not what was asked for.
                (Asked::Blocks(token), OutboundFailure::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    Some(Input::BlocksAnswered { token, blocks: Vec::new(), at: self.now() })
                }
                (Asked::Blocks(token), error) => Some(Input::DownloadFailed { token, reason: error.to_string(), at: self.now() }),
            },
            PeerEvent::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "question not answered");
                // Unanswered, it is not the peer that was slow.
                let (answer, too_slow) = match self.answering.remove(&request_id) {
                    Some(answer) => (answer, matches!(error, InboundFailure::Timeout)),
                    None => (self.unanswered(request_id)?, false),
                };
                Some(Input::AnswerEnded { peer, answer, too_slow })
            }
            PeerEvent::ResponseSent { peer, request_id, .. } => {
                let answer = self.answering.remove(&request_id)?;
                Some(Input::AnswerEnded { peer, answer, too_slow: false })
            }
        }
    }

    /// Forgets a question that waits for our answer.
    fn unanswered(&mut self, id: request_response::InboundRequestId) -> Option<AnswerId> {
        let answer = self.answers.iter().find(|(_, (waiting, _))| *waiting == id).map(|(answer, _)| *answer)?;
        self.answers.remove(&answer).map(|_| answer)
    }

    fn question(
        &mut self,
        peer: PeerId,
        id: request_response::InboundRequestId,
        request: Asking,
        channel: ResponseChannel<PeerResponse>,
    ) -> Option<Input> {
        // Dropping the channel closes the stream.
        let request = match request {
            Ok(request) => request.request,
            Err(Misuse::Garbage) => None,
            Err(Misuse::Slow) => return Some(Input::Slow { peer }),
        };
        let answer = self.next_answer;
        self.next_answer = answer.wrapping_add(1);
        let input = match request {
            Some(Request::Handshake(handshake)) => Input::HandshakeAsked { peer, handshake, answer },
            Some(Request::Blocks(request)) => Input::BlocksAsked { peer, request, answer },
            None => return Some(Input::Malformed { peer }),
        };
        self.answers.insert(answer, (id, channel));
        Some(input)
    }
}

fn answer(peer: PeerId, asked: &Asked, response: PeerResponse, at: Millis) -> Option<Input> {
    match (asked, response.response) {
        (Asked::Handshake, Some(Response::Handshake(handshake))) => Some(Input::HandshakeAnswered { peer, handshake }),
        // Refused for now, or no handshake at all: a peer that never shows one is disconnected in time.
        (Asked::Handshake, _) => None,
        (Asked::Blocks(token), Some(Response::Blocks(blocks))) => {
            Some(Input::BlocksAnswered { token: *token, blocks: blocks.blocks, at })
        }
        (Asked::Blocks(token), Some(Response::Refused(reason))) => Some(Input::DownloadFailed { token: *token, reason, at }),
        (Asked::Blocks(token), _) => Some(Input::BlocksAnswered { token: *token, blocks: Vec::new(), at }),
    }
}
