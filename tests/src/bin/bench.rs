//! `make bench`: prints the figures of `docs/benchmarks.md` as a table.

use std::path::PathBuf;

use alys_tests::bench;
use clap::{Parser, Subcommand};

/// Measures the cluster. Ratios are against a baseline of the same run.
#[derive(Parser)]
#[command(name = "alys-bench")]
struct Arguments {
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// The answering process of the call measurement.
    #[command(hide = true)]
    Answer { folder: PathBuf, bare_port: u16 },
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::Answer { folder, bare_port }) = arguments.part {
        return bench::call::answer(&folder, bare_port).await;
    }
    let rounds = bench::call::measure(arguments.rounds).await?;
    println!("remote call, p50 µs    ours     bare    ratio");
    for round in &rounds {
        println!("{:>27.1} {:>8.1} {:>8.2}", round.ours, round.bare, round.ours / round.bare);
    }
    bench::node::measure(arguments.rounds).await
}
