//! What an operator may set about the network.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use alys_cluster::ActorError;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde::{Deserialize, Serialize};

/// Configuration of the network role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the identity; made when absent.
    pub data_dir: PathBuf,
    /// Addresses to listen on, as `/ip4/0.0.0.0/tcp/30400` and `/ip4/0.0.0.0/udp/30400/quic-v1`. None: only dial.
    pub listen: Vec<Multiaddr>,
    /// Nodes to keep a connection with, as `/ip4/192.0.2.1/tcp/30400/p2p/12D3…`. With `/p2p/…` nobody else can answer there.
    pub bootnodes: Vec<Multiaddr>,
    /// Whether to look for more nodes of this chain than those above, and to tell others of the nodes we know.
    pub discovery: bool,
    /// Most peers that dialled us.
    pub max_inbound: u32,
    /// Most peers that we dialled.
    pub max_outbound: u32,
    /// How long a peer may take to say what chain it is of.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// Wait before a bootnode is dialled again; doubles with every failure.
    #[serde(with = "humantime_serde")]
    pub redial_min: Duration,
    /// Longest such wait.
    #[serde(with = "humantime_serde")]
    pub redial_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data/network"),
            listen: vec![any().with(Protocol::Tcp(30_400)), any().with(Protocol::Udp(30_400)).with(Protocol::QuicV1)],
            bootnodes: Vec::new(),
            discovery: true,
            max_inbound: 64,
            max_outbound: 32,
            handshake_timeout: Duration::from_secs(10),
            redial_min: Duration::from_secs(1),
            redial_max: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Rules that the types do not state.
    pub fn check(&self) -> Result<(), ActorError> {
        let wrong = |what: String| Err(ActorError::Configuration(what));
        for address in &self.listen {
            if !is_usable(address, false) {
                return wrong(format!(
                    "network.listen: {address} is not of the form /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1, or the same with ip6"
                ));
            }
        }
        for address in &self.bootnodes {
            if !is_usable(address, true) {
                return wrong(format!(
                    "network.bootnodes: {address} is not of the form /ip4/ADDRESS/tcp/PORT/p2p/PEER or /ip4/ADDRESS/udp/PORT/quic-v1/p2p/PEER"
                ));
            }
        }
        if self.redial_min.is_zero() || self.redial_min > self.redial_max {
            return wrong("network.redial_min must be above zero and at most network.redial_max".into());
        }
        if self.handshake_timeout < Duration::from_secs(1) {
            return wrong("network.handshake_timeout must be at least 1s".into());
        }
        Ok(())
    }
}

fn any() -> Multiaddr {
    Multiaddr::from(Ipv4Addr::UNSPECIFIED)
}

/// Whether it names an IP address, a port and a transport that we speak.
pub(crate) fn is_usable(address: &Multiaddr, may_name_peer: bool) -> bool {
    let parts: Vec<_> = address.iter().collect();
    let (parts, names_peer) = match parts.as_slice() {
        [parts @ .., Protocol::P2p(_)] => (parts, true),
        parts => (parts, false),
    };
    let is_known = matches!(
        parts,
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
            | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1]
    );
    is_known && (may_name_peer || !names_peer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_checked() {
        assert!(Config::default().check().is_ok());
        let quic: Multiaddr = "/ip6/::1/udp/9/quic-v1".parse().unwrap();
        let named = quic.clone().with(Protocol::P2p(libp2p::PeerId::random()));
        assert!(Config { listen: vec![quic.clone()], bootnodes: vec![quic, named.clone()], ..Config::default() }.check().is_ok());
        assert!(Config { listen: vec![named], ..Config::default() }.check().is_err());
        for bad in ["/ip4/127.0.0.1/udp/1", "/dns4/example.org/tcp/1", "/ip4/127.0.0.1"] {
            let config = Config { listen: vec![bad.parse().unwrap()], ..Config::default() };
            assert!(matches!(config.check(), Err(ActorError::Configuration(_))), "{bad}");
            let config = Config { bootnodes: vec![bad.parse().unwrap()], ..Config::default() };
            assert!(config.check().is_err(), "{bad}");
        }
        let config = Config { redial_min: Duration::ZERO, ..Config::default() };
        assert!(config.check().is_err());
    }
}
