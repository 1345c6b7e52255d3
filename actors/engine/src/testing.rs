//! What the tests of this crate share: a chain, keys with balances, transactions.

#![allow(clippy::unwrap_used)]

use alloy_consensus::transaction::{Recovered, SignerRecoverable};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use alys_blocks::spec::{ExecutionSpec, GenesisAccount};
use alys_blocks::{ChainSpec, FEE_SINK};

use crate::core::build::Attributes;

/// 1 BTC in wei.
pub(crate) const COIN: u128 = 1_000_000_000_000_000_000;

/// The key of a funded account.
pub(crate) fn key(number: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(number)).unwrap()
}

/// A chain on which keys 1 to 4 have 100 coins each.
pub(crate) fn spec() -> ChainSpec {
    let funded = |number| GenesisAccount { address: key(number).address(), balance: U256::from(100 * COIN) };
    ChainSpec {
        execution: ExecutionSpec { alloc: (1..=4).map(funded).collect(), ..ExecutionSpec::default() },
        ..alys_blocks::testing::spec()
    }
}

/// What a proposer asks for `seconds` after genesis.
pub(crate) fn attributes(seconds: u64) -> Attributes {
    Attributes {
        timestamp: spec().genesis_time + seconds,
        prev_randao: B256::repeat_byte(5),
        parent_beacon_block_root: B256::repeat_byte(6),
        fee_recipient: FEE_SINK,
        withdrawals: Vec::new(),
    }
}

/// A signed transaction of a funded key.
pub(crate) fn transaction(from: u8, nonce: u64, to: TxKind, value: u128, input: Bytes) -> Recovered<TxEnvelope> {
    let unsigned = TxEip1559 {
        chain_id: spec().chain_id,
        nonce,
        gas_limit: 1_000_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to,
        value: U256::from(value),
        access_list: Default::default(),
        input,
    };
    sign(from, unsigned)
}

/// Signs anything with a funded key.
pub(crate) fn sign<T>(from: u8, unsigned: T) -> Recovered<TxEnvelope>
where
    T: SignableTransaction<alloy_primitives::Signature>,
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = key(from).sign_hash_sync(&unsigned.signature_hash()).unwrap();
    let envelope: TxEnvelope = unsigned.into_signed(signature).into();
    let signer = envelope.recover_signer().unwrap();
    Recovered::new_unchecked(envelope, signer)
}

/// A transfer.
pub(crate) fn transfer(from: u8, nonce: u64, to: Address, value: u128) -> Recovered<TxEnvelope> {
    transaction(from, nonce, TxKind::Call(to), value, Bytes::new())
}

/// Init code that installs `code`.
pub(crate) fn deploy(code: &[u8]) -> Bytes {
    let length = u8::try_from(code.len()).unwrap();
    // PUSH1 length, DUP1, PUSH1 11, PUSH1 0, CODECOPY, PUSH1 0, RETURN
    let mut init = vec![0x60, length, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3];
    init.extend_from_slice(code);
    init.into()
}
