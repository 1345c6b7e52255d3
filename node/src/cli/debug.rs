//! `alys debug`: mailboxes of live roles, read-only.

use std::time::Duration;

use alys_cluster::Cluster;
use alys_proto::cluster::{MailboxPeek, MailboxView};
use serde_json::json;

use super::args::{Debug, Mailbox, Place};
use super::status::{MailboxRow, join};
use crate::failure::{Failure, Outcome};
use crate::io::table::{self, Output, print};

const DEADLINE: Duration = Duration::from_secs(2);

pub(super) async fn run(place: &Place, command: &Debug) -> Outcome {
    let Debug::Mailbox(command) = command;
    let cluster = join(place).await?;
    match command {
        Mailbox::Ls { output } => list(&cluster, *output).await,
        Mailbox::Peek { instance, limit, output } => peek(&cluster, instance, *limit, *output).await,
    }
}

async fn list(cluster: &Cluster, output: Output) -> Outcome {
    let mut mailboxes = Vec::new();
    for observed in cluster.observe_all(DEADLINE).await {
        let mailbox = observed.observation.ok().and_then(|observation| observation.mailbox);
        mailboxes.push((observed.identity.instance, mailbox.as_ref().map(MailboxRow::new)));
    }
    if output == Output::Json {
        let all: Vec<_> =
            mailboxes.iter().map(|(instance, mailbox)| json!({ "instance": instance, "mailbox": mailbox })).collect();
        return table::json(&all);
    }
    let headings = [
        "instance",
        "depth",
        "high",
        "capacity",
        "oldest",
        "handled",
        "failed",
        "refused",
        "dropped",
        "expired",
        "in flight",
        "waiting on",
    ];
    let rows: Vec<Vec<String>> = mailboxes.into_iter().map(|(instance, mailbox)| row(instance, mailbox)).collect();
    print(&table::table(&headings, &rows));
    Ok(())
}

fn row(instance: String, mailbox: Option<MailboxRow>) -> Vec<String> {
    let Some(mailbox) = mailbox else { return vec![instance, "no answer".to_owned()] };
    let in_flight = match mailbox.in_flight.as_str() {
        "" => "-".to_owned(),
        name => format!("{name} {} ms", mailbox.busy_millis),
    };
    let mut cells = vec![instance, mailbox.depth.to_string(), mailbox.high_water.to_string(), mailbox.capacity.to_string()];
    cells.push(format!("{} ms", mailbox.oldest_millis));
    let counters = [mailbox.handled, mailbox.failed, mailbox.refused, mailbox.dropped, mailbox.expired];
    cells.extend(counters.map(|counter| counter.to_string()));
    cells.extend([in_flight, if mailbox.waiting_on.is_empty() { "-".to_owned() } else { mailbox.waiting_on }]);
    cells
}

async fn peek(cluster: &Cluster, instance: &str, limit: u32, output: Output) -> Outcome {
    let known = cluster.instances();
    let Some(found) = known.iter().find(|known| known.identity.instance == instance) else {
        let names: Vec<&str> = known.iter().map(|known| known.identity.instance.as_str()).collect();
        return Err(Failure::usage(format!("no live instance `{instance}`; there are {}", names.join(", "))));
    };
    let Some(inspector) = cluster.inspector(found.identity.role, instance) else {
        return Err(Failure::temporary(format!("{instance} has just gone")));
    };
    let view = inspector.ask_within(DEADLINE, MailboxPeek { limit }).await.map_err(Failure::temporary)?;
    show(&view, output)
}

fn show(view: &MailboxView, output: Output) -> Outcome {
    let age = |millis: u64| format!("{millis} ms");
    if output == Output::Json {
        let messages: Vec<_> = view
            .messages
            .iter()
            .map(|message| {
                json!({
                    "name": message.name,
                    "lane": message.lane().as_str_name(),
                    "sender": message.sender().name(),
                    "message_id": hex::encode(&message.message_id),
                    "age_millis": message.age_millis,
                    "bytes": message.bytes,
                    "body": message.body,
                })
            })
            .collect();
        return table::json(&json!({ "mailbox": view.mailbox.as_ref().map(MailboxRow::new), "messages": messages }));
    }
    let rows: Vec<Vec<String>> = view
        .messages
        .iter()
        .map(|message| {
            let sender = message.sender().name().to_owned();
            vec![message.name.clone(), sender, age(message.age_millis), message.bytes.to_string(), message.body.clone()]
        })
        .collect();
    print(&table::table(&["message", "sender", "age", "bytes", "body"], &rows));
    Ok(())
}
