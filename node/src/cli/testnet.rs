//! `alys testnet`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::failure::Outcome;
use crate::io::table::print;
use crate::prepare::DevChain;
use crate::prepare::testnet::{Testnet, make};

/// `alys testnet`.
#[derive(Clone, Debug, Args)]
pub struct TestnetArgs {
    /// Folder that is made, with one folder in it for each validator
    pub folder: PathBuf,
    /// Validators. 4 go on without any one of them, 7 without any two
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub validators: u16,
    /// Members of the federation; their governance nodes run beside the first validator
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub members: u32,
    /// Signatures that the federation needs
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub threshold: u32,
    /// Slot length: whole seconds, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2_000)]
    pub slot_millis: u64,
    /// Bitcoin confirmations of a deposit or payout
    #[arg(long, value_name = "BLOCKS", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub confirmations: u32,
    /// Address of the host that a validator will run on, one for each in their order [default: all on this host]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Vec<IpAddr>,
    /// The chain is merge-mined, with an easy target
    #[arg(long)]
    pub work: bool,
    /// Blocks that may wait for work
    #[arg(long, value_name = "BLOCKS", default_value_t = 20, requires = "work", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub max_blocks_without_pow: u64,
    /// First of the ports of the first validator: Eth JSON-RPC, governance gRPC, peer-to-peer, with --work JSON-RPC for miners. The next has its own ten further on
    #[arg(long, value_name = "PORT", default_value_t = 21_000)]
    pub port_base: u16,
}

pub(super) fn run(args: &TestnetArgs) -> Outcome {
    let TestnetArgs { members, threshold, slot_millis, confirmations, work, max_blocks_without_pow, .. } = *args;
    let chain = DevChain { members, threshold, slot_millis, confirmations, work, max_blocks_without_pow, ..DevChain::default() };
    let made =
        make(&args.folder, &Testnet { chain, validators: args.validators, hosts: args.host.clone(), port_base: args.port_base })?;
    for (data_dir, _) in &made {
        print(&format!("alys up --data-dir {}\n", data_dir.display()));
    }
    eprintln!("each of these commands starts one validator; more than two thirds of them make blocks");
    Ok(())
}
