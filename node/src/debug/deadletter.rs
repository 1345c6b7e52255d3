//! `alys debug deadletter`: messages that could not be handled, kept by storage until a person decides.

use std::time::{Duration, UNIX_EPOCH};

use alys_cluster::Remote;
use alys_proto::cluster::{self, Audit};
use alys_proto::storage::dead_letter::{Reason, State};
use alys_proto::storage::{self, DeadLetter, DropDeadLetter, GetDeadLetter, ListDeadLetters, RequeueDeadLetter};
use alys_proto::{Refused, Role, describe};
use serde::{Deserialize, Serialize};

use super::args::{DeadLetter as Command, Decide, ListLetters, ShowLetter};
use super::control::{allowed, who};
use super::source::{DEADLINE, Live, Source, failed};
use super::units;
use crate::cli::args::Place;
use crate::failure::{Failure, Outcome};
use crate::io::table::{self, Output, print};

/// Letters of a snapshot: the newest. A letter's body is described in at most 2,000 characters.
const MOST_IN_SNAPSHOT: u32 = 100;
/// Characters of an explanation in the table; `show` has all of them.
const SHORT: usize = 60;

/// Newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letters {
    pub(super) letters: Vec<Letter>,
    /// Older ones that made room, ever.
    pub(super) fallen_out: u64,
}

/// A message that was put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) id: u64,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) explanation: String,
    pub(super) receiver: String,
    pub(super) message: String,
    pub(super) sender: String,
    pub(super) message_id: String,
    pub(super) trace: String,
    pub(super) died_unix_millis: u64,
    pub(super) deaths: u32,
    pub(super) requeued: u32,
    pub(super) bytes: u64,
    /// Its fields, secrets redacted; `None`: not read.
    pub(super) body: Option<String>,
}

impl From<&DeadLetter> for Letter {
    fn from(letter: &DeadLetter) -> Self {
        let header = letter.header.clone().unwrap_or_default();
        Self {
            id: letter.id,
            state: state_name(letter.state()).to_owned(),
            reason: reason_name(letter.reason()).to_owned(),
            explanation: letter.explanation.clone(),
            receiver: letter.receiver().name().to_owned(),
            message: letter.method.clone(),
            sender: header.sender().name().to_owned(),
            message_id: hex::encode(&header.message_id),
            trace: header.traceparent.split('-').nth(1).unwrap_or_default().to_owned(),
            died_unix_millis: letter.died_unix_millis,
            deaths: letter.deaths,
            requeued: letter.requeued,
            bytes: letter.body_bytes,
            body: None,
        }
    }
}

impl Letter {
    /// Of one that was read whole.
    fn whole(letter: &DeadLetter) -> Self {
        let body = describe::message_to(&letter.service, &letter.method, &letter.body);
        Self { body: Some(body), ..Self::from(letter) }
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Dead => "dead",
        State::Requeued => "requeued",
    }
}

const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "unknown",
        Reason::KilledItsHandler => "killed its handler",
        Reason::Refused => "refused",
        Reason::Malformed => "malformed",
    }
}

/// Runs one of the commands.
pub(super) async fn run(place: &Place, command: &Command) -> Outcome {
    match command {
        Command::Ls(args) => list(&Source::open(place, args.look.from.as_deref()).await?, args).await,
        Command::Show(args) => show(&Source::open(place, args.look.from.as_deref()).await?, args).await,
        Command::Requeue(args) => requeue(place, args).await,
        Command::Drop(args) => remove(place, args).await,
    }
}

/// What a snapshot keeps; `None`: storage does not answer.
pub(super) async fn of_snapshot(live: &Live) -> Option<Letters> {
    let store = store(live);
    let listed = store.ask(ListDeadLetters { limit: MOST_IN_SNAPSHOT, ..ListDeadLetters::default() }).await.ok()?;
    let mut kept = Letters { letters: Vec::new(), fallen_out: listed.fallen_out };
    for letter in &listed.letters {
        // One that has left meanwhile is not missed.
        let whole = store.ask(GetDeadLetter { id: letter.id }).await;
        kept.letters.push(whole.map_or_else(|_gone| Letter::from(letter), |whole| Letter::whole(&whole)));
    }
    Some(kept)
}

async fn list(source: &Source, args: &ListLetters) -> Outcome {
    let letters = match source {
        Source::Live(live) => {
            let asked = ListDeadLetters { receiver: args.receiver.map_or(0, Into::into), limit: args.limit };
            let listed = store(live).ask(asked).await.map_err(storage_failed)?;
            Letters { letters: listed.letters.iter().map(Letter::from).collect(), fallen_out: listed.fallen_out }
        }
        Source::File(snapshot) => snapshot.letters.clone().ok_or_else(not_in_snapshot)?.filtered(args),
    };
    if args.look.output == Output::Json {
        return table::json(&letters);
    }
    print(&list_text(&letters));
    Ok(())
}

impl Letters {
    /// As storage would have answered.
    fn filtered(mut self, args: &ListLetters) -> Self {
        self.letters.retain(|letter| args.receiver.is_none_or(|role| role.name() == letter.receiver));
        if args.limit > 0 {
            self.letters.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
        }
        self
    }
}

