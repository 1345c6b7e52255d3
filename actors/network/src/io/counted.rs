//! A behaviour whose incoming streams are counted, for each connection. The protocols of libp2p close a stream on which they
//! read garbage and say nothing; what is left to see is that the peer opens another one.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, SubstreamProtocol};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};

/// The behaviour.
pub(crate) struct Counted<B> {
    inner: B,
    /// Streams that were not told yet: a few, since the swarm asks before it looks at the next connection.
    untold: VecDeque<(PeerId, u32)>,
}

/// What it tells.
#[derive(Debug)]
pub(crate) enum Noticed<E> {
    /// A peer has opened this many streams on one connection, all protocols of the behaviour together.
    Streams(PeerId, u32),
    /// What the behaviour itself tells.
    Inner(E),
}

/// Its part of one connection.
pub(crate) struct Counting<H> {
    inner: H,
    opened: u32,
    told: u32,
}

/// What that tells the behaviour.
pub(crate) enum FromConnection<E> {
    Streams(u32),
    Inner(E),
}

impl<E> fmt::Debug for FromConnection<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FromConnection")
    }
}

impl<B> Counted<B> {
    pub(crate) const fn new(inner: B) -> Self {
        Self { inner, untold: VecDeque::new() }
    }
}

impl<B> Deref for Counted<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Counted<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

const fn counting<H>(inner: H) -> Counting<H> {
    Counting { inner, opened: 0, told: 0 }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Counted<B> {
    type ConnectionHandler = Counting<THandler<B>>;
    type ToSwarm = Noticed<B::ToSwarm>;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote).map(counting)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, address, role, port_use).map(counting)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            FromConnection::Streams(number) => self.untold.push_back((peer, number)),
            FromConnection::Inner(event) => self.inner.on_connection_handler_event(peer, id, event),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer, number)) = self.untold.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(Noticed::Streams(peer, number)));
        }
        self.inner.poll(context).map(|event| event.map_out(Noticed::Inner))
    }
}

impl<H: ConnectionHandler> ConnectionHandler for Counting<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = FromConnection<H::ToBehaviour>;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, Self::InboundOpenInfo, Self::OutboundOpenInfo>,
    ) {
        if event.is_inbound() {
            self.opened = self.opened.saturating_add(1);
        }
        self.inner.on_connection_event(event);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if self.told < self.opened {
            self.told = self.told.saturating_add(1);
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(FromConnection::Streams(self.told)));
        }
        self.inner.poll(context).map(|event| event.map_custom(FromConnection::Inner))
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(context).map(|event| event.map(FromConnection::Inner))
    }
}
