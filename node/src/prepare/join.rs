//! What `alys up --join` makes on its first run: a full node of a chain that others run. It checks every block itself,
//! has no validator key, and runs no governance node.
//!
//! As for a test chain everything is made once, and the configuration last.

use std::path::Path;

use alys_blocks::ChainSpec;
use libp2p::Multiaddr;
use toml::Table;

use super::files::{self, Made};
use super::keys::Kind;
use super::{key, own_cluster};
use crate::failure::{Failure, OrFail as _, Outcome};

/// Makes what is missing in a data directory and says what it made.
pub fn full_node(data_dir: &Path, spec_file: &Path, bootnodes: &[Multiaddr]) -> Outcome<Vec<Made>> {
    let (text, spec) = read(spec_file)?;
    let (own_spec, config_file) = (data_dir.join("chain.toml"), data_dir.join("alys.toml"));
    // Nothing may be written into the folder of another node.
    if own_spec.exists() && read(&own_spec)?.1.genesis_hash() != spec.genesis_hash() {
        return Err(another(format!("{} holds a node of another chain", data_dir.display())));
    }
    if config_file.exists() {
        if has_validator_key(&config_file)? {
            let what = format!("{} holds a validator, which does not join as a full node", data_dir.display());
            return Err(another(what));
        }
    } else if bootnodes.is_empty() {
        return Err(Failure::usage("--join needs a node of that chain to connect to: --bootnode")
            .help("on a node that runs, `alys status -o json` shows its `addresses` in the row of network"));
    }
    let mut made = Vec::new();
    own_cluster(data_dir, &mut made)?;
    key(data_dir, "network/p2p.key", Kind::Network, false, &mut made)?;
    if files::public(&own_spec, &text)? {
        made.push(Made { what: format!("chain specification of {}", spec.name), path: own_spec });
    }
    if files::public(&config_file, &configuration(&spec, bootnodes))? {
        made.push(Made { what: "configuration".into(), path: config_file });
    }
    Ok(made)
}

fn read(file: &Path) -> Outcome<(String, ChainSpec)> {
    let text = std::fs::read_to_string(file)
        .or_configuration(format!("cannot read the chain specification {}", file.display()))
        .map_err(|failure| {
            failure.help("the operators of a chain publish it; of a test chain it is chain.toml in the data directory")
        })?;
    let spec = ChainSpec::from_toml(&text).or_configuration(format!("{} is not usable", file.display()))?;
    Ok((text, spec))
}

fn has_validator_key(config_file: &Path) -> Outcome<bool> {
    let text = std::fs::read_to_string(config_file).or_configuration(format!("cannot read {}", config_file.display()))?;
    let table: Table = toml::from_str(&text).or_configuration(format!("{} is not TOML", config_file.display()))?;
    Ok(table.get("chain").and_then(|chain| chain.get("validator_key")).is_some())
}

fn another(what: String) -> Failure {
    Failure::configuration(what).help("--data-dir names another folder; without --join the node in it is started as it is")
}

fn configuration(spec: &ChainSpec, bootnodes: &[Multiaddr]) -> String {
    // TOML writes strings as Rust does: an address holds nothing that needs more.
    let bootnodes: Vec<String> = bootnodes.iter().map(|address| format!("\"{address}\"")).collect();
    let (port, folder) = bitcoind(&spec.bitcoin.network);
    format!(
        "# Alys: a full node of {}, made by `alys up --join`.\n\
         # Every setting with its value and where it came from: `alys config show --origin`.\n\
         # Flags (--set engine.rpc.listen=…) and environment (ALYS_ENGINE__RPC__LISTEN=…) go over this file.\n\
         # Relative paths start at the folder of this file.\n\
         chain_spec_file = \"chain.toml\"\n\
         \n\
         [local]\n\
         governance = 0\n\
         \n\
         [network]\n\
         listen = [\"/ip4/0.0.0.0/tcp/30333\", \"/ip4/0.0.0.0/udp/30333/quic-v1\"]\n\
         bootnodes = [{}]\n\
         \n\
         [bridge.bitcoind]\n\
         url = \"http://127.0.0.1:{port}\"\n\
         cookie_file = \"~/.bitcoin/{folder}.cookie\"\n",
        // In a comment: a line break in a name would end it.
        spec.name.escape_default(),
        bootnodes.join(", "),
    )
}

