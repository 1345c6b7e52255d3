//! The execution payload inside a block body: SSZ `ExecutionPayloadV3` of the Ethereum consensus specification.

use alloy_rpc_types_engine::ExecutionPayloadV3;
use ssz::{Decode, Encode};

use crate::limits::MaxPayloadBytes;
use ssz_types::typenum::Unsigned;

/// The bytes are not a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Above the cap of a block.
    #[error("{0} bytes are more than a payload may have")]
    TooLong(usize),
    /// Not the SSZ form.
    #[error("not an execution payload: {0}")]
    Malformed(String),
}

/// SSZ bytes of a payload.
pub fn encode_payload(payload: &ExecutionPayloadV3) -> Vec<u8> {
    payload.as_ssz_bytes()
}

/// From SSZ bytes that may come from anybody.
pub fn decode_payload(bytes: &[u8]) -> Result<ExecutionPayloadV3, PayloadError> {
    if bytes.len() > MaxPayloadBytes::USIZE {
        return Err(PayloadError::TooLong(bytes.len()));
    }
    ExecutionPayloadV3::from_ssz_bytes(bytes).map_err(|cause| PayloadError::Malformed(format!("{cause:?}")))
}
