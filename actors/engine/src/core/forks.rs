//! Which Ethereum rules hold when.

use alloy_eips::eip7840::BlobParams;
use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::Address;

/// Activation times of the forks after Cancun, which holds from genesis.
///
/// A later fork needs its header fields in `header.rs` (Prague: `requests_hash`) and its system contracts in
/// `genesis.rs` or as an upgrade, before a chain may name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForkSchedule {
    /// Unix seconds of the first Prague block.
    pub prague: Option<u64>,
    /// Unix seconds of the first Osaka block.
    pub osaka: Option<u64>,
}

impl ForkSchedule {
    /// Blob parameters at a time. Blobs are refused on our chain, but the fields of the header exist and are checked.
    pub fn blob_params(&self, timestamp: u64) -> BlobParams {
        if self.is_prague_active_at_timestamp(timestamp) { BlobParams::prague() } else { BlobParams::cancun() }
    }
}

impl EthereumHardforks for ForkSchedule {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        use EthereumHardfork as Fork;
        let at = |time: Option<u64>| time.map_or(ForkCondition::Never, ForkCondition::Timestamp);
        match fork {
            // There is no DAO to rescue and no difficulty bomb to defuse on this chain.
            Fork::Dao => ForkCondition::Never,
            Fork::Shanghai | Fork::Cancun => ForkCondition::Timestamp(0),
            Fork::Prague => at(self.prague),
            Fork::Osaka => at(self.osaka),
            fork if fork < Fork::Shanghai => ForkCondition::Block(0),
            _ => ForkCondition::Never,
        }
    }
}

impl EthExecutorSpec for ForkSchedule {
    fn deposit_contract_address(&self) -> Option<Address> {
        None
    }
}

/// What a chain fixes of the execution layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// EVM chain id.
    pub chain_id: u64,
    /// Forks by time.
    pub forks: ForkSchedule,
    /// Gas limit that every block must have. `None`: it may drift from its parent's by 1/1024, as on Ethereum.
    pub gas_limit: Option<u64>,
    /// Whether blob transactions are legal.
    pub blobs: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::primitives::hardfork::SpecId;

    #[test]
    fn rules_follow_the_clock() {
        let spec = |forks: ForkSchedule, time| alloy_evm::spec_by_timestamp_and_block_number(&forks, time, 1);
        assert_eq!(spec(ForkSchedule::default(), 0), SpecId::CANCUN);
        assert_eq!(spec(ForkSchedule::default(), u64::MAX), SpecId::CANCUN);
        let later = ForkSchedule { prague: Some(100), osaka: Some(200) };
        assert_eq!(spec(later, 99), SpecId::CANCUN);
        assert_eq!(spec(later, 100), SpecId::PRAGUE);
        assert_eq!(spec(later, 200), SpecId::OSAKA);
    }
}
