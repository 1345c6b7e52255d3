//! What the bridge knows of deposits and payouts, for people and programs.

use alys_cluster::Cluster;
use alys_proto::bridge::{self, ListPegs, PegInState, PegOutState, Pegs};
use alys_proto::{Height, Sats};
use serde_json::{Value, json};

use super::args::Place;
use super::status::join;
use crate::failure::{Failure, Outcome};
use crate::io::table::{self, Output, print};

pub(crate) async fn list(cluster: &Cluster) -> Outcome<Pegs> {
    cluster.remote::<bridge::Inbox>().ask(ListPegs {}).await.map_err(|refused| Failure::temporary(format!("bridge: {refused}")))
}

/// All of it, for programs.
pub(crate) fn json(pegs: &Pegs) -> Value {
    let ins: Vec<Value> = pegs.peg_ins.iter().map(in_json).collect();
    let outs: Vec<Value> = pegs.peg_outs.iter().map(out_json).collect();
    json!({ "peg_ins": ins, "peg_outs": outs })
}

pub(super) async fn show_ins(place: &Place, output: Output) -> Outcome {
    let pegs = list(&join(place).await?).await?.peg_ins;
    if output == Output::Json {
        return table::json(&pegs.iter().map(in_json).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = pegs.iter().map(in_row).collect();
    print(&table::table(&["deposit", "btc", "recipient", "state", "confirmations", "minted at", "reason"], &rows));
    Ok(())
}

pub(super) async fn show_outs(place: &Place, output: Output) -> Outcome {
    let pegs = list(&join(place).await?).await?.peg_outs;
    if output == Output::Json {
        return table::json(&pegs.iter().map(out_json).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = pegs.iter().map(out_row).collect();
    print(&table::table(&["burn", "btc", "to", "state", "confirmations", "payout", "reason"], &rows));
    Ok(())
}

/// A Bitcoin id as people write it: the reverse of its bytes. Empty when there is none.
pub(crate) fn txid_text(bytes: &[u8]) -> String {
    hex::encode(bytes.iter().rev().copied().collect::<Vec<u8>>())
}

fn outpoint(peg: &PegInState) -> String {
    peg.outpoint.as_ref().map(|outpoint| format!("{}:{}", txid_text(&outpoint.txid), outpoint.vout)).unwrap_or_default()
}

fn address(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".to_owned() } else { alloy_primitives::hex::encode_prefixed(bytes) }
}

fn in_row(peg: &PegInState) -> Vec<String> {
    let minted = if peg.minted_height == 0 { "-".to_owned() } else { Height(peg.minted_height).to_string() };
    vec![
        outpoint(peg),
        Sats(peg.value_sats).to_string(),
        address(&peg.recipient),
        peg.state.clone(),
        peg.confirmations.to_string(),
        minted,
        peg.reason.clone(),
    ]
}

fn in_json(peg: &PegInState) -> Value {
    json!({
        "outpoint": outpoint(peg),
        "value_sats": peg.value_sats,
        "recipient": address(&peg.recipient),
        "state": peg.state,
        "confirmations": peg.confirmations,
        "bitcoin_height": peg.bitcoin_height,
        "minted_height": peg.minted_height,
        "reason": peg.reason,
    })
}

fn burn_id(peg: &PegOutState) -> String {
    peg.burn.as_ref().map(|burn| format!("{}/{}", burn.height, burn.log_index)).unwrap_or_default()
}

fn out_row(peg: &PegOutState) -> Vec<String> {
    let payout = if peg.payout_txid.is_empty() { "-".to_owned() } else { txid_text(&peg.payout_txid) };
    vec![
        burn_id(peg),
        Sats(peg.amount_sats).to_string(),
        peg.bitcoin_address.clone(),
        peg.state.clone(),
        peg.confirmations.to_string(),
        payout,
        peg.reason.clone(),
    ]
}

pub(super) fn out_json(peg: &PegOutState) -> Value {
    json!({
        "burn": burn_id(peg),
        "amount_sats": peg.amount_sats,
        "bitcoin_address": peg.bitcoin_address,
        "state": peg.state,
        "confirmations": peg.confirmations,
        "payout_txid": txid_text(&peg.payout_txid),
        "reason": peg.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_people_know_them() {
        let bytes: Vec<u8> = (0..32).collect();
        assert!(txid_text(&bytes).starts_with("1f1e1d"));
        assert_eq!(txid_text(&[]), "");
    }
}
