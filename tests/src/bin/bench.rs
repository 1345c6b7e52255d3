//! `make bench`: prints the figures of `docs/benchmarks.md` as a table.

use std::path::PathBuf;

use alys_proto::Role;
use alys_tests::bench;
use alys_tests::bench::call::{Figure, Round};
use clap::{Parser, Subcommand};

/// Kills of each singleton in the whole run; 200 by the argument of `failover`.
const FEW_KILLS: usize = 10;
/// Blocks of four validators in the whole run; 1,000 by the argument of `validators`.
const FEW_BLOCKS: u64 = 60;
/// Restarts over each transport in the whole run; 1,000 by the argument of `rejoin`.
const FEW_RESTARTS: usize = 50;

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
    Answer { folder: PathBuf, bare_port: u16, tonic_port: u16 },
    /// The answering process of the measurement with a debugger.
    #[command(hide = true)]
    Echo { folder: PathBuf },
    /// A process of the measurement of restarts.
    #[command(hide = true)]
    Joiner { role: Role, folder: PathBuf, ports: Vec<u16> },
    /// Only how long a killed singleton is away.
    Failover {
        /// Kills of chain, and of bridge.
        #[arg(default_value_t = 200)]
        kills: usize,
    },
    /// Only how long a restarted process is away from its peers.
    Rejoin {
        /// Restarts over Unix sockets, and over TLS.
        #[arg(default_value_t = 1_000)]
        restarts: usize,
    },
    /// Only what a message costs inside of one process.
    Micro {
        /// Of a million calls each.
        #[arg(default_value_t = 5)]
        rounds: usize,
    },
    /// Only control beside bulk.
    Lanes,
    /// The receiving process of the measurement under overload.
    #[command(hide = true)]
    Slow { folder: PathBuf },
    /// Only memory under overload; a minute.
    Overload,
    /// Only what a debugger costs.
    Top { rounds: usize },
    /// Only messages between two processes.
    Mesh,
    /// Only the check of a stranger's blocks.
    Check {
        /// Of a thousand blocks each.
        #[arg(default_value_t = 5)]
        rounds: usize,
    },
    /// Only four validators of one chain; a block takes 2 s.
    Validators {
        /// Blocks to measure.
        #[arg(default_value_t = 1_000)]
        blocks: u64,
    },
}

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Answer { folder, bare_port, tonic_port }) => return bench::ends::answer(&folder, bare_port, tonic_port).await,
        Some(Part::Echo { folder }) => return bench::top::answer(&folder).await,
        Some(Part::Joiner { role, folder, ports }) => return bench::rejoin::join(role, &folder, &ports).await,
        Some(Part::Failover { kills }) => return bench::failover::measure(kills).await,
        Some(Part::Rejoin { restarts }) => return bench::rejoin::measure(restarts),
        Some(Part::Micro { rounds }) => return bench::micro::measure(rounds).await,
        Some(Part::Lanes) => return bench::lanes::measure().await,
        Some(Part::Slow { folder }) => return bench::overload::receive(&folder).await,
        Some(Part::Overload) => return bench::overload::measure().await,
        Some(Part::Top { rounds }) => return bench::top::measure(rounds).await,
        Some(Part::Check { rounds }) => return bench::check::measure(rounds),
        Some(Part::Validators { blocks }) => return bench::validators::measure(blocks).await,
        Some(Part::Mesh) | None => {}
    }
    show(&bench::call::measure(arguments.rounds).await?);
    if matches!(arguments.part, Some(Part::Mesh)) {
        return Ok(());
    }
    bench::top::measure_beside(arguments.rounds)?;
    bench::micro::measure_beside(arguments.rounds)?;
    bench::check::measure(arguments.rounds)?;
    bench::lanes::measure_beside()?;
    bench::overload::measure_beside()?;
    bench::rejoin::measure(FEW_RESTARTS)?;
    bench::failover::measure_beside(FEW_KILLS)?;
    bench::node::measure(arguments.rounds).await?;
    bench::validators::measure(FEW_BLOCKS).await
}

fn show(rounds: &[Round]) {
    type Row = (&'static str, fn(&Round) -> Figure);
    let figures: [Row; 5] = [
        ("call, one after the other, p50 µs", |round| round.sequential),
        ("calls/s, 256 under way", |round| round.under_way),
        ("told/s, 100 bytes", |round| round.told),
        ("the same, tonic fed by a task", |round| round.told_by_a_task),
        ("told, processor µs", |round| round.told_cpu),
    ];
    println!("{:<36}{:>12}{:>12}{:>12}{:>12}{:>12}", "", "ours", "bare", "tonic", "ours/bare", "ours/tonic");
    for (name, figure) in figures {
        for round in rounds {
            let Figure { ours, bare, tonic } = figure(round);
            println!("{name:<36}{ours:>12.1}{bare:>12.1}{tonic:>12.1}{:>12.2}{:>12.2}", ours / bare, ours / tonic);
        }
        let median = |ratio: fn(Figure) -> f64| {
            let mut ratios: Vec<f64> = rounds.iter().map(|round| ratio(figure(round))).collect();
            ratios.sort_by(f64::total_cmp);
            ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let (bare, tonic) = (median(|f| f.ours / f.bare), median(|f| f.ours / f.tonic));
        println!("{:<36}{:>12}{:>12}{:>12}{bare:>12.2}{tonic:>12.2}", format!("  median of {}", rounds.len()), "", "", "");
    }
}
