//! Answers of an execution client, as far as they are used. More is ignored, less is an error.

use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxReceipt as _, TxType};
use alloy_primitives::{Address, B256, Bytes, Log, LogData, U64, U256};
use alloy_rpc_types_engine::{ExecutionPayloadV3, PayloadId};
use serde::Deserialize;

/// What the client thinks of a payload or a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Verdict {
    Valid,
    Invalid,
    Syncing,
    Accepted,
    /// Of clients from before Cancun: the hash is not that of the payload.
    InvalidBlockHash,
}

/// `PayloadStatusV1`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PayloadStatus {
    pub(super) status: Verdict,
    pub(super) validation_error: Option<String>,
}

impl PayloadStatus {
    /// The client's reason, or that it gave none.
    pub(super) fn reason(&self) -> String {
        self.validation_error.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "the client gave no reason".into())
    }
}

/// Answer of `engine_forkchoiceUpdatedV3`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForkchoiceUpdated {
    pub(super) payload_status: PayloadStatus,
    pub(super) payload_id: Option<PayloadId>,
}

/// Answer of `engine_getPayloadV3`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BuiltPayload {
    pub(super) execution_payload: ExecutionPayloadV3,
    /// What the fee recipient gets, wei.
    pub(super) block_value: U256,
}

/// A block, as far as it lists its transactions.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct TransactionHashes {
    pub(super) transactions: Vec<B256>,
}

/// One receipt of `eth_getBlockReceipts`: only what its root is computed over.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReceiptAnswer {
    block_hash: B256,
    #[serde(rename = "type")]
    kind: Option<U64>,
    status: U64,
    cumulative_gas_used: U64,
    logs: Vec<LogAnswer>,
}

#[derive(Clone, Debug, Deserialize)]
struct LogAnswer {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

/// A log of `eth_getLogs`: which block it is of.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogPlace {
    pub(super) block_number: U64,
}

impl ReceiptAnswer {
    /// The block that it says to be of.
    pub(super) const fn block_hash(&self) -> B256 {
        self.block_hash
    }

    /// As the block has it. `None`: its type does not exist.
    pub(super) fn receipt(self) -> Option<ReceiptEnvelope> {
        let log = |log: LogAnswer| Some(Log { address: log.address, data: LogData::new(log.topics, log.data)? });
        let receipt = Receipt {
            status: Eip658Value::Eip658(!self.status.is_zero()),
            cumulative_gas_used: self.cumulative_gas_used.to(),
            logs: self.logs.into_iter().map(log).collect::<Option<_>>()?,
        };
        let logs_bloom = receipt.bloom();
        let receipt = ReceiptWithBloom { receipt, logs_bloom };
        let kind = u8::try_from(self.kind.unwrap_or_default().to::<u64>()).ok()?;
        Some(match TxType::try_from(kind).ok()? {
            TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
            TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
            TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
            TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
            TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
        })
    }
}
