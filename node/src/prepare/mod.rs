//! What `alys up` makes on its first run: with `--dev` a whole test chain with its keys, certificates and configuration,
//! with `--join` a full node of a chain that others run ([`join`]); and what `alys testnet` makes: a test chain of several
//! validators ([`testnet`]).
//!
//! Everything is made once; what is there is kept. The configuration is written last, so a run that was cut short is
//! completed by the next one.

pub mod files;
pub mod join;
pub mod keys;
pub mod testnet;
pub mod tls;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::B256;
use alys_blocks::ChainSpec;
use alys_blocks::spec::{BitcoinSpec, ExecutionSpec, FederationMember, FederationSpec, PegSpec, WorkSpec};

use crate::failure::{Failure, OrFail as _, Outcome};
use files::Made;
use keys::{Kind, Secret};

const VALIDATOR_KEY: &str = "keys/validator.key";
const NETWORK_KEY: &str = "network/p2p.key";
/// Where `alys up --dev --work` serves miners.
const MINING_PORT: u16 = 8_555;

/// The test chain that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevChain {
    /// EVM chain id.
    pub chain_id: u64,
    /// Length of a slot, whole seconds in milliseconds.
    pub slot_millis: u64,
    /// Bitcoin blocks until a deposit or payout counts.
    pub confirmations: u32,
    /// Members of the federation.
    pub members: u32,
    /// Signatures needed.
    pub threshold: u32,
    /// Merged mining.
    pub work: bool,
    /// Blocks that may wait for it.
    pub max_blocks_without_pow: u64,
}

impl Default for DevChain {
    fn default() -> Self {
        Self {
            chain_id: 212_121,
            slot_millis: 2_000,
            confirmations: 6,
            members: 3,
            threshold: 2,
            work: false,
            max_blocks_without_pow: 20,
        }
    }
}

/// Name of the n-th local governance node, counted from 1.
pub fn member_name(number: u32) -> String {
    format!("governance-{number}")
}

/// Makes what is missing in a data directory and says what it made.
pub fn dev(data_dir: &Path, chain: &DevChain) -> Outcome<Vec<Made>> {
    let mut made = Vec::new();
    let authority = own_cluster(data_dir, &mut made)?;
    let spec_file = data_dir.join("chain.toml");
    // Keys of a chain that exists are never made anew: they would be other keys.
    let spec_exists = spec_file.exists();
    let validator = key(data_dir, VALIDATOR_KEY, Kind::Validator, spec_exists, &mut made)?.validator();
    key(data_dir, NETWORK_KEY, Kind::Network, false, &mut made)?;
    key(data_dir, "keys/evm.key", Kind::Evm, false, &mut made)?;
    let members = federation(data_dir, chain.members, spec_exists, &authority, &mut made)?;
    if !spec_exists {
        let spec = specification(chain, vec![validator], members)?;
        files::public(&spec_file, &spec.to_toml().or_bug("the specification is not TOML")?)?;
        made.push(Made { what: "chain specification".into(), path: spec_file });
    }
    let config_file = data_dir.join("alys.toml");
    if files::public(&config_file, &configuration(chain))? {
        made.push(Made { what: "configuration".into(), path: config_file });
    }
    Ok(made)
}

/// The members of the federation, whose governance nodes run in this data directory: their certificates and keys.
fn federation(
    data_dir: &Path,
    count: u32,
    must_exist: bool,
    authority: &tls::Authority,
    made: &mut Vec<Made>,
) -> Outcome<Vec<FederationMember>> {
    let member = |number| {
        let name = member_name(number);
        authority.write(&data_dir.join("tls"), &name, &name, &[], made)?;
        let public_key = key(data_dir, &format!("keys/{name}.key"), Kind::Governance, must_exist, made)?.federation()?;
        Ok(FederationMember { name, public_key })
    };
    (1..=count).map(member).collect()
}

/// The data directory and what the processes of one cluster know each other by.
fn own_cluster(data_dir: &Path, made: &mut Vec<Made>) -> Outcome<tls::Authority> {
    files::folder(data_dir)?;
    let cookie = hex::encode(rand::random::<[u8; 32]>());
    if files::secret(&data_dir.join("cookie"), format!("{cookie}\n"))? {
        made.push(Made { what: "cookie of the cluster".into(), path: data_dir.join("cookie") });
    }
    let authority = tls::Authority::open(&data_dir.join("tls"), "alys", made)?;
    let roles = tls::role_names();
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    authority.write(&data_dir.join("tls"), "node", "alys", &roles, made)?;
    authority.write(&data_dir.join("tls"), "stream", "stream", &["localhost", "127.0.0.1", "::1"], made)?;
    Ok(authority)
}

