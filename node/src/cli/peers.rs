//! `alys peers`.

use std::time::Duration;

use alys_proto::network::{self, BannedPeer, GetPeers, Peer, Peers};
use clap::Args;
use serde_json::{Value, json};

use super::args::Place;
use super::status::join;
use crate::failure::{Failure, Outcome};
use crate::io::table::{self, Output, print};

/// `alys peers`.
#[derive(Clone, Debug, Args)]
pub struct PeersArgs {
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

pub(super) async fn run(place: &Place, args: &PeersArgs) -> Outcome {
    let network = join(place).await?.remote::<network::Inbox>();
    let peers = network.ask(GetPeers {}).await.map_err(|refused| Failure::temporary(format!("network: {refused}")))?;
    if args.output == Output::Json {
        return table::json(&shown(&peers));
    }
    print(&text(&peers));
    Ok(())
}

fn text(peers: &Peers) -> String {
    let mut text = format!("we are {}\n", peers.local_peer_id);
    for address in &peers.listen_addresses {
        text.push_str(&format!("  {address}\n"));
    }
    text.push('\n');
    if peers.peers.is_empty() {
        text.push_str("no peer of this chain is connected: `alys config show` has network.bootnodes\n");
    } else {
        let rows: Vec<Vec<String>> = peers.peers.iter().map(row).collect();
        text.push_str(&table::table(
            &["peer", "address", "direction", "head", "ping", "speed", "for", "penalty", "agent"],
            &rows,
        ));
    }
    if !peers.banned.is_empty() {
        let rows: Vec<Vec<String>> = peers.banned.iter().map(banned).collect();
        text.push('\n');
        text.push_str(&table::table(&["banned", "left", "reason"], &rows));
    }
    text
}

fn row(peer: &Peer) -> Vec<String> {
    let ping = Duration::from_micros(peer.round_trip_micros);
    vec![
        peer.peer_id.clone(),
        peer.address.clone(),
        direction(peer).to_owned(),
        peer.head_height.to_string(),
        if ping.is_zero() { "-".to_owned() } else { format!("{:.1} ms", ping.as_secs_f64() * 1_000.0) },
        speed(peer),
        span(peer.connected_millis),
        format!("{}/100", peer.penalty),
        peer.agent.clone(),
    ]
}

fn banned(peer: &BannedPeer) -> Vec<String> {
    vec![peer.peer_id.clone(), span(peer.left_millis), peer.reason.clone()]
}

const fn direction(peer: &Peer) -> &'static str {
    if peer.outbound { "out" } else { "in" }
}

/// Of the ranges of blocks that it was asked for.
fn speed(peer: &Peer) -> String {
    match peer.bytes_per_second {
        None => "-".to_owned(),
        Some(bytes @ ..1_000) => format!("{bytes} B/s"),
        Some(bytes @ 1_000..1_000_000) => format!("{} kB/s", bytes / 1_000),
        Some(bytes) => format!("{}.{} MB/s", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// Whole seconds, in units that people read.
fn span(millis: u64) -> String {
    humantime::format_duration(Duration::from_secs(millis / 1_000)).to_string()
}

fn shown(peers: &Peers) -> Value {
    let peer = |peer: &Peer| {
        json!({
            "peer_id": peer.peer_id, "address": peer.address, "direction": direction(peer), "head_height": peer.head_height,
            "round_trip_micros": peer.round_trip_micros, "bytes_per_second": peer.bytes_per_second, "connected_millis": peer.connected_millis, "penalty": peer.penalty,
            "agent": peer.agent,
        })
    };
    let banned = |peer: &BannedPeer| json!({ "peer_id": peer.peer_id, "left_millis": peer.left_millis, "reason": peer.reason });
    json!({
        "local_peer_id": peers.local_peer_id,
        "listen_addresses": peers.listen_addresses,
        "peers": peers.peers.iter().map(peer).collect::<Vec<_>>(),
        "banned": peers.banned.iter().map(banned).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connected_and_banned_peers_are_shown_in_tables() {
        let mut peers =
            Peers { local_peer_id: "12D3us".into(), listen_addresses: vec!["/ip4/192.0.2.9/tcp/1".into()], ..Peers::default() };
        assert!(text(&peers).contains("network.bootnodes"), "what to do is said");
        peers.peers = vec![Peer {
            peer_id: "12D3them".into(),
            address: "/ip4/192.0.2.1/udp/1/quic-v1".into(),
            agent: "alys/0.1.0".into(),
            outbound: true,
            head_height: 7,
            penalty: 25,
            connected_millis: 61_500,
            round_trip_micros: 1_234,
            bytes_per_second: Some(2_340_000),
        }];
        peers.banned = vec![BannedPeer { peer_id: "12D3bad".into(), reason: "it sends garbage".into(), left_millis: 599_000 }];
        let expected = "\
we are 12D3us
  /ip4/192.0.2.9/tcp/1

PEER      ADDRESS                       DIRECTION  HEAD  PING    SPEED     FOR    PENALTY  AGENT
12D3them  /ip4/192.0.2.1/udp/1/quic-v1  out        7     1.2 ms  2.3 MB/s  1m 1s  25/100   alys/0.1.0

BANNED   LEFT    REASON
12D3bad  9m 59s  it sends garbage
";
        assert_eq!(text(&peers), expected);
        assert_eq!(shown(&peers)["peers"][0]["direction"], "out");
        assert_eq!(shown(&peers)["peers"][0]["bytes_per_second"], 2_340_000);
    }

    #[test]
    fn a_speed_is_shown_in_the_unit_that_fits() {
        let table =
            [(None, "-"), (Some(0), "0 B/s"), (Some(999), "999 B/s"), (Some(81_920), "81 kB/s"), (Some(12_990_000), "12.9 MB/s")];
        for (bytes_per_second, expected) in table {
            assert_eq!(speed(&Peer { bytes_per_second, ..Peer::default() }), expected);
        }
    }
}
