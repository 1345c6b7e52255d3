//! What the swarm can do, and its bounds.

use std::time::Duration;

use alys_cluster::ActorError;
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{
    self, IdentTopic, IdentityTransform, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, TopicHash,
    TopicScoreParams, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, Transport as _, identify, kad, noise, ping, quic, tcp, yamux};
use sha2::{Digest as _, Sha256};

use super::codec::{PROTOCOL, PeerCodec};
use super::counted::Counted;
use super::unfinished::Unfinished;
use crate::config::Config;
use crate::core::Topic;
use crate::core::limits::{BAN_MILLIS, MAX_BLOCK_MESSAGE_BYTES, MAX_CONSENSUS_MESSAGE_BYTES, MAX_TRANSACTION_BYTES};

/// Half-open connections in each direction.
const MAX_PENDING: u32 = 32;
/// Connections with one peer: both may have dialled at once.
const MAX_PER_PEER: u32 = 2;
/// How long one request may take: 13 MiB at 512 KiB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(26);
/// Streams for requests on one connection.
const MAX_REQUEST_STREAMS: usize = 16;
/// Connections without gossip are kept: bootnodes would be dialled again at once.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// A connection over which nothing comes back is closed and dialled anew: behind a partition its packets would be repeated
/// ever more slowly.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_PATIENCE: Duration = Duration::from_secs(4);
/// What a peer may send over QUIC before we have read it, on one stream and on all. 10 MiB/s at a tenth of a second's way.
const QUIC_STREAM_BYTES: u32 = 1 << 20;
const QUIC_CONNECTION_BYTES: u32 = 2 << 20;
/// How often to look for nodes that have come.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(60);
/// What one field of gossip's envelope may add to the message.
const ENVELOPE_BYTES: usize = 4_096;
/// Breaches of gossip's protocol that decay within seconds; so many may be a slow host.
const FORGIVEN_BREACHES: f64 = 10.0;
/// Gossip's own score of peers that have left. Shorter than a ban: who comes back from one has another chance.
const SCORE_REMEMBERED: Duration = Duration::from_millis(BAN_MILLIS / 2);

/// The swarm's parts.
#[allow(missing_docs, reason = "the derive writes items that cannot be documented")]
mod derived {
    use libp2p::swarm::NetworkBehaviour;

    use super::{
        BlockedPeers, Counted, Gossip, MemoryStore, PeerCodec, allow_block_list, connection_limits, identify, kad, ping,
        request_response,
    };

    #[derive(NetworkBehaviour)]
    pub(crate) struct Behaviour {
        pub(crate) limits: connection_limits::Behaviour,
        pub(crate) bans: allow_block_list::Behaviour<BlockedPeers>,
        pub(crate) identify: identify::Behaviour,
        pub(crate) ping: ping::Behaviour,
        pub(crate) gossip: Counted<Gossip>,
        pub(crate) peers: request_response::Behaviour<PeerCodec>,
        pub(crate) discovery: kad::Behaviour<MemoryStore>,
    }
}
pub(crate) use derived::{Behaviour, BehaviourEvent};

/// Subscriptions of peers are kept for the topics of the chain only: a peer may not name others without end.
type Gossip = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// The topics of a chain.
pub(crate) fn topics(genesis: &[u8]) -> [(Topic, IdentTopic); 3] {
    let genesis = hex::encode(genesis);
    let named = |topic, name| (topic, IdentTopic::new(format!("alys/{genesis}/{name}/1")));
    [named(Topic::Blocks, "blocks"), named(Topic::Consensus, "consensus"), named(Topic::Transactions, "transactions")]
}

/// A swarm of a chain that neither listens nor dials yet.
pub(crate) fn build(
    config: &Config,
    keys: Keypair,
    genesis: &[u8],
    topics: &[(Topic, IdentTopic)],
    unfinished: &Unfinished,
) -> Result<Swarm<Counted<Behaviour>>, ActorError> {
    let broken = |what: &str, cause: &dyn std::fmt::Display| ActorError::Broken(format!("{what}: {cause}"));
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits(config)),
        bans: allow_block_list::Behaviour::default(),
        identify: identify::Behaviour::new(
            identify::Config::new("/alys/1".into(), keys.public())
                .with_agent_version(concat!("alys/", env!("CARGO_PKG_VERSION")).into()),
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_EVERY).with_timeout(PING_PATIENCE)),
        gossip: Counted::new(gossip(&keys, topics).map_err(|cause| broken("gossip", &cause))?),
        peers: request_response::Behaviour::with_codec(
            PeerCodec,
            [(PROTOCOL, ProtocolSupport::Full)],
            request_response::Config::default()
                .with_request_timeout(REQUEST_TIMEOUT)
                .with_max_concurrent_streams(MAX_REQUEST_STREAMS),
        ),
        discovery: discovery(config, &keys, genesis).map_err(|cause| broken("discovery", &cause))?,
    };
    let swarm = SwarmBuilder::with_existing_identity(keys)
        .with_tokio()
        .with_other_transport(|keys| transport(keys, unfinished))
        .map_err(|cause| broken("noise", &cause))?
        .with_behaviour(move |_| Counted::new(behaviour))
        .map_err(|cause| broken("swarm", &cause))?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build();
    Ok(swarm)
}

