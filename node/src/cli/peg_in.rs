//! `alys peg-in`.

use std::str::FromStr as _;
use std::time::Duration;

use alloy_primitives::Address;
use alys_blocks::ChainSpec;
use alys_cluster::attach;
use alys_peg::federation::Federation;
use alys_proto::{Sats, bridge};
use bitcoin::hashes::Hash as _;
use bitcoin::{Network, Txid};
use serde_json::{Value, json};

use super::args::{PegIn, Place};
use super::pegs;
use crate::config::Loaded;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::rpc::Rpc;
use crate::io::table::{self, Output, print};

/// Satoshis per virtual byte where bitcoind has no estimate, as on regtest.
const FALLBACK_FEE_RATE: u32 = 2;
/// How long bridge may take to hear of a deposit.
const TOLD: Duration = Duration::from_secs(1);

pub(super) async fn run(place: &Place, command: &PegIn) -> Outcome {
    match command {
        PegIn::Address { recipient, output } => address(&place.load_live()?, *recipient, *output),
        PegIn::Send { amount, recipient, wallet, output } => {
            send(&place.load_live()?, *amount, *recipient, wallet, *output).await
        }
        PegIn::Status { output } => pegs::show_ins(place, *output).await,
    }
}

fn federation(spec: &ChainSpec) -> Outcome<Federation> {
    Federation::try_from(spec).or_configuration("the federation of the chain specification")
}

/// Needs nothing that runs: the address follows from the chain specification.
fn address(loaded: &Loaded, recipient: Option<Address>, output: Output) -> Outcome {
    let spec = loaded.spec()?;
    let federation = federation(&spec)?;
    let example = recipient.map_or("<40 hex digits of the recipient, without 0x>".to_owned(), hex::encode);
    if output == Output::Json {
        return table::json(&json!({
            "address": federation.address().to_string(),
            "network": spec.bitcoin.network,
            "op_return": recipient.map(hex::encode),
            "confirmations": spec.bitcoin.confirmations,
            "min_sats": spec.peg.min_peg_in.0,
            "fee_sats": spec.peg.peg_in_fee.0,
            "descriptor": federation.descriptor_text(),
        }));
    }
    print(&format!(
        "{address}\n\n\
         One Bitcoin transaction on {network} with two outputs deposits to the sidechain:\n\
         \x20 1. at least {minimum} BTC to the address above (fee {fee} BTC)\n\
         \x20 2. OP_RETURN {example}\n\
         It is minted after {confirmations} confirmations, 1 BTC as 10^18 wei, to exactly that recipient.\n\
         `alys peg-in send` builds it with a wallet of bitcoind; bitcoin-cli does with an output {{\"data\":\"{example}\"}}.\n",
        address = federation.address(),
        network = spec.bitcoin.network,
        minimum = spec.peg.min_peg_in,
        fee = spec.peg.peg_in_fee,
        confirmations = spec.bitcoin.confirmations,
    ));
    Ok(())
}

async fn send(loaded: &Loaded, amount: Sats, recipient: Address, wallet: &str, output: Output) -> Outcome {
    let spec = loaded.spec()?;
    if amount < spec.peg.min_peg_in {
        return Err(Failure::usage(format!("{amount} BTC is below the minimum of {} BTC", spec.peg.min_peg_in)));
    }
    let federation = federation(&spec)?;
    let bitcoind = Rpc::bitcoind(&loaded.config.bridge.bitcoind, Some(wallet))?;
    check_network(&bitcoind, federation.network()).await?;

    let outputs = json!([{ federation.address().to_string(): amount.to_string() }, { "data": hex::encode(recipient) }]);
    let raw: String = bitcoind.call("createrawtransaction", &[json!([]), outputs]).await?;
    let estimate: Value = bitcoind.call("estimatesmartfee", &[json!(6)]).await?;
    let options = if estimate.get("feerate").is_some() { json!({}) } else { json!({ "fee_rate": FALLBACK_FEE_RATE }) };
    let funded: Value = bitcoind.call("fundrawtransaction", &[json!(raw), options]).await?;
    let signed: Value = bitcoind.call("signrawtransactionwithwallet", &[text(&funded, "hex")?]).await?;
    if signed.get("complete") != Some(&Value::Bool(true)) {
        return Err(
            Failure::configuration(format!("wallet {wallet} cannot sign its own inputs")).help("is it locked, or watch-only?")
        );
    }
    let txid: String = bitcoind.call("sendrawtransaction", &[text(&signed, "hex")?]).await?;
    tell_bridge(loaded, &txid).await;
    if output == Output::Json {
        return table::json(&json!({ "txid": txid, "amount_sats": amount.0, "recipient": recipient.to_string() }));
    }
    print(&format!(
        "sent {txid}\n{amount} BTC for {recipient}: minted after {} confirmations; follow it with `alys peg-in status`\n",
        spec.bitcoin.confirmations
    ));
    Ok(())
}

/// Bridge looks for deposits itself; told of one, it shows it before it is in a block. Without a running node: later.
async fn tell_bridge(loaded: &Loaded, txid: &str) {
    let Ok(txid) = Txid::from_str(txid) else { return };
    let Ok(cluster) = attach(&loaded.config.cluster).await else { return };
    let bridge = cluster.remote::<bridge::Inbox>();
    // Telling does not wait for whoever is not in view yet; asking does.
    if bridge.ask_within(TOLD, bridge::GetFederation {}).await.is_ok()
        && bridge.tell(bridge::BitcoinTransactionSeen { txid: txid.to_byte_array().to_vec() }).is_ok()
    {
        // An answer shows that what was told before it has left this process.
        let _it_finds_out_itself = bridge.ask_within(TOLD, bridge::GetFederation {}).await;
    }
}

async fn check_network(bitcoind: &Rpc, ours: Network) -> Outcome {
    let info: Value = bitcoind.call("getblockchaininfo", &[]).await?;
    let theirs = info.get("chain").and_then(Value::as_str).unwrap_or_default();
    if theirs == ours.to_core_arg() {
        return Ok(());
    }
    Err(Failure::configuration(format!("bitcoind is on `{theirs}`, this chain pegs to `{}`", ours.to_core_arg()))
        .help("set bridge.bitcoind.url to a bitcoind of the right network"))
}

fn text(answer: &Value, field: &str) -> Outcome<Value> {
    answer.get(field).cloned().ok_or_else(|| Failure::temporary(format!("bitcoind answered without `{field}`")))
}
