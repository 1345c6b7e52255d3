//! What `alys testnet` makes: a folder for each validator of one test chain, on this host or each on its own, with the
//! addresses of the others. The governance nodes run beside the first validator.
//!
//! The folders are made at once or not at all: half a set of validators is no chain.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::files::{self, Made};
use super::keys::Kind;
use super::{DevChain, NETWORK_KEY, VALIDATOR_KEY, federation, key, mining, own_cluster, specification};
use crate::failure::{Failure, OrFail as _, Outcome};

/// Ports between those of one validator and of the next.
const PORTS_EACH: u16 = 10;

/// A test chain of several validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testnet {
    /// What all of them have in common.
    pub chain: DevChain,
    /// How many.
    pub validators: u16,
    /// Where each of them will run; empty: all on this host.
    pub hosts: Vec<IpAddr>,
    /// First port of the first one: Eth JSON-RPC, governance gRPC, peer-to-peer; ten further on, those of the second.
    pub port_base: u16,
}

/// A validator that does not exist yet but for its keys.
struct Validator {
    number: u16,
    public_key: B256,
    address: Multiaddr,
}

/// Makes the folders; each with what was made in it.
pub fn make(folder: &Path, net: &Testnet) -> Outcome<Vec<(PathBuf, Vec<Made>)>> {
    if net.validators == 0 || net.validators > 256 {
        return Err(Failure::usage("a chain has between 1 and 256 validators"));
    }
    if !net.hosts.is_empty() && net.hosts.len() != usize::from(net.validators) {
        return Err(Failure::usage(format!("--host names {} hosts for {} validators", net.hosts.len(), net.validators)));
    }
    if u32::from(net.port_base) + u32::from(net.validators) * u32::from(PORTS_EACH) > u32::from(u16::MAX) {
        return Err(Failure::usage(format!("--port-base {} leaves no room for the ports of all", net.port_base)));
    }
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!("{} is not empty", folder.display())).help("name a folder that is not there yet"));
    }
    let unfinished = folder.with_extension("unfinished");
    let remove = || match std::fs::remove_dir_all(&unfinished) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(cause).or_configuration(format!("cannot remove {}", unfinished.display()))
        }
        _removed => Ok(()),
    };
    remove()?;
    let made = match validators(&unfinished, net) {
        Ok(made) => made,
        Err(failure) => {
            remove()?;
            return Err(failure);
        }
    };
    // An empty folder may be there already.
    std::fs::rename(&unfinished, folder).or_configuration(format!("cannot make {}", folder.display()))?;
    let moved = |path: PathBuf| path.strip_prefix(&unfinished).map_or(path.clone(), |rest| folder.join(rest));
    let made = made.into_iter().map(|(data_dir, things)| {
        let things = things.into_iter().map(|thing| Made { path: moved(thing.path), ..thing }).collect();
        (moved(data_dir), things)
    });
    Ok(made.collect())
}

