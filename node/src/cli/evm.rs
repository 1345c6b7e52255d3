//! Transactions on the sidechain over its Eth JSON-RPC, signed here: the key leaves the file for this process only.

use std::time::Duration;

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{Place, Sender};
use crate::config::Loaded;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::rpc::Rpc;
use crate::prepare::keys::{Kind, Secret};

/// How long a transaction may take into a block. Ten slots of a slow chain.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Wei per gas that every client takes.
const LEAST_TIP: u64 = 1_000_000_000;

/// An account and the node it speaks through.
pub(super) struct Account {
    rpc: Rpc,
    signer: PrivateKeySigner,
    chain_id: u64,
}

/// A transaction that is in a block.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    pub(super) transaction_hash: B256,
    block_number: U256,
    status: U256,
    pub(super) logs: Vec<Log>,
}

/// A log of a receipt.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log {
    pub(super) address: Address,
    log_index: U256,
}

impl Receipt {
    pub(super) fn height(&self) -> u64 {
        self.block_number.saturating_to()
    }
}

impl Log {
    pub(super) fn index(&self) -> u32 {
        self.log_index.saturating_to()
    }
}

impl Account {
    /// Opens the key and checks that the node is of the configured chain.
    pub(super) async fn open(place: &Place, loaded: &Loaded, sender: &Sender) -> Outcome<Self> {
        let file = sender.key_file.clone().unwrap_or_else(|| place.data_dir(false).join("keys/evm.key"));
        let signer = Secret::read(Kind::Evm, &file)?.signer()?;
        let url = sender.rpc.clone().unwrap_or_else(|| format!("http://{}", loaded.config.engine.rpc.listen));
        let rpc = Rpc::engine(&url)?;
        let chain_id: U256 = rpc.call("eth_chainId", &[]).await?;
        let ours = loaded.spec()?.chain_id;
        if chain_id != U256::from(ours) {
            return Err(Failure::configuration(format!("{url} is of chain {chain_id}, this node's chain is {ours}")));
        }
        Ok(Self { rpc, signer, chain_id: ours })
    }

    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }

    /// Signs, sends, and waits until it is in a block.
    pub(super) async fn send(&self, to: Address, value: U256, input: Bytes) -> Outcome<Receipt> {
        let transaction = self.fill(to, value, input).await?;
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash()).or_bug("cannot sign")?;
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        let raw = Bytes::from(envelope.encoded_2718());
        let hash: B256 = self.rpc.call("eth_sendRawTransaction", &[json!(raw)]).await?;
        let receipt = tokio::time::timeout(PATIENCE, self.receipt(hash)).await.map_err(|_| {
            Failure::temporary(format!("transaction {hash} is in no block after {PATIENCE:?}"))
                .help("it may still get there; `alys status` shows whether the chain makes blocks")
        })??;
        if receipt.status.is_zero() {
            return Err(Failure::usage(format!("transaction {hash} was reverted in block {}", receipt.height())));
        }
        Ok(receipt)
    }

    async fn fill(&self, to: Address, value: U256, input: Bytes) -> Outcome<TxEip1559> {
        let from = self.address();
        let nonce: U256 = self.rpc.call("eth_getTransactionCount", &[json!(from), json!("pending")]).await?;
        let call = json!({ "from": from, "to": to, "value": value, "data": input });
        let estimate: U256 = self.rpc.call("eth_estimateGas", &[call]).await?;
        let latest: Value = self.rpc.call("eth_getBlockByNumber", &[json!("latest"), json!(false)]).await?;
        let base_fee = latest.get("baseFeePerGas").cloned().unwrap_or_default();
        let base_fee: U256 = serde_json::from_value(base_fee).or_temporary("the engine answered without a base fee")?;
        let tip = match self.rpc.call("eth_maxPriorityFeePerGas", &[]).await {
            Ok(tip) => tip,
            // Not every client has it: what is above the base fee in the price that all of them name.
            Err(_unknown) => {
                let price: U256 = self.rpc.call("eth_gasPrice", &[]).await?;
                price.saturating_sub(base_fee).max(U256::from(LEAST_TIP))
            }
        };
        // Twice the base fee covers six full blocks of increase; a fifth more gas covers a state that moved on.
        let max_fee = base_fee.saturating_mul(U256::from(2)).saturating_add(tip);
        Ok(TxEip1559 {
            chain_id: self.chain_id,
            nonce: nonce.saturating_to(),
            gas_limit: estimate.saturating_mul(U256::from(6)).wrapping_div(U256::from(5)).saturating_to(),
            max_fee_per_gas: max_fee.saturating_to(),
            max_priority_fee_per_gas: tip.saturating_to(),
            to: TxKind::Call(to),
            value,
            input,
            ..TxEip1559::default()
        })
    }

    async fn receipt(&self, hash: B256) -> Outcome<Receipt> {
        loop {
            let found: Option<Receipt> = self.rpc.call("eth_getTransactionReceipt", &[json!(hash)]).await?;
            match found {
                Some(receipt) => return Ok(receipt),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_receipt_reads() {
        let text = json!({
            "transactionHash": B256::repeat_byte(1), "blockNumber": "0x10", "status": "0x1",
            "logs": [{ "address": Address::repeat_byte(2), "logIndex": "0x3", "data": "0x" }],
        });
        let receipt: Receipt = serde_json::from_value(text).unwrap();
        assert_eq!((receipt.height(), receipt.logs[0].index()), (16, 3));
    }
}
