//! `alys debug mailbox freeze`, `step` and `thaw`: what changes something. A freeze is held by this process: when it is gone
//! the mailbox thaws by itself.

use std::time::Duration;

use alys_cluster::Remote;
use alys_proto::cluster::{self, MailboxFreeze, MailboxFrozen, MailboxStep, MailboxThaw};
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Change, Freeze};
use super::source::{DEADLINE, Live, failed};
use crate::cli::args::Place;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::io::table::print;

/// How often a freeze is renewed: several times within its lease of five seconds.
pub(super) const RENEW: Duration = Duration::from_secs(1);

/// Who changes something, for the audit.
pub(super) fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host} (pid {})", std::process::id())
}

pub(super) fn allowed(write: bool, what: &str) -> Outcome {
    if write {
        return Ok(());
    }
    Err(Failure::usage(format!("{what} changes a running node")).help("add --write; it is written down in audit.log"))
}

pub(super) async fn freeze(place: &Place, args: &Freeze) -> Outcome {
    allowed(args.write, "freezing a mailbox")?;
    let live = Live::join(place).await?;
    let who = who();
    let asked = || MailboxFreeze { who: who.clone(), reason: args.reason.clone() };
    let inspector = live.inspector(&args.instance)?;
    inspector.ask_within(DEADLINE, asked()).await.map_err(|why| failed(&args.instance, why))?;
    print(&format!("{} is frozen as {who}; Ctrl-C thaws it, and so does the end of this process\n", args.instance));

    let mut terminate = signal(SignalKind::terminate()).or_bug("cannot listen for signals")?;
    let until = args.lasting.map(|lasting| tokio::time::Instant::now() + lasting);
    let asked_to_end = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            () = sleep_until(until) => {}
        }
    };
    let renewed = async {
        loop {
            tokio::time::sleep(RENEW).await;
            inspector.ask_within(DEADLINE, asked()).await?;
        }
    };
    let ended: Result<(), alys_proto::Refused> = tokio::select! {
        () = asked_to_end => Ok(()),
        ended = renewed => ended,
    };
    ended.map_err(|why| failed(&args.instance, why).help("it is no longer held by this command"))?;
    let thawed = ask_thaw(&inspector, &args.instance, &who).await?;
    say(&args.instance, &thawed);
    Ok(())
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn ask_thaw(inspector: &Remote<cluster::Inbox>, instance: &str, who: &str) -> Outcome<MailboxFrozen> {
    inspector.ask_within(DEADLINE, MailboxThaw { who: who.to_owned() }).await.map_err(|why| failed(instance, why))
}

pub(super) async fn step(place: &Place, args: &Change) -> Outcome {
    allowed(args.write, "stepping a mailbox")?;
    let live = Live::join(place).await?;
    let asked = MailboxStep { who: who() };
    let inspector = live.inspector(&args.instance)?;
    let answer = inspector.ask_within(DEADLINE, asked).await.map_err(|why| failed(&args.instance, why))?;
    say(&args.instance, &answer);
    Ok(())
}

pub(super) async fn thaw(place: &Place, args: &Change) -> Outcome {
    allowed(args.write, "thawing a mailbox")?;
    let live = Live::join(place).await?;
    let answer = ask_thaw(&live.inspector(&args.instance)?, &args.instance, &who()).await?;
    say(&args.instance, &answer);
    Ok(())
}

fn say(instance: &str, answer: &MailboxFrozen) {
    let depth = answer.mailbox.as_ref().map_or(0, |mailbox| mailbox.depth);
    match &answer.frozen {
        Some(frozen) => print(&format!("{instance} is frozen by {}, {} stepped, {depth} wait\n", frozen.who, frozen.stepped)),
        None => print(&format!("{instance} is served again, {depth} wait\n")),
    }
}