async fn show(source: &Source, args: &ShowLetter) -> Outcome {
    let letter = match source {
        Source::Live(live) => Letter::whole(&whole(live, args.id).await?),
        Source::File(snapshot) => {
            let letters = snapshot.letters.as_ref().ok_or_else(not_in_snapshot)?;
            let found = letters.letters.iter().find(|letter| letter.id == args.id).cloned();
            found.ok_or_else(|| Failure::usage(format!("no dead letter {} in this snapshot", args.id)))?
        }
    };
    if args.look.output == Output::Json {
        return table::json(&letter);
    }
    print(&show_text(&letter));
    Ok(())
}

async fn requeue(place: &Place, args: &Decide) -> Outcome {
    allowed(args.write, "requeueing a dead letter")?;
    let live = Live::join(place).await?;
    let letter = whole(&live, args.id).await?;
    audited(&live, "deadletter requeue", &letter, &args.reason).await?;
    store(&live).ask(RequeueDeadLetter { id: args.id }).await.map_err(storage_failed)?;
    print(&format!(
        "{}: {} takes {} again within seconds, or when it starts; handled, it is gone from `alys debug deadletter ls`\n",
        args.id,
        letter.receiver(),
        letter.method
    ));
    Ok(())
}

async fn remove(place: &Place, args: &Decide) -> Outcome {
    allowed(args.write, "dropping a dead letter")?;
    let live = Live::join(place).await?;
    let letter = whole(&live, args.id).await?;
    audited(&live, "deadletter drop", &letter, &args.reason).await?;
    store(&live).ask(DropDeadLetter { id: args.id }).await.map_err(storage_failed)?;
    print(&format!(
        "{}: {} is gone; whoever sends it to {} again has three more tries\n",
        args.id,
        letter.method,
        letter.receiver()
    ));
    Ok(())
}

/// Storage's shell writes it down before storage is asked: what cannot be written down is not done.
async fn audited(live: &Live, what: &str, letter: &DeadLetter, reason: &str) -> Outcome {
    let what = format!("{what} {}: {} to {}", letter.id, letter.method, letter.receiver());
    let asked = Audit { who: who(), what, reason: reason.to_owned() };
    inspector(live)?.ask_within(DEADLINE, asked).await.map_err(storage_failed)?;
    Ok(())
}

fn inspector(live: &Live) -> Outcome<Remote<cluster::Inbox>> {
    let known = live.cluster.instances();
    let storage = known.iter().find(|known| known.identity.role == Role::Storage);
    let found = storage.and_then(|storage| live.cluster.inspector(Role::Storage, &storage.identity.instance));
    found.ok_or_else(|| storage_failed(Refused::Unreachable(Role::Storage.name().to_owned())))
}

fn store(live: &Live) -> Remote<storage::Inbox> {
    live.cluster.remote()
}

async fn whole(live: &Live, id: u64) -> Outcome<DeadLetter> {
    store(live).ask(GetDeadLetter { id }).await.map_err(storage_failed)
}

fn storage_failed(refused: Refused) -> Failure {
    failed(Role::Storage.name(), refused)
}

fn not_in_snapshot() -> Failure {
    Failure::usage("this snapshot holds no dead letters: storage did not answer, or an earlier program took it")
}

fn list_text(letters: &Letters) -> String {
    const HEADINGS: [&str; 9] = ["id", "state", "died", "receiver", "message", "sender", "bytes", "reason", "explanation"];
    if letters.letters.is_empty() && letters.fallen_out == 0 {
        return "no dead letters\n".to_owned();
    }
    let rows: Vec<Vec<String>> = letters.letters.iter().map(row).collect();
    let mut text = table::table(&HEADINGS, &rows);
    if letters.fallen_out > 0 {
        text.push_str(&format!("\n{} older ones fell out to make room\n", letters.fallen_out));
    }
    text
}

fn row(letter: &Letter) -> Vec<String> {
    let mut explanation: String = letter.explanation.chars().take(SHORT).collect();
    if explanation.len() < letter.explanation.len() {
        explanation.push('…');
    }
    vec![
        letter.id.to_string(),
        letter.state.clone(),
        date(letter.died_unix_millis),
        letter.receiver.clone(),
        letter.message.clone(),
        letter.sender.clone(),
        letter.bytes.to_string(),
        reason(letter),
        explanation.replace('\n', " "),
    ]
}

fn reason(letter: &Letter) -> String {
    if letter.deaths > 0 { format!("{}, {} times", letter.reason, letter.deaths) } else { letter.reason.clone() }
}

fn show_text(letter: &Letter) -> String {
    let unless_empty = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let lines = [
        ("letter", format!("{} ({})", letter.id, letter.state)),
        ("message", format!("{} from {} to {}", letter.message, letter.sender, letter.receiver)),
        ("reason", reason(letter)),
        ("explanation", unless_empty(&letter.explanation)),
        ("died", date(letter.died_unix_millis)),
        ("requeued", format!("{} times", letter.requeued)),
        ("message id", unless_empty(&letter.message_id)),
        ("trace", unless_empty(&letter.trace)),
        ("size", units::bytes(letter.bytes)),
        ("body", unless_empty(letter.body.as_deref().unwrap_or_default())),
    ];
    lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}

/// Date and time in UTC: a letter may be weeks old.
fn date(unix_millis: u64) -> String {
    let moment = UNIX_EPOCH.checked_add(Duration::from_millis(unix_millis)).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_seconds(moment).to_string()
}

#[cfg(test)]
#[path = "deadletter_tests.rs"]
mod tests;
