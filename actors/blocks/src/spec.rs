//! The chain specification: everything that two nodes must agree on before block 1. Kept as one TOML file;
//! its hash is the genesis hash, so nodes with different specifications are on different chains.

use alloy_primitives::{Address, B256, U256};
use alys_proto::Sats;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::certificate::ValidatorId;
use crate::domain::ChainDomain;

/// Unsettled blocks whose hashes every node keeps in memory: 3 MiB.
const MAX_BLOCKS_WITHOUT_POW: u64 = 100_000;

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// For people.
    pub name: String,
    /// EVM chain id.
    pub chain_id: u64,
    /// Unix seconds; start of slot 0.
    pub genesis_time: u64,
    /// Length of a slot, milliseconds; whole seconds.
    pub slot_millis: u64,
    /// Ed25519 public keys in schedule order, at most 256.
    pub validators: Vec<ValidatorId>,
    /// What we peg to.
    pub bitcoin: BitcoinSpec,
    /// Who holds the coins.
    pub federation: FederationSpec,
    /// Limits of the peg.
    pub peg: PegSpec,
    /// Execution layer.
    pub execution: ExecutionSpec,
    /// Merged mining; without it blocks are final by votes alone. Absent it is no part of the genesis hash, so chains that
    /// never heard of it keep theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkSpec>,
}

/// The Bitcoin network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoinSpec {
    /// `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`, as rust-bitcoin names them.
    pub network: String,
    /// How many blocks deep a deposit or payout must be (its own block counts as 1) [PEG-4].
    pub confirmations: u32,
    /// Height from which deposits are looked for.
    pub start_height: u32,
}

/// The federation at genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationSpec {
    /// Signatures needed.
    pub threshold: u32,
    /// Members.
    pub members: Vec<FederationMember>,
}

/// One member of the federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationMember {
    /// Name; also the common name of its TLS certificate.
    pub name: String,
    /// X-only secp256k1 public key.
    pub public_key: B256,
}

/// Limits of the peg. Fee rates are in satoshis per 1,000 virtual bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PegSpec {
    /// Smallest deposit.
    pub min_peg_in: Sats,
    /// Kept from every deposit [PEG-3].
    pub peg_in_fee: Sats,
    /// Smallest burn; the bridge contract's constant.
    pub min_peg_out: Sats,
    /// Lowest fee rate of a payout.
    pub min_fee_rate: u64,
    /// Highest fee rate of a payout [PEG-8].
    pub max_fee_rate: u64,
    /// Most burns in one payout.
    pub max_burns_per_payout: u32,
}

/// Execution layer at genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionSpec {
    /// Gas limit of a block.
    pub gas_limit: u64,
    /// Base fee of block 1, wei.
    pub initial_base_fee: u64,
    /// Accounts with a balance at genesis. Only for test chains: such coins are backed by nothing.
    pub alloc: Vec<GenesisAccount>,
}

/// An account at genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Address.
    pub address: Address,
    /// Balance in wei, decimal or 0x-hex in the file.
    pub balance: U256,
}

/// Merged mining: what `alys_pow` reads its rules from, and checks further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkSpec {
    /// Number of this chain in merged mining, 1 to 8191.
    pub aux_chain_id: u16,
    /// Compact target of the first bundle.
    pub first_bits: u32,
    /// The easiest compact target.
    pub limit_bits: u32,
    /// Seconds between bundles.
    pub spacing_seconds: u64,
    /// Bundles until the target moves.
    pub window: u64,
    /// How far it moves at most, either way.
    pub factor: u64,
    /// Blocks that may wait for work; then the chain waits for it.
    pub max_blocks_without_pow: u64,
    /// Whether only burns in settled blocks are paid out.
    pub settled_peg_outs: bool,
}

impl Default for PegSpec {
    fn default() -> Self {
        Self {
            min_peg_in: Sats(10_000),
            peg_in_fee: Sats(0),
            min_peg_out: Sats(10_000),
            min_fee_rate: 1_000,
            max_fee_rate: 500_000,
            max_burns_per_payout: 100,
        }
    }
}

impl Default for ExecutionSpec {
    fn default() -> Self {
        Self { gas_limit: 30_000_000, initial_base_fee: 1_000_000_000, alloc: Vec::new() }
    }
}

/// Why a specification cannot be a chain.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The text is not TOML of this shape.
    #[error("chain specification")]
    Syntax(#[from] toml::de::Error),
    /// A value breaks a rule.
    #[error("chain specification: {0}")]
    Value(String),
}

impl ChainSpec {
    /// Parses and checks a specification.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// The file's text.
    pub fn to_toml(&self) -> Result<String, SpecError> {
        toml::to_string_pretty(self).map_err(|cause| SpecError::Value(cause.to_string()))
    }

