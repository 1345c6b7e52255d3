//! `make run` and `make demo`: a regtest Bitcoin node, a whole cluster, three governance nodes, one round trip.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use alys_tests::bitcoind::Bitcoind;
use alys_tests::cluster::{Alys, Options};
use alys_tests::demo::{Demonstration, Step};
use clap::Parser;

/// Deposits 1 BTC, transfers 0.25, burns 0.4 and checks every balance on both chains.
#[derive(Parser)]
#[command(name = "alys-demo")]
struct Arguments {
    /// Stay up after the demonstration until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// Keep the cluster's data here instead of in a temporary folder.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Bitcoin blocks until a deposit or payout counts.
    #[arg(long, default_value_t = 6)]
    confirmations: u32,
    /// Length of a slot in milliseconds, whole seconds.
    #[arg(long, default_value_t = 2_000)]
    slot_millis: u64,
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let arguments = Arguments::parse();
    let begun = Instant::now();
    say("starting bitcoind on regtest");
    let bitcoind = Bitcoind::start().await?;
    bitcoind.mine_coins().await?;
    say("starting eight role processes and three governance processes (`alys up --dev`)");
    let options = Options {
        confirmations: arguments.confirmations,
        slot_millis: arguments.slot_millis,
        data_dir: arguments.data_dir.clone(),
        ..Options::default()
    };
    let mut alys = Alys::up(&bitcoind, options).await?;
    say(&format!("all roles ready after {:.1} s", begun.elapsed().as_secs_f64()));
    println!("{}", alys.succeed(&["status", "--wait", "30"])?);

    let interrupted = tokio::signal::ctrl_c();
    let demonstration =
        Demonstration::new(&bitcoind, &alys, arguments.confirmations, |step| say(&format!("{}: {}", step.what, step.result)));
    let steps = tokio::select! {
        steps = demonstration.run() => steps?,
        _ = interrupted => eyre::bail!("interrupted"),
    };
    table(&steps);
    if arguments.stay {
        how_to_go_on(&alys);
        tokio::signal::ctrl_c().await?;
        say("stopping");
    }
    alys.stop()?;
    Ok(())
}

fn say(line: &str) {
    println!("== {line}");
    // A closed terminal ends the demonstration soon enough.
    let _flushed = std::io::stdout().flush();
}

fn table(steps: &[Step]) {
    println!("\n{:<30} {:>9}  result", "step", "seconds");
    for step in steps {
        println!("{:<30} {:>9.2}  {}", step.what, step.took.as_secs_f64(), step.result);
    }
}

fn how_to_go_on(alys: &Alys) {
    let folder = alys.data_dir().display();
    println!("\nThe cluster stays up until Ctrl-C.");
    println!("  wallet      Eth JSON-RPC at {}", alys.ethereum().url());
    println!("  processes   target/debug/alys status --data-dir {folder} --watch");
    println!("  mailboxes   target/debug/alys debug mailbox ls --data-dir {folder}");
    println!("  deposit     target/debug/alys peg-in --help");
    println!("  logs        {folder}/logs/");
}
