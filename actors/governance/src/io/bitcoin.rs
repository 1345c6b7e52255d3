//! Our own bitcoind. Whatever goes wrong here is "not yet": an error of bitcoind is never a verdict about a deposit or coin.

use std::time::Duration;

use alys_peg::PegInProof;
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, Transaction, consensus};
use corepc_client::{Auth, Client, Error};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::BitcoinConfig;
use crate::core::deposit::DepositEvidence;
use crate::core::payout::InputEvidence;
use crate::core::refusal::Refusal;

/// No question takes longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// bitcoind's code for "no such block or transaction".
const NOT_FOUND: i32 = -5;

/// A bitcoind that is asked anew each time: it may restart, with a new cookie, at any moment.
pub(crate) struct Bitcoin {
    config: BitcoinConfig,
    network: bitcoin::Network,
}

#[derive(Deserialize)]
struct ChainInfo {
    chain: String,
    blocks: u32,
    initialblockdownload: bool,
}

#[derive(Deserialize)]
struct HeaderInfo {
    /// Negative when the block is not in the best chain.
    confirmations: i64,
    height: u32,
    #[serde(rename = "nTx")]
    transactions: u32,
}

#[derive(Deserialize)]
struct TxOutInfo {
    confirmations: u32,
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    value: Amount,
    #[serde(rename = "scriptPubKey")]
    script: ScriptInfo,
}

#[derive(Deserialize)]
struct ScriptInfo {
    hex: ScriptBuf,
}

impl Bitcoin {
    pub(crate) const fn new(config: BitcoinConfig, network: bitcoin::Network) -> Self {
        Self { config, network }
    }

    /// Height of its best chain, if it is fit to be asked.
    pub(crate) async fn height(&self) -> Result<u32, Refusal> {
        let info: ChainInfo = self.ask("getblockchaininfo", &[]).await?.ok_or_else(|| away("getblockchaininfo: not found"))?;
        let expected = self.network.to_core_arg();
        if info.chain != expected {
            return Err(Refusal::BitcoinNetwork { found: info.chain, expected: expected.to_owned() });
        }
        // A regtest chain whose newest block is a day old calls itself "in initial download" for ever.
        if info.initialblockdownload && self.network != bitcoin::Network::Regtest {
            return Err(Refusal::BitcoinSyncing);
        }
        Ok(info.blocks)
    }

    /// What it says about the block that a proof names. `None`: not in its best chain.
    pub(crate) async fn deposit(&self, claim: &PegInProof) -> Result<Option<DepositEvidence>, Refusal> {
        self.height().await?;
        let block: BlockHash = claim.merkle.header.block_hash();
        let header: Option<HeaderInfo> = self.ask("getblockheader", &[json!(block), json!(true)]).await?;
        let Some(header) = header else { return Ok(None) };
        let Ok(confirmations) = u32::try_from(header.confirmations) else { return Ok(None) };
        let hex: Option<String> =
            self.ask("getrawtransaction", &[json!(claim.outpoint.txid), json!(false), json!(block)]).await?;
        let transaction: Option<Transaction> = match hex {
            Some(hex) => {
                Some(consensus::encode::deserialize_hex(&hex).map_err(|cause| away(&format!("getrawtransaction: {cause}")))?)
            }
            None => None,
        };
        Ok(Some(DepositEvidence { height: header.height, confirmations, transactions: header.transactions, transaction }))
    }

    /// Its confirmed unspent outputs. The mempool does not count: our own payout may be in it.
    pub(crate) async fn inputs(&self, outpoints: &[OutPoint]) -> Result<Vec<Option<InputEvidence>>, Refusal> {
        self.height().await?;
        let mut evidence = Vec::with_capacity(outpoints.len());
        for outpoint in outpoints {
            let found: Option<Option<TxOutInfo>> =
                self.ask("gettxout", &[json!(outpoint.txid), json!(outpoint.vout), json!(false)]).await?;
            evidence.push(found.flatten().map(|found| InputEvidence {
                value: found.value.to_sat(),
                script: found.script.hex,
                confirmations: found.confirmations,
            }));
        }
        Ok(evidence)
    }

    /// `None`: bitcoind says that it does not know what was asked about.
    async fn ask<T: DeserializeOwned>(&self, method: &str, arguments: &[Value]) -> Result<Option<T>, Refusal> {
        let client = Client::new_with_auth(&self.config.url, self.auth()?).map_err(|cause| away(&cause.to_string()))?;
        match tokio::time::timeout(DEADLINE, client.call(method, arguments)).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(Error::JsonRpc(jsonrpc::error::Error::Rpc(cause)))) if cause.code == NOT_FOUND => Ok(None),
            Ok(Err(cause)) => Err(away(&format!("{method}: {cause}"))),
            Err(_elapsed) => Err(away(&format!("{method}: no answer within {DEADLINE:?}"))),
        }
    }

    fn auth(&self) -> Result<Auth, Refusal> {
        let BitcoinConfig { cookie_file, user, password, password_file, .. } = &self.config;
        Ok(match (cookie_file, user, password, password_file) {
            (Some(file), ..) => Auth::CookieFile(file.clone()),
            (None, Some(user), Some(password), _) => Auth::UserPass(user.clone(), password.0.clone()),
            (None, Some(user), None, Some(file)) => {
                let read = std::fs::read_to_string(file);
                let password = read.map_err(|cause| away(&format!("bitcoin.password_file {}: {cause}", file.display())))?;
                Auth::UserPass(user.clone(), password.trim().to_owned())
            }
            _ => Auth::None,
        })
    }
}

fn away(cause: &str) -> Refusal {
    Refusal::BitcoinAway(cause.chars().take(200).collect())
}