    /// Rules that the types do not state.
    pub fn check(&self) -> Result<(), SpecError> {
        let members = u32::try_from(self.federation.members.len()).unwrap_or(u32::MAX);
        let rules = [
            (
                self.slot_millis >= 1_000 && self.slot_millis.is_multiple_of(1_000),
                "slot_millis must be whole seconds, at least 1000",
            ),
            (!self.validators.is_empty() && self.validators.len() <= 256, "validators: between 1 and 256 are needed"),
            (members <= 20, "federation.members: at most 20"),
            (
                self.federation.threshold >= 1 && self.federation.threshold <= members,
                "federation.threshold must be between 1 and the number of members",
            ),
            (self.bitcoin.confirmations >= 1, "bitcoin.confirmations must be at least 1"),
            (
                self.peg.min_fee_rate >= 1 && self.peg.min_fee_rate <= self.peg.max_fee_rate,
                "peg.min_fee_rate must be at least 1 and at most peg.max_fee_rate",
            ),
            (
                self.peg.max_burns_per_payout >= 1 && self.peg.max_burns_per_payout <= 512,
                "peg.max_burns_per_payout must be between 1 and 512",
            ),
            (self.execution.gas_limit >= 5_000_000, "execution.gas_limit must be at least 5000000"),
            (
                self.work.as_ref().is_none_or(|work| (1..=MAX_BLOCKS_WITHOUT_POW).contains(&work.max_blocks_without_pow)),
                "work.max_blocks_without_pow must be between 1 and 100000",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(SpecError::Value((*rule).to_owned())),
            None => Ok(()),
        }
    }

    /// Parent of block 1: hash of the specification in canonical JSON (fields in declaration order).
    pub fn genesis_hash(&self) -> B256 {
        let canonical = serde_json::to_vec(self).expect("a specification holds nothing that JSON lacks");
        let digest = Sha256::new().chain_update(Sha256::digest("alys/genesis/1")).chain_update(canonical).finalize();
        B256::from_slice(&digest)
    }

    /// Hashing context of this chain.
    pub fn domain(&self) -> ChainDomain {
        ChainDomain::new(self.genesis_hash())
    }

    /// Whose turn a slot is. `None` only for a specification without validators, which [`Self::check`] refuses.
    pub fn proposer(&self, slot: u64) -> Option<ValidatorId> {
        let count = u64::try_from(self.validators.len()).ok()?;
        let turn = usize::try_from(slot.checked_rem(count)?).ok()?;
        self.validators.get(turn).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec() -> ChainSpec {
        ChainSpec {
            name: "test".into(),
            chain_id: 212_121,
            genesis_time: 1_700_000_000,
            slot_millis: 2_000,
            validators: vec![B256::repeat_byte(1), B256::repeat_byte(2)],
            bitcoin: BitcoinSpec { network: "regtest".into(), confirmations: 6, start_height: 0 },
            federation: FederationSpec {
                threshold: 1,
                members: vec![FederationMember { name: "a".into(), public_key: B256::repeat_byte(3) }],
            },
            peg: PegSpec::default(),
            execution: ExecutionSpec::default(),
            work: None,
        }
    }

    fn work() -> WorkSpec {
        WorkSpec {
            aux_chain_id: 1_337,
            first_bits: 0x207f_ffff,
            limit_bits: 0x207f_ffff,
            spacing_seconds: 600,
            window: 144,
            factor: 4,
            max_blocks_without_pow: 1_000,
            settled_peg_outs: true,
        }
    }

    #[test]
    fn a_chain_without_merged_mining_has_the_hash_it_always_had() {
        assert!(!serde_json::to_string(&spec()).unwrap().contains("\"work\""));
        let mined = ChainSpec { work: Some(work()), ..spec() };
        assert_eq!(ChainSpec::from_toml(&mined.to_toml().unwrap()).unwrap(), mined);
        assert_ne!(mined.genesis_hash(), spec().genesis_hash());
    }

    #[test]
    fn toml_round_trips_and_the_hash_sees_every_change() {
        let text = spec().to_toml().unwrap();
        assert_eq!(ChainSpec::from_toml(&text).unwrap(), spec());
        let mut other = spec();
        other.peg.max_fee_rate += 1;
        assert_ne!(other.genesis_hash(), spec().genesis_hash());
    }

    #[test]
    fn rules_are_checked() {
        let broken: [fn(&mut ChainSpec); 7] = [
            |s| s.slot_millis = 1_500,
            |s| s.validators.clear(),
            |s| s.federation.threshold = 2,
            |s| s.bitcoin.confirmations = 0,
            |s| s.peg.min_fee_rate = 0,
            |s| s.work = Some(WorkSpec { max_blocks_without_pow: 0, ..work() }),
            |s| s.work = Some(WorkSpec { max_blocks_without_pow: 100_001, ..work() }),
        ];
        for breaks in broken {
            let mut bad = spec();
            breaks(&mut bad);
            assert!(bad.check().is_err());
        }
    }

    #[test]
    fn turns_follow_the_slots() {
        assert_eq!(spec().proposer(4), Some(B256::repeat_byte(1)));
        assert_eq!(spec().proposer(7), Some(B256::repeat_byte(2)));
    }
}