/// Where a bitcoind of a network listens, and its folder below `~/.bitcoin/`, if nobody changed it.
fn bitcoind(network: &str) -> (u16, &'static str) {
    match network {
        "bitcoin" => (8_332, ""),
        "testnet" => (18_332, "testnet3/"),
        "testnet4" => (48_332, "testnet4/"),
        "signet" => (38_332, "signet/"),
        _ => (18_443, "regtest/"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use alys_cluster::exit;
    use tempfile::TempDir;

    use super::*;
    use crate::config::load;
    use crate::prepare::{DevChain, dev};

    const BOOTNODE: &str = "/ip4/192.0.2.1/tcp/30333/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    struct World {
        validator: TempDir,
        folder: TempDir,
    }

    impl World {
        fn new() -> Self {
            let world = Self { validator: tempfile::tempdir().unwrap(), folder: tempfile::tempdir().unwrap() };
            dev(world.validator.path(), &DevChain::default()).unwrap();
            world
        }

        fn spec_file(&self) -> PathBuf {
            self.validator.path().join("chain.toml")
        }

        fn join(&self) -> Outcome<Vec<Made>> {
            full_node(self.folder.path(), &self.spec_file(), &[BOOTNODE.parse().unwrap()])
        }
    }

    #[test]
    fn the_first_run_makes_a_full_node_and_the_second_nothing() {
        let world = World::new();
        let made = world.join().unwrap();
        assert!(made.iter().all(|made| made.path.exists()));
        let loaded = load(&world.folder.path().join("alys.toml"), &[]).unwrap();
        let config = &loaded.config;
        assert_eq!((config.chain.validator_key.as_ref(), config.local.governance), (None, 0));
        assert_eq!(config.network.bootnodes, [BOOTNODE.parse().unwrap()]);
        let theirs = read(&world.spec_file()).unwrap().1;
        assert_eq!(*loaded.spec().unwrap(), theirs);
        assert!(!world.folder.path().join("keys").exists(), "nobody's key is made");
        assert_eq!(world.join().unwrap(), []);
        // It knows its bootnodes now.
        assert_eq!(full_node(world.folder.path(), &world.spec_file(), &[]).unwrap(), []);
    }

    #[test]
    fn the_folder_of_another_node_is_left_alone() {
        let world = World::new();
        let bootnodes = [BOOTNODE.parse().unwrap()];
        let refused = full_node(world.validator.path(), &world.spec_file(), &bootnodes).unwrap_err();
        assert!(refused.to_string().contains("holds a validator"), "{refused}");
        world.join().unwrap();
        let other = World::new();
        let refused = full_node(world.folder.path(), &other.spec_file(), &bootnodes).unwrap_err();
        assert_eq!(refused.code, exit::CONFIGURATION);
        assert!(refused.to_string().contains("another chain"), "{refused}");
    }

    #[test]
    fn what_cannot_be_joined_is_said_before_anything_is_made() {
        let world = World::new();
        let folder = world.folder.path();
        let alone = full_node(folder, &world.spec_file(), &[]).unwrap_err();
        assert_eq!(alone.code, exit::USAGE);
        assert!(alone.to_string().contains("--bootnode"), "{alone}");
        let bootnodes = [BOOTNODE.parse().unwrap()];
        let absent = full_node(folder, &folder.join("nothing.toml"), &bootnodes).unwrap_err();
        assert_eq!(absent.code, exit::CONFIGURATION);
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }

    #[test]
    fn the_usual_bitcoind_of_each_network_is_configured() {
        let world = World::new();
        let mut spec = read(&world.spec_file()).unwrap().1;
        for (network, port) in [("bitcoin", 8_332), ("testnet4", 48_332), ("signet", 38_332), ("regtest", 18_443)] {
            spec.bitcoin.network = network.into();
            let text = configuration(&spec, &[]);
            toml::from_str::<crate::config::NodeConfig>(&text).unwrap();
            assert!(text.contains(&format!("127.0.0.1:{port}\"")), "{network}: {text}");
        }
    }
}
