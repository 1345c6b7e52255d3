//! Listening: every configured address, or a clear error.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use alys_cluster::ActorError;
use futures::StreamExt as _;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, TransportError};

/// How long a listener may take to say where it listens.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens on all addresses and returns the real ones (port 0 is any).
pub(crate) async fn listen<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    addresses: &[Multiaddr],
) -> Result<Vec<Multiaddr>, ActorError> {
    let mut waiting = Vec::new();
    for address in addresses {
        probe(address)?;
        match swarm.listen_on(address.clone()) {
            Ok(listener) => waiting.push(listener),
            Err(TransportError::Other(error)) => return Err(taken(address, &error)),
            Err(error) => return Err(ActorError::Configuration(format!("network.listen {address}: {error}"))),
        }
    }
    let mut listening = Vec::new();
    let collect = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    waiting.retain(|waited| *waited != listener_id);
                    listening.push(address);
                }
                SwarmEvent::ListenerClosed { reason: Err(error), .. } | SwarmEvent::ListenerError { error, .. } => {
                    return Err(ActorError::Configuration(format!("network.listen: {error}")));
                }
                _ => {}
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, collect)
        .await
        .map_err(|_| ActorError::Temporary("network.listen: no listener came up".into()))??;
    Ok(listening)
}

/// The transport lets several sockets share a port, so a port that another process listens on would seem free.
fn probe(address: &Multiaddr) -> Result<(), ActorError> {
    let mut ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    for part in address {
        let bound = match part {
            Protocol::Ip4(v4) => {
                ip = v4.into();
                continue;
            }
            Protocol::Ip6(v6) => {
                ip = v6.into();
                continue;
            }
            Protocol::Tcp(port) => TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
            Protocol::Udp(port) => UdpSocket::bind(SocketAddr::new(ip, port)).map(drop),
            _ => continue,
        };
        bound.map_err(|error| taken(address, &error))?;
    }
    Ok(())
}

fn taken(address: &Multiaddr, error: &std::io::Error) -> ActorError {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => "another program listens there: stop it, or set another port",
        ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        ErrorKind::PermissionDenied => "a port below 1024 needs a privilege: set a higher one",
        _ => "set another address",
    };
    ActorError::Configuration(format!("network.listen {address}: {error}: {advice}"))
}