fn key(data_dir: &Path, file: &str, kind: Kind, must_exist: bool, made: &mut Vec<Made>) -> Outcome<Secret> {
    let path = data_dir.join(file);
    if !path.exists() && !must_exist {
        files::secret(&path, &Secret::generate(kind).to_file()?)?;
        made.push(Made { what: format!("{kind} key"), path: path.clone() });
    }
    Secret::read(kind, &path)
}

fn specification(chain: &DevChain, validators: Vec<B256>, members: Vec<FederationMember>) -> Outcome<ChainSpec> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).or_configuration("the clock of this host is before 1970")?.as_secs();
    let slot = (chain.slot_millis / 1_000).max(1);
    let spec = ChainSpec {
        name: "alys-dev".into(),
        chain_id: chain.chain_id,
        genesis_time: now.checked_sub(now.checked_rem(slot).unwrap_or(0)).unwrap_or(now),
        slot_millis: chain.slot_millis,
        validators,
        bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: chain.confirmations, start_height: 0 },
        federation: FederationSpec { threshold: chain.threshold, members },
        peg: PegSpec::default(),
        execution: ExecutionSpec::default(),
        work: chain.work.then(|| work(chain.max_blocks_without_pow)),
    };
    spec.check().map_err(|cause| Failure::usage(format!("this test chain cannot be: {cause}")))?;
    Ok(spec)
}

/// Merged mining as easy as on regtest. A test chain has no other Bitcoin chains' numbers to keep away from.
fn work(max_blocks_without_pow: u64) -> WorkSpec {
    WorkSpec {
        aux_chain_id: 4_242,
        first_bits: 0x207f_ffff,
        limit_bits: 0x207f_ffff,
        spacing_seconds: 10,
        window: 20,
        factor: 4,
        max_blocks_without_pow,
        settled_peg_outs: true,
    }
}

/// The section for miners, when the chain is mined.
fn mining(chain: &DevChain, port: u16) -> String {
    if chain.work { format!("[chain.mining]\nlisten = \"127.0.0.1:{port}\"\n\n") } else { String::new() }
}

fn configuration(chain: &DevChain) -> String {
    format!(
        "# Alys: a test chain on this host, made by `alys up --dev`.\n\
         # Every setting with its value and where it came from: `alys config show --origin`.\n\
         # Flags (--set engine.rpc.listen=…) and environment (ALYS_ENGINE__RPC__LISTEN=…) go over this file.\n\
         # Relative paths start at the folder of this file.\n\
         chain_spec_file = \"chain.toml\"\n\
         \n\
         [chain]\n\
         validator_key = \"keys/validator.key\"\n\
         \n\
         {}[local]\n\
         governance = {}\n\
         \n\
         [cluster.debug]\n\
         freeze_signers = true\n\
         \n\
         [network]\n\
         listen = [\"/ip4/127.0.0.1/tcp/30333\", \"/ip4/127.0.0.1/udp/30333/quic-v1\"]\n\
         \n\
         [bridge.bitcoind]\n\
         url = \"http://127.0.0.1:18443\"\n\
         cookie_file = \"~/.bitcoin/regtest/.cookie\"\n",
        mining(chain, MINING_PORT),
        chain.members
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_first_run_makes_everything_and_the_second_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let first = dev(directory.path(), &DevChain::default()).unwrap();
        assert!(first.iter().all(|made| made.path.exists()));
        let spec = ChainSpec::from_toml(&std::fs::read_to_string(directory.path().join("chain.toml")).unwrap()).unwrap();
        assert_eq!((spec.federation.members.len(), spec.federation.threshold, spec.bitcoin.confirmations), (3, 2, 6));
        assert!(spec.genesis_time.is_multiple_of(2));
        assert_eq!(dev(directory.path(), &DevChain::default()).unwrap(), []);
    }

    #[test]
    fn a_lost_key_of_an_existing_chain_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        dev(directory.path(), &DevChain::default()).unwrap();
        std::fs::remove_file(directory.path().join("keys/governance-2.key")).unwrap();
        let failure = dev(directory.path(), &DevChain::default()).unwrap_err();
        assert_eq!(failure.code, alys_cluster::exit::CONFIGURATION);
        assert!(failure.to_string().contains("backup"), "{failure}");
    }

    #[test]
    fn a_run_that_was_cut_short_is_completed() {
        let directory = tempfile::tempdir().unwrap();
        dev(directory.path(), &DevChain::default()).unwrap();
        for lost in ["chain.toml", "alys.toml", "tls/stream.key"] {
            std::fs::remove_file(directory.path().join(lost)).unwrap();
        }
        let made = dev(directory.path(), &DevChain::default()).unwrap();
        assert_eq!(made.len(), 3, "{made:?}");
    }

    #[test]
    fn an_impossible_chain_is_wrong_usage() {
        let directory = tempfile::tempdir().unwrap();
        let chain = DevChain { threshold: 4, ..DevChain::default() };
        assert_eq!(dev(directory.path(), &chain).unwrap_err().code, alys_cluster::exit::USAGE);
    }
}
