//! `alys miner`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use alloy_primitives::Address;
use clap::Args;

use super::args::Place;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::rpc::Rpc;
use crate::io::table::Output;
use crate::miner::{Miner, Pays};

/// `alys miner`.
#[derive(Clone, Debug, Args)]
pub struct MinerArgs {
    /// JSON-RPC for miners of a validator [default: that of the node in the data directory]
    #[arg(long, value_name = "URL")]
    pub alys_url: Option<String>,
    /// File with `user:password` for it
    #[arg(long, value_name = "FILE")]
    pub alys_auth: Option<PathBuf>,
    /// RPC of the bitcoind whose blocks are mined [default: the one that the node uses]
    #[arg(long, env = "ALYS_BITCOIN_URL", value_name = "URL")]
    pub bitcoin_url: Option<String>,
    /// Cookie file of bitcoind
    #[arg(long, env = "ALYS_BITCOIN_COOKIE", value_name = "FILE")]
    pub bitcoin_cookie: Option<PathBuf>,
    /// Who is paid on Alys [default: chain.mining.fee_recipient]
    #[arg(long, value_name = "ADDRESS")]
    pub fee_recipient: Option<Address>,
    /// Who is paid on Bitcoin [default: whoever comes first, which only a test network bears]
    #[arg(long, value_name = "ADDRESS")]
    pub bitcoin_address: Option<String>,
    /// Threads that hash
    #[arg(long, value_name = "COUNT", default_value = "1")]
    pub threads: NonZeroUsize,
    /// End after so many accepted bundles [default: never]
    #[arg(long, value_name = "BUNDLES")]
    pub count: Option<u64>,
    /// Form of the output; json is one object a line
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

pub(super) async fn run(place: &Place, args: &MinerArgs) -> Outcome {
    let config = place.load_live()?.config;
    let mining = &config.chain.mining;
    let own = || mining.listen.map(|address| format!("http://{address}"));
    let alys_url = args.alys_url.clone().or_else(own).ok_or_else(|| {
        Failure::configuration("this node does not serve miners").help("set chain.mining.listen, or name another with --alys-url")
    })?;
    let auth = args.alys_auth.as_deref().or(mining.auth_file.as_deref());
    let mut bitcoind = config.bridge.bitcoind.clone();
    if let Some(url) = &args.bitcoin_url {
        bitcoind.url.clone_from(url);
    }
    if let Some(cookie) = &args.bitcoin_cookie {
        bitcoind.cookie_file = Some(std::path::absolute(cookie).or_configuration("there is no current directory")?);
    }
    let alys = args.fee_recipient.or(mining.fee_recipient).ok_or_else(|| Failure::usage("--fee-recipient is missing"))?;
    let pays = Pays::new(alys, args.bitcoin_address.as_deref())?;
    let miner = Miner {
        alys: Rpc::miners(&alys_url, auth)?,
        bitcoind: Rpc::bitcoind(&bitcoind, None)?,
        pays,
        threads: args.threads,
        output: args.output,
    };
    tokio::select! {
        done = miner.run(args.count) => done,
        _asked_to_end = tokio::signal::ctrl_c() => Ok(()),
    }
}
