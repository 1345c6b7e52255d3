//! How values are laid out in the tables.

use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, TxType};
use alloy_primitives::{Address, B256, Log, U256};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};

use crate::core::state::{AccountRecord, StateError};

/// A receipt as it is kept: the bloom follows from the logs.
#[derive(RlpEncodable, RlpDecodable)]
struct StoredReceipt {
    kind: u8,
    success: bool,
    cumulative_gas_used: u64,
    logs: Vec<Log>,
}

/// Decodes what we wrote ourselves.
///
/// # Errors
/// `Damaged`: these bytes cannot have been written by us.
pub fn decode<T: Decodable>(what: &'static str, mut bytes: &[u8]) -> Result<T, StateError> {
    let value = T::decode(&mut bytes).map_err(|cause| StateError::Damaged(format!("{what} in the database: {cause}")))?;
    if bytes.is_empty() { Ok(value) } else { Err(StateError::Damaged(format!("{what} in the database: bytes left over"))) }
}

/// Receipts of a block.
pub fn encode_receipts(receipts: &[ReceiptEnvelope]) -> Vec<u8> {
    let stored: Vec<_> = receipts
        .iter()
        .map(|receipt| StoredReceipt {
            kind: receipt.tx_type().into(),
            success: receipt.status(),
            cumulative_gas_used: receipt.cumulative_gas_used(),
            logs: receipt.logs().to_vec(),
        })
        .collect();
    alloy_rlp::encode(&stored)
}

/// Receipts of a block.
///
/// # Errors
/// `Damaged`.
pub fn decode_receipts(bytes: &[u8]) -> Result<Vec<ReceiptEnvelope>, StateError> {
    let stored: Vec<StoredReceipt> = decode("receipts", bytes)?;
    stored.into_iter().map(receipt).collect()
}

fn receipt(stored: StoredReceipt) -> Result<ReceiptEnvelope, StateError> {
    let receipt = Receipt {
        status: Eip658Value::Eip658(stored.success),
        cumulative_gas_used: stored.cumulative_gas_used,
        logs: stored.logs,
    };
    let receipt = receipt.with_bloom();
    Ok(match TxType::try_from(stored.kind) {
        Ok(TxType::Legacy) => ReceiptEnvelope::Legacy(receipt),
        Ok(TxType::Eip2930) => ReceiptEnvelope::Eip2930(receipt),
        Ok(TxType::Eip1559) => ReceiptEnvelope::Eip1559(receipt),
        Ok(TxType::Eip4844) => ReceiptEnvelope::Eip4844(receipt),
        Ok(TxType::Eip7702) => ReceiptEnvelope::Eip7702(receipt),
        Err(_) => return Err(StateError::Damaged(format!("receipt of type {} in the database", stored.kind))),
    })
}

/// An account, or nothing.
pub fn encode_account(account: Option<&AccountRecord>) -> Vec<u8> {
    account.map(alloy_rlp::encode).unwrap_or_default()
}

/// An account, or nothing.
///
/// # Errors
/// `Damaged`.
pub fn decode_account(bytes: &[u8]) -> Result<Option<AccountRecord>, StateError> {
    if bytes.is_empty() { Ok(None) } else { decode("account", bytes).map(Some) }
}

/// A slot's value without leading zeros.
pub fn encode_word(value: U256) -> Vec<u8> {
    value.to_be_bytes_trimmed_vec()
}

/// A slot's value.
///
/// # Errors
/// `Damaged` when it is longer than a word.
pub fn decode_word(bytes: &[u8]) -> Result<U256, StateError> {
    U256::try_from_be_slice(bytes).ok_or_else(|| StateError::Damaged("storage slot of more than 32 bytes in the database".into()))
}

/// Senders of a block.
///
/// # Errors
/// `Damaged` when the length is not a multiple of 20.
pub fn decode_senders(bytes: &[u8]) -> Result<Vec<Address>, StateError> {
    let (senders, rest) = bytes.as_chunks::<20>();
    if !rest.is_empty() {
        return Err(StateError::Damaged("senders in the database are cut off".into()));
    }
    Ok(senders.iter().map(Address::from).collect())
}

/// Number and hash of the head.
pub fn encode_head(number: u64, hash: B256) -> [u8; 40] {
    let mut bytes = [0; 40];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&number.to_be_bytes());
    second.copy_from_slice(hash.as_slice());
    bytes
}

/// Number and hash of the head.
///
/// # Errors
/// `Damaged` when it has another length.
pub fn decode_head(bytes: &[u8]) -> Result<(u64, B256), StateError> {
    let (number, hash) =
        bytes.split_first_chunk::<8>().ok_or_else(|| StateError::Damaged("head in the database is cut off".into()))?;
    let hash = B256::try_from(hash).map_err(|_| StateError::Damaged("head in the database is cut off".into()))?;
    Ok((u64::from_be_bytes(*number), hash))
}

/// Address ‖ slot.
pub fn slot_key(address: Address, slot: U256) -> [u8; 52] {
    let mut key = [0; 52];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&slot.to_be_bytes::<32>());
    key
}

/// Address ‖ path.
pub fn node_key(address: Address, path: &[u8]) -> Vec<u8> {
    [address.as_slice(), path].concat()
}

/// Address ‖ block.
pub fn account_history_key(address: Address, block: u64) -> [u8; 28] {
    let mut key = [0; 28];
    key[..20].copy_from_slice(address.as_slice());
    key[20..].copy_from_slice(&block.to_be_bytes());
    key
}

/// Address ‖ slot ‖ block.
pub fn storage_history_key(address: Address, slot: U256, block: u64) -> [u8; 60] {
    let mut key = [0; 60];
    key[..52].copy_from_slice(&slot_key(address, slot));
    key[52..].copy_from_slice(&block.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use alloy_primitives::LogData;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn receipts_come_back_with_their_blooms(success: bool, gas: u64, topic: [u8; 32], data: Vec<u8>) {
            let log = Log { address: Address::repeat_byte(3), data: LogData::new_unchecked(vec![topic.into()], data.into()) };
            let receipt = Receipt { status: success.into(), cumulative_gas_used: gas, logs: vec![log] }.with_bloom();
            let receipts = vec![ReceiptEnvelope::Eip1559(receipt.clone()), ReceiptEnvelope::Legacy(receipt)];
            prop_assert_eq!(decode_receipts(&encode_receipts(&receipts)).unwrap(), receipts);
        }

        #[test]
        fn words_and_heads_come_back(word: [u8; 32], number: u64) {
            let value = U256::from_be_bytes(word);
            prop_assert_eq!(decode_word(&encode_word(value)).unwrap(), value);
            prop_assert_eq!(decode_head(&encode_head(number, word.into())).unwrap(), (number, word.into()));
        }

        #[test]
        fn rubbish_is_damage_and_no_panic(bytes: Vec<u8>) {
            let _ = decode_receipts(&bytes);
            let _ = decode_account(&bytes);
            let _ = decode_word(&bytes);
            let _ = decode_senders(&bytes);
            let _ = decode_head(&bytes);
        }
    }
}
