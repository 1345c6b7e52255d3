//! Block 0 in the form that execution clients start from: the genesis file of Geth, which the others read as well.

use alloy_primitives::{B64, B256, U64, U256};
use alys_blocks::ChainSpec;
use serde_json::{Map, Value, json};

use super::genesis::{GenesisAccount, GenesisError, accounts, header};

/// The genesis file of a chain. A client started with it has the same block 0 as the embedded engine.
///
/// # Errors
/// The specification cannot be a genesis.
pub fn genesis_file(spec: &ChainSpec) -> Result<Value, GenesisError> {
    let header = header(spec);
    let alloc: Map<String, Value> =
        accounts(spec)?.iter().map(|(address, account)| (address.to_string(), shown(account))).collect();
    Ok(json!({
        "config": config(spec.chain_id),
        "nonce": B64::ZERO,
        "timestamp": U64::from(header.timestamp),
        "extraData": header.extra_data,
        "gasLimit": U64::from(header.gas_limit),
        "difficulty": U256::ZERO,
        "mixHash": B256::ZERO,
        "coinbase": header.beneficiary,
        "number": U64::ZERO,
        "gasUsed": U64::ZERO,
        "parentHash": B256::ZERO,
        "baseFeePerGas": U64::from(header.base_fee_per_gas.unwrap_or_default()),
        "blobGasUsed": U64::ZERO,
        "excessBlobGas": U64::ZERO,
        "alloc": alloc,
    }))
}

/// Every fork up to Cancun holds from block 0; there was never any proof of work.
fn config(chain_id: u64) -> Value {
    let blocks = [
        "homesteadBlock",
        "eip150Block",
        "eip155Block",
        "eip158Block",
        "byzantiumBlock",
        "constantinopleBlock",
        "petersburgBlock",
        "istanbulBlock",
        "muirGlacierBlock",
        "berlinBlock",
        "londonBlock",
        "arrowGlacierBlock",
        "grayGlacierBlock",
        "mergeNetsplitBlock",
        "shanghaiTime",
        "cancunTime",
        "terminalTotalDifficulty",
    ];
    let mut config: Map<String, Value> = blocks.iter().map(|fork| ((*fork).to_owned(), json!(0))).collect();
    config.insert("chainId".into(), json!(chain_id));
    config.insert("terminalTotalDifficultyPassed".into(), json!(true));
    config.insert("blobSchedule".into(), json!({ "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 } }));
    Value::Object(config)
}

fn shown(account: &GenesisAccount) -> Value {
    let mut shown = Map::from_iter([("balance".to_owned(), json!(account.balance))]);
    if account.nonce > 0 {
        shown.insert("nonce".into(), json!(U64::from(account.nonce)));
    }
    if !account.code.is_empty() {
        shown.insert("code".into(), json!(account.code));
    }
    if !account.storage.is_empty() {
        let slots = account.storage.iter().map(|(slot, value)| (format!("{:#066x}", slot), json!(B256::from(*value))));
        shown.insert("storage".into(), Value::Object(slots.collect()));
    }
    Value::Object(shown)
}
