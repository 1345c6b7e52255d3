//! A wallet on the Eth JSON-RPC, as small as one can be: what people's tools would do, without them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use eyre::{WrapErr as _, bail};
use jsonrpc::client_async::Client;
use jsonrpc::http::bitreq_http_async::BitreqHttpTransport;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Generous: a gas price far above any base fee of a test chain.
const MAX_FEE_PER_GAS: u128 = 100_000_000_000;
const TIP_PER_GAS: u128 = 1_000_000_000;
const POLL: Duration = Duration::from_millis(100);

/// An Eth JSON-RPC endpoint.
pub struct Ethereum {
    client: Client,
    url: String,
}

/// What a test needs of a receipt.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// 1: succeeded.
    pub status: U64,
    /// Height.
    pub block_number: U64,
    /// Gas.
    pub gas_used: U64,
}

impl Ethereum {
    /// Connects to nothing yet.
    pub fn new(url: &str) -> eyre::Result<Self> {
        let transport =
            BitreqHttpTransport::builder().url(url).wrap_err("Eth JSON-RPC address")?.timeout(Duration::from_secs(10)).build();
        Ok(Self { client: Client::with_transport(transport), url: url.to_owned() })
    }

    /// Where a wallet points.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls any method.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> eyre::Result<T> {
        let params = serde_json::value::to_raw_value(&params)?;
        let request = self.client.build_request(method, Some(&params));
        let response = self.client.send_request(request).await.wrap_err_with(|| format!("{method} at {}", self.url))?;
        response.result().wrap_err_with(|| method.to_owned())
    }

    /// Wei of an account at the head.
    pub async fn balance(&self, address: Address) -> eyre::Result<U256> {
        self.call("eth_getBalance", json!([address, "latest"])).await
    }

    /// Height of the head.
    pub async fn height(&self) -> eyre::Result<u64> {
        Ok(self.call::<U64>("eth_blockNumber", json!([])).await?.to())
    }

    /// Signs and sends; returns the hash.
    pub async fn send(&self, from: &PrivateKeySigner, to: TxKind, value: U256, input: Bytes, gas: u64) -> eyre::Result<B256> {
        let nonce: U64 = self.call("eth_getTransactionCount", json!([from.address(), "pending"])).await?;
        let transaction = TxEip1559 {
            chain_id: self.call::<U64>("eth_chainId", json!([])).await?.to(),
            nonce: nonce.to(),
            gas_limit: gas,
            max_fee_per_gas: MAX_FEE_PER_GAS,
            max_priority_fee_per_gas: TIP_PER_GAS,
            to,
            value,
            input,
            ..TxEip1559::default()
        };
        let signature = from.sign_hash_sync(&transaction.signature_hash())?;
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        self.call("eth_sendRawTransaction", json!([Bytes::from(envelope.encoded_2718())])).await
    }

    /// Waits until the transaction is in a block.
    pub async fn receipt(&self, hash: B256, patience: Duration) -> eyre::Result<Receipt> {
        let started = Instant::now();
        while started.elapsed() < patience {
            // The engine may be restarting: only the deadline ends this.
            if let Ok(Some(receipt)) = self.call::<Option<Receipt>>("eth_getTransactionReceipt", json!([hash])).await {
                return Ok(receipt);
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("transaction {hash} is in no block after {patience:?}")
    }

    /// Wei that a transaction of ours cost its sender beside its value. By the rule of EIP-1559 and the base fee of its
    /// block: not every client has the price in its receipts right (EthereumJS 0.10.5 leaves the base fee out).
    pub async fn fee(&self, receipt: &Receipt) -> eyre::Result<U256> {
        let block: Value = self.call("eth_getBlockByNumber", json!([receipt.block_number, false])).await?;
        let base_fee: U256 = serde_json::from_value(block["baseFeePerGas"].clone()).wrap_err("a block without base fee")?;
        let price = (base_fee + U256::from(TIP_PER_GAS)).min(U256::from(MAX_FEE_PER_GAS));
        Ok(U256::from(receipt.gas_used) * price)
    }

    /// Sends a plain transfer and waits for it.
    pub async fn transfer(&self, from: &PrivateKeySigner, to: Address, value: U256) -> eyre::Result<Receipt> {
        let hash = self.send(from, TxKind::Call(to), value, Bytes::new(), 21_000).await?;
        self.receipt(hash, Duration::from_secs(30)).await
    }
}

/// A fresh key.
pub fn random_key() -> PrivateKeySigner {
    PrivateKeySigner::random()
}

/// A key as 64 hex digits, as `alys` and wallets read it.
pub fn key_hex(key: &PrivateKeySigner) -> String {
    hex::encode(key.to_bytes())
}

/// Writes a key where `alys` can read it and others cannot.
pub fn write_key(key: &PrivateKeySigner, path: &Path) -> eyre::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(key_hex(key).as_bytes())?)
}

/// Parses a key.
pub fn key_from_hex(text: &str) -> eyre::Result<PrivateKeySigner> {
    PrivateKeySigner::from_str(text).wrap_err("not a private key")
}
