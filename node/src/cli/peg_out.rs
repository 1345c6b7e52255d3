//! `alys peg-out` and `alys transfer`.

use std::str::FromStr as _;
use std::time::Duration;

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall as _;
use alys_blocks::{BRIDGE_CONTRACT, ChainSpec};
use alys_cluster::Cluster;
use alys_proto::Sats;
use alys_proto::bridge::PegOutState;
use serde_json::json;

use super::args::{PegOut, PegOutCommand, Place, Transfer};
use super::evm::{Account, Receipt};
use super::pegs::{self, out_json, txid_text};
use super::status::join;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::{self, Output, print};

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[allow(missing_docs, clippy::pub_underscore_fields, reason = "made by the macro")]
mod contract {
    alloy_sol_types::sol! {
        function requestPegOut(bytes bitcoinAddress) external payable;
    }
}

pub(super) async fn run(place: &Place, args: &PegOut) -> Outcome {
    if let Some(PegOutCommand::Status { output }) = &args.command {
        return pegs::show_outs(place, *output).await;
    }
    let (Some(amount), Some(to)) = (args.amount, args.to.as_deref()) else {
        return Err(Failure::usage("--amount and --to are needed"));
    };
    let loaded = place.load_live()?;
    check(&*loaded.spec()?, amount, to, args.force)?;
    let account = Account::open(place, &loaded, &args.sender).await?;
    let progress = Progress { shown: args.output == Output::Table };
    progress.say(&format!("burning {amount} BTC of {} for {to}", account.address()));
    let input = contract::requestPegOutCall { bitcoinAddress: Bytes::copy_from_slice(to.as_bytes()) }.abi_encode();
    let receipt = account.send(BRIDGE_CONTRACT, U256::from(amount.to_wei().0), input.into()).await?;
    let burn = burn_of(&receipt)?;
    progress.say(&format!("burned in block {} (transaction {})", receipt.height(), receipt.transaction_hash));
    if args.no_follow {
        if args.output == Output::Json {
            table::json(
                &json!({ "transaction": receipt.transaction_hash, "burn": format!("{}/{}", burn.0, burn.1), "state": "burned" }),
            )?;
        }
        return Ok(());
    }
    let paid = follow(&join(place).await?, burn, &progress).await?;
    if args.output == Output::Json {
        table::json(&out_json(&paid))?;
    }
    if paid.state == "refunded" {
        return Err(Failure::usage(format!("the burn was given back on the sidechain: {}", paid.reason)));
    }
    Ok(())
}

pub(super) async fn transfer(place: &Place, args: &Transfer) -> Outcome {
    let loaded = place.load_live()?;
    let account = Account::open(place, &loaded, &args.sender).await?;
    let receipt = account.send(args.to, U256::from(args.amount.to_wei().0), Bytes::new()).await?;
    let (height, hash) = (receipt.height(), receipt.transaction_hash);
    match args.output {
        Output::Table => print(&format!("{} BTC for {} in block {height} (transaction {hash})\n", args.amount, args.to)),
        Output::Json => table::json(&json!({ "transaction": hash, "height": height }))?,
    }
    Ok(())
}

/// What the chain would refuse or refund is said before anything is burned.
fn check(spec: &ChainSpec, amount: Sats, to: &str, force: bool) -> Outcome {
    if amount < spec.peg.min_peg_out {
        return Err(Failure::usage(format!("{amount} BTC is below the minimum of {} BTC", spec.peg.min_peg_out)));
    }
    if force {
        return Ok(());
    }
    let name = &spec.bitcoin.network;
    let network =
        bitcoin::Network::from_str(name).or_configuration(format!("bitcoin.network `{name}` of the chain specification"))?;
    let parsed =
        bitcoin::Address::from_str(to).map_err(|cause| Failure::usage(format!("`{to}` is not a Bitcoin address: {cause}")))?;
    parsed
        .require_network(network)
        .map(drop)
        .map_err(|_| Failure::usage(format!("`{to}` is not an address on {name}: the burn would be given back")))
}

/// Height and log index: the burn's name everywhere.
fn burn_of(receipt: &Receipt) -> Outcome<(u64, u32)> {
    let log = receipt.logs.iter().find(|log| log.address == BRIDGE_CONTRACT);
    let log = log.ok_or_else(|| Failure::bug(format!("transaction {} burned nothing", receipt.transaction_hash)))?;
    Ok((receipt.height(), log.index()))
}

/// Follows a burn until it is paid or refunded. An absent bridge is waited for: the burn is in the chain.
async fn follow(cluster: &Cluster, burn: (u64, u32), progress: &Progress) -> Outcome<PegOutState> {
    let mut last = String::new();
    loop {
        let pegs = pegs::list(cluster).await.map(|pegs| pegs.peg_outs).unwrap_or_default();
        let ours = |peg: &PegOutState| peg.burn.as_ref().is_some_and(|id| (id.height, id.log_index) == burn);
        if let Some(peg) = pegs.into_iter().find(ours) {
            let now = describe(&peg);
            if now != last {
                progress.say(&now);
                last = now;
            }
            if ["settled", "refunded"].contains(&peg.state.as_str()) {
                return Ok(peg);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn describe(peg: &PegOutState) -> String {
    let payout = if peg.payout_txid.is_empty() { String::new() } else { format!(", payout {}", txid_text(&peg.payout_txid)) };
    let depth = if peg.confirmations == 0 { String::new() } else { format!(", {} confirmations", peg.confirmations) };
    let reason = if peg.reason.is_empty() { String::new() } else { format!(": {}", peg.reason) };
    format!("{}{payout}{depth}{reason}", peg.state)
}

/// Progress goes to standard error, so that standard output stays for the answer.
struct Progress {
    shown: bool,
}

impl Progress {
    fn say(&self, text: &str) {
        if self.shown {
            eprintln!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use alloy_primitives::hex;

    use super::*;
    use crate::prepare::{DevChain, dev};

    #[test]
    fn a_burn_that_would_be_refunded_is_refused_before_it_burns() {
        let directory = tempfile::tempdir().unwrap();
        dev(directory.path(), &DevChain::default()).unwrap();
        let spec = ChainSpec::from_toml(&std::fs::read_to_string(directory.path().join("chain.toml")).unwrap()).unwrap();
        let (regtest, mainnet) = ("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4");
        check(&spec, Sats(40_000_000), regtest, false).unwrap();
        check(&spec, Sats(40_000_000), mainnet, true).unwrap();
        for (amount, to) in [(40_000_000, mainnet), (40_000_000, "nonsense"), (1, regtest)] {
            assert_eq!(check(&spec, Sats(amount), to, false).unwrap_err().code, alys_cluster::exit::USAGE);
        }
    }

    #[test]
    fn the_call_has_the_contracts_selector() {
        // keccak256("requestPegOut(bytes)")[..4], as in the contract's ABI.
        let selector = alloy_primitives::keccak256("requestPegOut(bytes)");
        assert_eq!(hex::encode(contract::requestPegOutCall::SELECTOR), hex::encode(&selector[..4]));
    }
}
