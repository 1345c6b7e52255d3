//! From the command line to an exit code.

pub mod args;
mod configure;
mod engine;
mod evidence;
mod evm;
mod generate;
mod keys;
pub mod miner;
pub mod orders;
pub mod peers;
mod peg_in;
mod peg_out;
pub(crate) mod pegs;
mod place;
mod role;
pub(crate) mod status;
mod storage;
pub mod testnet;
pub mod up;

use std::process::ExitCode;

use alys_cluster::exit;
use clap::{CommandFactory as _, Parser as _};

use crate::failure::{OrFail as _, Outcome};
use crate::io::table::{Output, json, print};
use args::{Cli, Command};

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(cause) => {
            let _closed = cause.print();
            let asked = matches!(cause.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { exit::DONE } else { exit::USAGE });
        }
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Outcome<u8> {
    let place = cli.place;
    let done = match cli.command {
        // The parent's death must be noticed before anything else can hang.
        Command::Role(args) => return role::run(&place, &args),
        Command::Governance(args) => return role::governance(&place, &args),
        Command::Up(args) => up::run(&place, &args),
        Command::Status(args) => return runtime()?.block_on(status::run(&place, &args)),
        Command::Peers(args) => runtime()?.block_on(peers::run(&place, &args)),
        Command::Evidence(args) => runtime()?.block_on(evidence::run(&place, &args)),
        Command::Restart(args) => runtime()?.block_on(orders::restart(&place, &args)),
        Command::Drain(args) => runtime()?.block_on(orders::drain(&place, &args)),
        Command::Resume(args) => runtime()?.block_on(orders::resume(&place, &args)),
        Command::Scale(args) => runtime()?.block_on(orders::scale(&place, &args)),
        Command::Debug(args) => runtime()?.block_on(crate::debug::run(&place, &args)),
        Command::Storage(command) => return storage::run(&place, &command),
        Command::Engine(args) => engine::run(&place, &args),
        Command::PegIn(args) => runtime()?.block_on(peg_in::run(&place, &args)),
        Command::PegOut(args) => runtime()?.block_on(peg_out::run(&place, &args)),
        Command::Transfer(args) => runtime()?.block_on(peg_out::transfer(&place, &args)),
        Command::Config(args) => configure::run(&place, &args),
        Command::Keys(args) => keys::run(&place, &args),
        Command::Miner(args) => runtime()?.block_on(miner::run(&place, &args)),
        Command::Testnet(args) => testnet::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Version { output } => version(output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "alys", &mut std::io::stdout());
            Ok(())
        }
    };
    done.map(|()| exit::DONE)
}

fn version(output: Output) -> Outcome {
    let (program, schema) = (env!("CARGO_PKG_VERSION"), alys_proto::SCHEMA);
    match output {
        Output::Table => {
            print(&format!("alys {program} (message schema {schema}, block rules {})\n", alys_blocks::BLOCK_VERSION))
        }
        Output::Json => {
            json(&serde_json::json!({ "program": program, "schema": schema, "block_rules": alys_blocks::BLOCK_VERSION }))?
        }
    }
    Ok(())
}

/// Runs a long-running process. Its tasks end with the process: torn down one by one they would complain in the log,
/// behind the line that says why it ended.
fn run_to_end<F: Future>(work: F) -> Outcome<F::Output> {
    let runtime = runtime()?;
    let ended = runtime.block_on(work);
    std::mem::forget(runtime);
    Ok(ended)
}

/// The runtime of every process. Two workers: a role is one handler at a time and its io; eight processes share a host.
fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().or_temporary("cannot start threads")
}
