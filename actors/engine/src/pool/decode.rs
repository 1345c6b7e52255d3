//! From bytes to a transaction with a sender. The expensive part, done before the pool is locked.

use alloy_consensus::transaction::{Recovered, SignerRecoverable, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;

use super::Rejection;

/// Largest transaction in bytes of its envelope: 128 KiB, four times the largest contract.
pub const MAX_TRANSACTION_BYTES: usize = 128 << 10;

/// Decodes an EIP-2718 envelope, all of it, and recovers the signer. High-s signatures are refused (EIP-2).
pub fn decode(bytes: &[u8]) -> Result<Recovered<TxEnvelope>, Rejection> {
    if bytes.len() > MAX_TRANSACTION_BYTES {
        return Err(Rejection::TooLarge { size: bytes.len(), limit: MAX_TRANSACTION_BYTES });
    }
    let transaction = TxEnvelope::decode_2718_exact(bytes).map_err(|error| Rejection::Malformed(error.to_string()))?;
    transaction.try_into_recovered().map_err(|_| Rejection::BadSignature)
}
