//! Blocks of everything that Ethereum's rules know, the same for the same seed: transfers, creations, reverts, logs,
//! withdrawals, precompiles, access lists, self-destructs, burns, and programs that nobody would write.
#![allow(unreachable_pub)]

pub mod contracts;
pub mod numbers;
mod precompiles;
mod transactions;

use alloy_consensus::transaction::Recovered;
use alloy_consensus::{Header, TxEnvelope};
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, U256};
use alloy_signer_local::PrivateKeySigner;
use alys_blocks::spec::{ExecutionSpec, GenesisAccount};
use alys_blocks::{ChainSpec, FEE_SINK};
use alys_engine::core::build::Attributes;

use contracts::{assemble, installing};
use numbers::Numbers;

/// Accounts that sign.
const SENDERS: u8 = 6;
/// Most transactions of a block.
const MOST: u64 = 8;

/// A chain on which the senders are rich.
pub fn spec() -> eyre::Result<ChainSpec> {
    let balance = U256::from(10).pow(U256::from(26));
    let alloc = senders()?.iter().map(|sender| GenesisAccount { address: sender.address(), balance }).collect();
    Ok(ChainSpec { execution: ExecutionSpec { alloc, ..ExecutionSpec::default() }, ..alys_blocks::testing::spec() })
}

fn senders() -> eyre::Result<Vec<PrivateKeySigner>> {
    (1..=SENDERS).map(|number| Ok(PrivateKeySigner::from_bytes(&B256::repeat_byte(number))?)).collect()
}

/// Where the contracts of the first block are.
pub struct Contracts {
    writer: Address,
    logger: Address,
    reverter: Address,
    waster: Address,
    pub bomb: Address,
    observer: Address,
    pub factory: Address,
    forwarders: Vec<Address>,
}

/// Makes block after block.
pub struct Generator {
    numbers: Numbers,
    senders: Vec<PrivateKeySigner>,
    nonces: Vec<u64>,
    pub contracts: Contracts,
    /// Addresses that later transactions may touch.
    known: Vec<Address>,
    withdrawals: u64,
    genesis_time: u64,
    /// The block has a transaction that burns a great part of its gas.
    wasted: bool,
}

impl Generator {
    pub fn new(seed: u64, spec: &ChainSpec) -> eyre::Result<Self> {
        let senders = senders()?;
        // They are made by the first sender, in this order, in block 1.
        let at = |nonce| senders.first().map(|sender| sender.address().create(nonce)).unwrap_or_default();
        let contracts = Contracts {
            writer: at(0),
            logger: at(1),
            reverter: at(2),
            waster: at(3),
            bomb: at(4),
            observer: at(5),
            factory: at(6),
            forwarders: (7..11).map(at).collect(),
        };
        let mut known: Vec<Address> = senders.iter().map(PrivateKeySigner::address).chain((0..11).map(at)).collect();
        known.extend([Address::ZERO, FEE_SINK, alys_blocks::BRIDGE_CONTRACT, alloy_eips::eip4788::BEACON_ROOTS_ADDRESS]);
        let nonces = vec![0; senders.len()];
        let genesis_time = spec.genesis_time;
        Ok(Self { numbers: Numbers::new(seed), senders, nonces, contracts, known, withdrawals: 0, genesis_time, wasted: false })
    }

    /// What the block after `parent` is made of.
    pub fn block(&mut self, parent: &Header, base_fee: u64) -> eyre::Result<(Attributes, Vec<Recovered<TxEnvelope>>)> {
        let attributes = Attributes {
            timestamp: parent.timestamp + self.numbers.within(1, 20),
            prev_randao: self.numbers.word(),
            parent_beacon_block_root: self.numbers.word(),
            fee_recipient: if self.numbers.one_in(4) { self.numbers.choice(&self.known) } else { FEE_SINK },
            withdrawals: self.withdrawals(),
        };
        if parent.number == 0 {
            return Ok((attributes, self.first(base_fee)?));
        }
        self.wasted = false;
        let count = self.numbers.within(0, MOST);
        let transactions = (0..count).map(|_| self.transaction(base_fee)).collect::<eyre::Result<_>>()?;
        Ok((attributes, transactions))
    }

    /// Mints, also of nothing and to accounts that are not there.
    fn withdrawals(&mut self) -> Vec<Withdrawal> {
        let count = if self.numbers.one_in(2) { 0 } else { self.numbers.within(1, 4) };
        (0..count)
            .map(|_| {
                let index = self.withdrawals;
                self.withdrawals += 1;
                let amount = if self.numbers.one_in(4) { 0 } else { self.numbers.below(1 << 40) };
                Withdrawal { index, validator_index: 0, address: self.anybody(), amount }
            })
            .collect()
    }

    fn anybody(&mut self) -> Address {
        match self.numbers.below(4) {
            0 => Address::from_word(self.numbers.word()),
            1 => Address::with_last_byte(self.numbers.byte()),
            _ => self.numbers.choice(&self.known),
        }
    }

    fn first(&mut self, base_fee: u64) -> eyre::Result<Vec<Recovered<TxEnvelope>>> {
        let forwarders = ["CALL", "CALLCODE", "DELEGATECALL", "STATICCALL"].map(contracts::forwarder);
        let fixed = [
            contracts::WRITER,
            contracts::LOGGER,
            contracts::REVERTER,
            contracts::WASTER,
            contracts::BOMB,
            contracts::OBSERVER,
            contracts::FACTORY,
        ];
        let sources = fixed.into_iter().chain(forwarders.iter().map(String::as_str));
        sources.map(|source| self.create(0, installing(&assemble(source)?)?, base_fee)).collect()
    }
}