fn validators(folder: &Path, net: &Testnet) -> Outcome<Vec<(PathBuf, Vec<Made>)>> {
    let (mut validators, mut all, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=net.validators {
        let (data_dir, mut made) = (folder.join(format!("validator-{number}")), Vec::new());
        let authority = own_cluster(&data_dir, &mut made)?;
        let public_key = key(&data_dir, VALIDATOR_KEY, Kind::Validator, false, &mut made)?.validator();
        key(&data_dir, "keys/evm.key", Kind::Evm, false, &mut made)?;
        let peer = key(&data_dir, NETWORK_KEY, Kind::Network, false, &mut made)?.public()?;
        let [tcp, _] = listen(net, number);
        let address = tcp.with(Protocol::P2p(peer.parse().or_bug("a peer id that is none")?));
        if number == 1 {
            members = federation(&data_dir, net.chain.members, false, &authority, &mut made)?;
        }
        validators.push(Validator { number, public_key, address });
        all.push((data_dir, made));
    }
    let spec = specification(&net.chain, validators.iter().map(|validator| validator.public_key).collect(), members)?;
    let spec = spec.to_toml().or_bug("the specification is not TOML")?;
    for (validator, (data_dir, made)) in validators.iter().zip(&mut all) {
        let others = validators.iter().filter(|other| other.number != validator.number).map(|other| &other.address);
        let written = [
            ("chain specification", "chain.toml", spec.clone()),
            ("configuration", "alys.toml", configuration(net, validator.number, others)),
        ];
        for (what, file, text) in written {
            let path = data_dir.join(file);
            files::public(&path, &text)?;
            made.push(Made { what: what.into(), path });
        }
    }
    Ok(all)
}

/// Where a validator listens for its peers: over TCP and over QUIC.
fn listen(net: &Testnet, number: u16) -> [Multiaddr; 2] {
    let host = net.hosts.get(usize::from(number.saturating_sub(1))).copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
    let port = ports(net, number).2;
    let on = || Multiaddr::from(host);
    [on().with(Protocol::Tcp(port)), on().with(Protocol::Udp(port)).with(Protocol::QuicV1)]
}

/// Eth JSON-RPC, governance gRPC, peer-to-peer.
const fn ports(net: &Testnet, number: u16) -> (u16, u16, u16) {
    let first = net.port_base.saturating_add(number.saturating_sub(1).saturating_mul(PORTS_EACH));
    (first, first.saturating_add(1), first.saturating_add(2))
}

fn configuration<'a>(net: &Testnet, number: u16, others: impl Iterator<Item = &'a Multiaddr>) -> String {
    let ((rpc, grpc, _), [tcp, quic]) = (ports(net, number), listen(net, number));
    let others: Vec<String> = others.map(|address| format!("\"{address}\"")).collect();
    let members = if number == 1 { net.chain.members } else { 0 };
    format!(
        "# Alys: validator {number} of {} of a test chain, made by `alys testnet`.\n\
         # Every setting with its value and where it came from: `alys config show --origin`.\n\
         # Relative paths start at the folder of this file.\n\
         chain_spec_file = \"chain.toml\"\n\
         \n\
         [chain]\n\
         validator_key = \"{VALIDATOR_KEY}\"\n\
         \n\
         {}[local]\n\
         governance = {members}\n\
         \n\
         [cluster.debug]\n\
         freeze_signers = true\n\
         \n\
         [engine.rpc]\n\
         listen = \"127.0.0.1:{rpc}\"\n\
         \n\
         [stream]\n\
         listen = \"127.0.0.1:{grpc}\"\n\
         \n\
         [network]\n\
         listen = [\"{tcp}\", \"{quic}\"]\n\
         bootnodes = [{}]\n\
         \n\
         [bridge.bitcoind]\n\
         url = \"http://127.0.0.1:18443\"\n\
         cookie_file = \"~/.bitcoin/regtest/.cookie\"\n",
        net.validators,
        mining(&net.chain, rpc.saturating_add(3)),
        others.join(", "),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alys_cluster::exit;

    use super::*;
    use crate::config::load;

    fn net(validators: u16) -> Testnet {
        Testnet { chain: DevChain::default(), validators, hosts: Vec::new(), port_base: 20_000 }
    }

    #[test]
    fn every_validator_knows_the_chain_and_the_others() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("net");
        let made = make(&folder, &net(4)).unwrap();
        assert!(made.iter().flat_map(|(_, things)| things).all(|thing| thing.path.exists()), "{made:?}");
        let loaded: Vec<_> = made.iter().map(|(data_dir, _)| load(&data_dir.join("alys.toml"), &[]).unwrap()).collect();
        let spec = loaded[0].spec().unwrap();
        assert_eq!(spec.validators.len(), 4);
        for (position, loaded) in loaded.iter().enumerate() {
            assert_eq!(loaded.spec().unwrap(), spec);
            assert_eq!(loaded.config.network.bootnodes.len(), 3);
            let key = super::super::keys::Secret::read(Kind::Validator, &made[position].0.join(VALIDATOR_KEY)).unwrap();
            assert_eq!(key.validator(), spec.validators[position]);
            assert_eq!(loaded.config.local.governance, if position == 0 { 3 } else { 0 });
        }
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_mined_chain_serves_miners() {
        let parent = tempfile::tempdir().unwrap();
        let chain = DevChain { work: true, max_blocks_without_pow: 7, ..DevChain::default() };
        let made = make(&parent.path().join("net"), &Testnet { chain, ..net(2) }).unwrap();
        let second = load(&made[1].0.join("alys.toml"), &[]).unwrap();
        let (rules, _) = alys_pow::WorkRules::of(&second.spec().unwrap()).unwrap().unwrap();
        assert_eq!(rules.max_blocks_without_pow.get(), 7);
        assert_eq!(second.config.chain.mining.listen, Some(([127, 0, 0, 1], 20_013).into()));
    }

    #[test]
    fn validators_on_several_hosts_listen_there() {
        let parent = tempfile::tempdir().unwrap();
        let hosts = (1..=2).map(|last| [192, 0, 2, last].into()).collect();
        let made = make(&parent.path().join("net"), &Testnet { hosts, ..net(2) }).unwrap();
        let loaded: Vec<_> = made.iter().map(|(data_dir, _)| load(&data_dir.join("alys.toml"), &[]).unwrap()).collect();
        for (own, other) in [(0, 1), (1, 0)] {
            let heard = loaded[own].config.network.listen[0].to_string();
            assert!(heard.starts_with(&format!("/ip4/192.0.2.{}/tcp/", own + 1)), "{heard}");
            let dialled = loaded[other].config.network.bootnodes[0].to_string();
            assert!(dialled.starts_with(&heard), "{dialled}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_wrong_usage() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("net");
        let refused = |folder: &Path, net| make(folder, &net).unwrap_err().code;
        assert_eq!(refused(&folder, net(0)), exit::USAGE);
        assert_eq!(refused(&folder, Testnet { port_base: 65_500, ..net(4) }), exit::USAGE);
        assert_eq!(refused(&folder, Testnet { hosts: vec![[192, 0, 2, 1].into()], ..net(4) }), exit::USAGE);
        assert_eq!(refused(&folder, Testnet { chain: DevChain { threshold: 9, ..DevChain::default() }, ..net(1) }), exit::USAGE);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "keys of a chain that cannot be");
        make(&folder, &net(1)).unwrap();
        assert_eq!(refused(&folder, net(1)), exit::USAGE, "another chain's folder");
    }
}
