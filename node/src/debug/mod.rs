//! `alys debug`: a hidden node that looks into the others.
//!
//! | layer | files |
//! |---|---|
//! | facts: plain values, the same live and from a file | `facts`, `watch`, `edges`, `source`, `snapshot` |
//! | commands: a text of facts each | `peek`, `show`, `trace`, `logs`, `tap`, `deadletter` |
//! | commands that change or take something, audited | `control`, `record`, `deadletter` |
//! | offline | `replay` |
//! | terminal | `top` |

pub mod args;
mod control;
mod deadletter;
mod edges;
mod facts;
mod logs;
mod peek;
mod record;
mod replay;
#[cfg(test)]
mod sample;
mod show;
mod snapshot;
mod source;
mod tap;
mod top;
mod trace;
mod units;
mod watch;

pub(crate) use facts::health_name;

use crate::cli::args::Place;
use crate::failure::Outcome;
use crate::io::table::{self, Output, print};
use args::{Debug, Mailbox};
use source::{Live, Source};

/// Runs one command.
pub(crate) async fn run(place: &Place, command: &Debug) -> Outcome {
    match command {
        Debug::Top(args) => top::run(Source::open(place, args.from.as_deref()).await?, args).await,
        Debug::Mailbox(command) => mailbox(place, command).await,
        Debug::Show(args) => show::run(&mut Source::open(place, args.look.from.as_deref()).await?, args).await,
        Debug::Edges(look) => {
            let edges = edges::edges(&Source::open(place, look.from.as_deref()).await?.facts().await);
            match look.output {
                Output::Json => table::json(&serde_json::json!({ "deadlocks": edges::cycles(&edges), "edges": edges })),
                Output::Table => {
                    print(&edges::text(&edges));
                    Ok(())
                }
            }
        }
        Debug::Trace(args) => trace::run(Source::open(place, args.from.as_deref()).await?, args).await,
        Debug::Logs(args) => logs::run(&mut Source::open(place, args.from.as_deref()).await?, args).await,
        Debug::DeadLetter(command) => deadletter::run(place, command).await,
        Debug::Snapshot(args) => snapshot::take(place, args).await,
        Debug::Record(args) => record::run(place, args).await,
        Debug::Replay(args) => replay::run(place, args).await,
    }
}

async fn mailbox(place: &Place, command: &Mailbox) -> Outcome {
    match command {
        Mailbox::Ls(look) => peek::list(&mut Source::open(place, look.from.as_deref()).await?, look.output).await,
        Mailbox::Peek(args) => peek::peek(&Source::open(place, args.look.from.as_deref()).await?, args).await,
        Mailbox::Tap(args) => tap::run(&Live::join(place).await?, args).await,
        Mailbox::Freeze(args) => control::freeze(place, args).await,
        Mailbox::Step(args) => control::step(place, args).await,
        Mailbox::Thaw(args) => control::thaw(place, args).await,
    }
}
