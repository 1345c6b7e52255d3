//! `alys debug mailbox ls` and `peek`: what waits.

use alys_proto::Role;
use alys_proto::cluster::{MailboxPeek, MailboxView};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::facts::{Facts, Instance, Mailbox, lane_name};
use super::{args, source::Source, units};
use crate::failure::Outcome;
use crate::io::table::{self, Output, print};

/// A mailbox and the messages in it, in the order in which they will be served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peek {
    pub(super) mailbox: Mailbox,
    pub(super) messages: Vec<Queued>,
}

/// A message that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queued {
    pub(super) name: String,
    pub(super) lane: String,
    pub(super) sender: String,
    pub(super) message_id: String,
    pub(super) age_millis: u64,
    pub(super) bytes: u64,
    pub(super) body: String,
}

impl From<&MailboxView> for Peek {
    fn from(view: &MailboxView) -> Self {
        let messages = view.messages.iter().map(|message| Queued {
            name: message.name.clone(),
            lane: lane_name(message.lane()).to_owned(),
            sender: Role::try_from(message.sender).unwrap_or(Role::Unspecified).name().to_owned(),
            message_id: hex::encode(&message.message_id),
            age_millis: message.age_millis,
            bytes: message.bytes,
            body: message.body.clone(),
        });
        Self { mailbox: view.mailbox.as_ref().map(Mailbox::from).unwrap_or_default(), messages: messages.collect() }
    }
}

impl Peek {
    /// As a live mailbox would have answered.
    pub(super) fn filtered(mut self, asked: &MailboxPeek) -> Self {
        let lane = asked.lane.map(|_| lane_name(asked.lane()));
        self.messages.retain(|message| {
            (asked.name.is_empty() || asked.name == message.name) && lane.is_none_or(|lane| lane == message.lane)
        });
        if asked.limit > 0 {
            self.messages.truncate(usize::try_from(asked.limit).unwrap_or(usize::MAX));
        }
        self
    }
}

pub(super) async fn list(source: &mut Source, output: Output) -> Outcome {
    let facts = source.facts().await;
    if output == Output::Json {
        return table::json(&json_of(&facts));
    }
    print(&list_text(&facts));
    Ok(())
}

fn json_of(facts: &Facts) -> Vec<serde_json::Value> {
    let with_mailbox = facts.instances.iter().filter(|instance| instance.role != "governance");
    with_mailbox
        .map(|one| json!({ "instance": one.instance, "how": one.how, "health": one.health(), "mailbox": one.mailbox }))
        .collect()
}

/// The table of `ls`.
fn list_text(facts: &Facts) -> String {
    const HEADINGS: [&str; 15] = [
        "instance",
        "health",
        "depth",
        "high",
        "capacity",
        "oldest",
        "handled",
        "failed",
        "refused",
        "dropped",
        "expired",
        "p50",
        "p99",
        "in flight",
        "waiting on",
    ];
    let rows: Vec<Vec<String>> = facts.instances.iter().filter(|one| one.role != "governance").map(row).collect();
    table::table(&HEADINGS, &rows)
}

fn row(instance: &Instance) -> Vec<String> {
    let mut cells = vec![instance.instance.clone(), instance.health().to_owned()];
    let Some(mailbox) = &instance.mailbox else { return cells };
    cells.extend([mailbox.depth, mailbox.high_water, mailbox.capacity].map(|figure| figure.to_string()));
    cells.push(units::millis(mailbox.oldest_millis));
    let counters = [mailbox.handled, mailbox.failed, mailbox.refused, mailbox.dropped, mailbox.expired];
    cells.extend(counters.map(|counter| counter.to_string()));
    cells.extend([units::micros(mailbox.p50_micros), units::micros(mailbox.p99_micros)]);
    cells.push(match mailbox.in_flight.as_str() {
        "" => "-".to_owned(),
        name => format!("{name} {}", units::millis(mailbox.busy_millis)),
    });
    cells.push(if mailbox.waiting_on.is_empty() { "-".to_owned() } else { mailbox.waiting_on.clone() });
    cells
}

pub(super) async fn peek(source: &Source, args: &args::Peek) -> Outcome {
    let asked = MailboxPeek {
        limit: args.limit,
        name: args.name.clone().unwrap_or_default(),
        lane: args.lane.map(|lane| lane.proto().into()),
    };
    let peek = source.peek(&args.instance, asked).await?;
    if args.look.output == Output::Json {
        return table::json(&peek);
    }
    print(&peek_text(&peek));
    Ok(())
}

fn peek_text(peek: &Peek) -> String {
    let rows: Vec<Vec<String>> = peek
        .messages
        .iter()
        .map(|message| {
            vec![
                message.name.clone(),
                message.lane.clone(),
                message.sender.clone(),
                units::millis(message.age_millis),
                message.bytes.to_string(),
                message.body.clone(),
            ]
        })
        .collect();
    table::table(&["message", "lane", "sender", "age", "bytes", "body"], &rows)
}

#[cfg(test)]
mod tests {
    use alys_proto::Lane;

    use super::super::sample;
    use super::*;

    #[test]
    fn mailboxes_for_people() {
        sample::golden("mailbox-ls", &list_text(&sample::facts()));
    }

    #[test]
    fn messages_for_people_and_the_filter_of_a_snapshot() {
        let message = |name: &str, lane: &str| Queued {
            name: name.into(),
            lane: lane.into(),
            sender: "chain".into(),
            age_millis: 1_250,
            bytes: 12,
            body: "height=7".into(),
            ..Queued::default()
        };
        let messages = vec![message("AppendWal", "control"), message("GetHead", "normal"), message("GetHead", "normal")];
        let peek = Peek { mailbox: Mailbox::default(), messages };
        sample::golden("mailbox-peek", &peek_text(&peek));
        let names = |asked: MailboxPeek| peek.clone().filtered(&asked).messages.len();
        assert_eq!(names(MailboxPeek { name: "GetHead".into(), ..MailboxPeek::default() }), 2);
        assert_eq!(names(MailboxPeek { lane: Some(Lane::Control.into()), ..MailboxPeek::default() }), 1);
        assert_eq!(names(MailboxPeek { lane: Some(Lane::Normal.into()), limit: 1, ..MailboxPeek::default() }), 1);
    }
}
