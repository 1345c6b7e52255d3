//! Which of the addresses that a peer claims are worth telling others. A node behind a translator of addresses claims those of
//! its own net, which lead nowhere or to somebody else from outside; one on the loopback is for its own host alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::config::is_usable;

/// Addresses that are kept of one peer.
const MAX_ADDRESSES: usize = 8;

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Host,
    Net,
    World,
}

/// Of the claimed addresses those that reach as far as the one at which we see the peer.
pub(super) fn reachable(seen_at: &Multiaddr, claimed: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let Some(needed) = reach(seen_at) else { return Vec::new() };
    let far_enough = |address: &Multiaddr| is_usable(address, true) && reach(address).is_some_and(|reach| reach >= needed);
    claimed.into_iter().filter(far_enough).take(MAX_ADDRESSES).collect()
}

fn reach(address: &Multiaddr) -> Option<Reach> {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    })?;
    match ip {
        ip if ip.is_unspecified() || ip.is_multicast() => None,
        ip if ip.is_loopback() => Some(Reach::Host),
        IpAddr::V4(ip) => Some(if is_of_a_net(ip) { Reach::Net } else { Reach::World }),
        IpAddr::V6(ip) => Some(if is_of_a_net_6(ip) { Reach::Net } else { Reach::World }),
    }
}

/// RFC 1918, RFC 3927, RFC 6598.
const fn is_of_a_net(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    ip.is_private() || ip.is_link_local() || (first == 100 && second & 0xc0 == 64)
}

/// RFC 4193, RFC 4291.
const fn is_of_a_net_6(ip: Ipv6Addr) -> bool {
    ip.is_unique_local() || ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_told_only_where_it_leads_to_the_peer() {
        let all = ["127.0.0.1", "10.1.2.3", "192.168.7.7", "100.64.0.1", "169.254.0.9", "0.0.0.0", "1.1.1.1"];
        let address = |ip: &str| -> Multiaddr { format!("/ip4/{ip}/tcp/30333").parse().unwrap() };
        let told = |seen_at: Multiaddr| {
            reachable(&seen_at, all.map(address).to_vec()).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(address("8.8.8.8")), "/ip4/1.1.1.1/tcp/30333");
        assert_eq!(told(address("10.9.9.9")).split(' ').count(), 5, "{}", told(address("10.9.9.9")));
        assert_eq!(told(address("127.0.0.1")).split(' ').count(), 6);
        assert_eq!(told("/ip6/2001:db8::1/udp/1/quic-v1".parse().unwrap()), "/ip4/1.1.1.1/tcp/30333");
        assert_eq!(told("/ip6/::ffff:10.0.0.1/tcp/1".parse().unwrap()).split(' ').count(), 5, "an IPv4 address in another dress");
        assert_eq!(told("/dns4/example.org/tcp/1".parse().unwrap()), "");
    }

    #[test]
    fn what_we_cannot_dial_and_more_than_a_few_are_not_kept() {
        let seen_at: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let strange = ["/ip4/127.0.0.1/tcp/1/ws", "/ip4/127.0.0.1/udp/1", "/memory/1"].map(|text| text.parse().unwrap());
        assert!(reachable(&seen_at, strange.to_vec()).is_empty());
        let many = (1..100).map(|port| Multiaddr::from(Ipv4Addr::LOCALHOST).with(Protocol::Tcp(port))).collect();
        assert_eq!(reachable(&seen_at, many).len(), MAX_ADDRESSES);
    }
}
