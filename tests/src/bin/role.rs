//! A role for tests, on the real shell: it takes the place of bridge or of engine and does what a test tells it to.
//!
//! | as | does |
//! |---|---|
//! | bridge | writes the height of each burn it is told of to a file; ends over the transactions in `panic_over` and `break_over` |
//! | engine | posts `BurnEventDetected` with the heights 1 to `post`, and writes each to a file when it is taken |

use std::fs::File;
use std::future::ready;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use alys_cluster::testing::Plain;
use alys_cluster::{ActorError, Cluster, Identity, Remote, run};
use alys_proto::{Role, bridge, common, engine};
use clap::Parser;

/// What a test sets.
#[derive(Clone, Debug, Parser)]
struct Args {
    role: Role,
    /// The node's configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Where effects are written down, one a line.
    #[arg(long)]
    file: PathBuf,
    /// As bridge: panics over a transaction with this name.
    #[arg(long, default_value = "")]
    panic_over: String,
    /// As bridge: fails over a transaction with this name.
    #[arg(long, default_value = "")]
    break_over: String,
    /// As engine: posts so many messages.
    #[arg(long, default_value_t = 0)]
    post: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let loaded = match alys::config::load(&args.config, &[]) {
        Ok(loaded) => loaded,
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    let identity = Identity::new(args.role, args.role.name());
    let cluster = loaded.config.cluster.clone();
    let code = match args.role {
        Role::Bridge => run(&cluster, identity, |_| Ok(Plain::new(move |message| ready(bridge(&args, message))))).await,
        Role::Engine => {
            let engine = |mesh: &Cluster| {
                tokio::spawn(post(args, mesh.remote()));
                Ok(Plain::new(|_: engine::Inbox| ready(Ok(()))))
            };
            run(&cluster, identity, engine).await
        }
        other => {
            eprintln!("this program is no {other}");
            return ExitCode::FAILURE;
        }
    };
    ExitCode::from(code)
}

fn write(args: &Args, line: impl std::fmt::Display) -> Result<(), ActorError> {
    let append = || -> std::io::Result<()> {
        let mut file = File::options().create(true).append(true).open(&args.file)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    };
    append().map_err(|cause| ActorError::Temporary(cause.to_string()))
}

#[allow(clippy::panic, reason = "a test asks for it")]
fn bridge(args: &Args, message: bridge::Inbox) -> Result<(), ActorError> {
    match message {
        bridge::Inbox::BurnEventDetected(message) => message.burns.iter().try_for_each(|burn| write(args, burn.height)),
        bridge::Inbox::BitcoinTransactionSeen(seen) => {
            let text = String::from_utf8_lossy(&seen.txid).into_owned();
            if !text.is_empty() && text == args.panic_over {
                panic!("{text}");
            }
            if !text.is_empty() && text == args.break_over {
                return Err(ActorError::Broken(text));
            }
            write(args, text)
        }
        _ => Ok(()),
    }
}

/// Posts, from where the process before this one had got.
async fn post(args: Args, bridge: Remote<bridge::Inbox>) {
    let taken = std::fs::read_to_string(&args.file).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).max();
    let mut height = taken.unwrap_or(0u64).saturating_add(1);
    while height <= args.post {
        let burn = common::Burn { height, ..common::Burn::default() };
        match bridge.post(bridge::BurnEventDetected { burns: vec![burn] }).await {
            Ok(()) if write(&args, height).is_ok() => height = height.saturating_add(1),
            Ok(()) => return,
            Err(_storage_away) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