/// TCP and QUIC, both under the bound of what is unfinished.
fn transport(
    keys: &Keypair,
    unfinished: &Unfinished,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    let (over_tcp, over_quic) = (unfinished.clone(), unfinished.clone());
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keys)?)
        .multiplex(yamux::Config::default())
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(over_tcp.hold(muxer))));
    let mut config = quic::Config::new(keys);
    config.max_stream_data = QUIC_STREAM_BYTES;
    config.max_connection_data = QUIC_CONNECTION_BYTES;
    let quic =
        quic::tokio::Transport::new(config).map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(over_quic.hold(muxer))));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// Kademlia of this chain alone. It finds nodes; nobody may keep records with us.
fn discovery(config: &Config, keys: &Keypair, genesis: &[u8]) -> Result<kad::Behaviour<MemoryStore>, String> {
    let protocol =
        StreamProtocol::try_from_owned(format!("/alys/{}/kad/1", hex::encode(genesis))).map_err(|cause| cause.to_string())?;
    let mut settings = kad::Config::new(protocol);
    settings
        // Only who has shown to be of our chain.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_periodic_bootstrap_interval(config.discovery.then_some(LOOK_AROUND_EVERY));
    let peer = keys.public().to_peer_id();
    let mut discovery = kad::Behaviour::with_config(peer, MemoryStore::new(peer), settings);
    // Who only dials cannot be found, so it should not be asked either.
    let answers = config.discovery && !config.listen.is_empty();
    discovery.set_mode(Some(if answers { kad::Mode::Server } else { kad::Mode::Client }));
    Ok(discovery)
}

fn limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING))
        .with_max_pending_outgoing(Some(MAX_PENDING))
        .with_max_established_incoming(Some(config.max_inbound))
        .with_max_established_outgoing(Some(config.max_outbound))
        .with_max_established_per_peer(Some(MAX_PER_PEER))
}

fn gossip(keys: &Keypair, topics: &[(Topic, IdentTopic)]) -> Result<Gossip, String> {
    let mut config = gossipsub::ConfigBuilder::default();
    let consensus = topics.iter().find(|(topic, _)| *topic == Topic::Consensus).map(|(_, ident)| ident.hash());
    config
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(MAX_BLOCK_MESSAGE_BYTES.saturating_add(ENVELOPE_BYTES))
        .message_id_fn(move |message: &gossipsub::Message| message_id(&consensus, message));
    for (topic, ident) in topics {
        config.max_transmit_size_for_topic(largest(*topic).saturating_add(ENVELOPE_BYTES), ident.hash());
    }
    let config = config.build().map_err(|cause| cause.to_string())?;
    let ours = WhitelistSubscriptionFilter(topics.iter().map(|(_, ident)| ident.hash()).collect());
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Signed(keys.clone()), config, ours)?;
    gossip.with_peer_score(score(topics), PeerScoreThresholds::default())?;
    for (_, topic) in topics {
        gossip.subscribe(topic).map_err(|cause| cause.to_string())?;
    }
    Ok(gossip)
}

/// By content: every cluster publishes each final block, and once is enough. Votes are published again, with the same
/// content, for those who missed them: a new message each time.
fn message_id(consensus: &Option<TopicHash>, message: &gossipsub::Message) -> MessageId {
    let mut digest = Sha256::new().chain_update(message.topic.as_str()).chain_update([0]);
    if Some(&message.topic) == consensus.as_ref() {
        digest.update(message.source.map(|source| source.to_bytes()).unwrap_or_default());
        digest.update(message.sequence_number.unwrap_or_default().to_be_bytes());
    }
    MessageId::new(&digest.chain_update(&message.data).finalize())
}

const fn largest(topic: Topic) -> usize {
    match topic {
        Topic::Blocks => MAX_BLOCK_MESSAGE_BYTES,
        Topic::Consensus => MAX_CONSENSUS_MESSAGE_BYTES,
        Topic::Transactions => MAX_TRANSACTION_BYTES,
    }
}

/// Only what is surely a fault lowers gossip's own score: invalid messages and breaches of its protocol. Few messages in
/// a quiet network are none, nor are many nodes behind one address.
fn score(topics: &[(Topic, IdentTopic)]) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.99,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: topics.iter().map(|(_, ident)| (ident.hash(), topic.clone())).collect(),
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_threshold: FORGIVEN_BREACHES,
        retain_score: SCORE_REMEMBERED,
        ..PeerScoreParams::default()
    }
}
