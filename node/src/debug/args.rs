//! The command line of `alys debug`.

use std::path::PathBuf;
use std::time::Duration;

use alys_proto::{Lane, Role};
use clap::{Args, Subcommand, ValueEnum};

use crate::io::table::Output;

const EXAMPLES: &str = "\
Examples:
  alys debug top                                  everything at a glance; ? shows the keys
  alys debug show storage                         all that is known of one instance
  alys debug edges                                who waits for whom; names deadlocks
  alys debug trace 1f2e…                          a deposit through every process, and what it waits for
  alys debug mailbox tap chain --text 1f2e…       messages about one thing as they pass
  alys debug deadletter ls                        messages that were put aside, and why
  alys debug mailbox freeze network --write       hold a mailbox until Ctrl-C, then step it from another terminal
  alys debug snapshot -o node.alys                a support bundle; `--from node.alys` opens it with the same commands

Looking needs nothing. What changes something needs --write and is written down in audit.log of the data directory.";

const REPLAY: &str = "\
The role and those it depends on run as processes of their own, on databases in the folder: a copy of the node's, made while it \
was stopped, or none. Nothing of it reaches the node, its peers or Bitcoin.

Example:
  alys debug record storage -o storage.rec --for 30s
  cp -r ~/.alys/storage /tmp/again/          # with the node stopped
  alys debug replay storage.rec --on /tmp/again";

const LETTERS: &str = "\
A message that ends its handler three times, or that its receiver will never take, is put aside by storage: whoever repeats it \
is refused. When the cause is mended, requeue it; handled, it leaves. What ends its handler again is dead again at once.

Example:
  alys debug deadletter ls
  alys debug deadletter show 17
  alys debug deadletter requeue 17 --write --reason \"fixed in 0.1.1\"";

/// `alys debug`.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Debug {
    /// All mailboxes live, in a terminal
    Top(Top),
    /// What waits in mailboxes and passes through them
    #[command(subcommand)]
    Mailbox(Mailbox),
    /// All facts of one instance
    Show(Show),
    /// Who waits for whom; names a deadlock
    Edges(Look),
    /// One peg-in, peg-out or block through every process, and where it is stuck
    Trace(Trace),
    /// The log of one instance, on whatever host it runs
    Logs(Logs),
    /// Messages that could not be handled: list, show, requeue, drop
    #[command(name = "deadletter", subcommand, after_help = LETTERS)]
    DeadLetter(DeadLetter),
    /// Write everything there is to see into one file, secrets redacted
    Snapshot(Snapshot),
    /// Write what a mailbox receives into a file, whole, to replay it
    Record(Record),
    /// Run a recording against a role offline, on a folder of its own
    #[command(after_help = REPLAY)]
    Replay(Replay),
}

/// Where to look, and how to show it.
#[derive(Clone, Debug, Args)]
pub struct Look {
    /// Look into a snapshot instead of the node that runs
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `alys debug top`.
#[derive(Clone, Debug, Args)]
pub struct Top {
    /// Look into a snapshot instead of the node that runs
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Print one picture and end; also where standard output is no terminal
    #[arg(long)]
    pub once: bool,
    /// How often to look
    #[arg(long, value_name = "SPAN", default_value = "500ms", value_parser = interval)]
    pub interval: Duration,
    /// Allow the keys that change something: f freeze, n step, t thaw
    #[arg(long, conflicts_with = "from")]
    pub write: bool,
}

/// `alys debug mailbox`.
#[derive(Clone, Debug, Subcommand)]
pub enum Mailbox {
    /// All mailboxes
    Ls(Look),
    /// The messages that wait in one
    Peek(Peek),
    /// Messages as they pass, until Ctrl-C
    Tap(Tap),
    /// Hold a mailbox until Ctrl-C: nothing is taken from it
    Freeze(Freeze),
    /// Let exactly one message through a frozen mailbox
    Step(Change),
    /// Open a frozen mailbox, whoever froze it
    Thaw(Change),
}

/// `alys debug mailbox peek`.
#[derive(Clone, Debug, Args)]
pub struct Peek {
    /// Instance, as `ls` names it
    pub instance: String,
    /// Most messages to show
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Only messages of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Only messages of this lane
    #[arg(long)]
    pub lane: Option<LaneName>,
    /// Where and how
    #[command(flatten)]
    pub look: Look,
}

/// A mailbox lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LaneName {
    /// Served first.
    Control,
    /// Most messages.
    Normal,
    /// Batches of blocks.
    Bulk,
}

impl LaneName {
    /// As messages have it.
    pub const fn proto(self) -> Lane {
        match self {
            Self::Control => Lane::Control,
            Self::Normal => Lane::Normal,
            Self::Bulk => Lane::Bulk,
        }
    }
}

/// `alys debug mailbox tap`.
#[derive(Clone, Debug, Args)]
pub struct Tap {
    /// Instance, as `ls` names it
    pub instance: String,
    /// Only messages of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Only messages from this role
    #[arg(long, value_name = "ROLE")]
    pub sender: Option<Role>,
    /// Only messages that hold this text: a transaction id, a height=7
    #[arg(long)]
    pub text: Option<String>,
    /// The role's own timers and answers, too
    #[arg(long)]
    pub local: bool,
    /// Most messages a second that are looked at; what is over it is counted
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    pub rate: u32,
    /// End after so many messages
    #[arg(long)]
    pub count: Option<usize>,
    /// End after this span
    #[arg(long = "for", value_name = "SPAN", value_parser = interval)]
    pub lasting: Option<Duration>,
    /// Form of the output; json: one object a line
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `alys debug mailbox freeze`.
#[derive(Clone, Debug, Args)]
pub struct Freeze {
    /// Instance, as `ls` names it
    pub instance: String,
    /// Yes, change something
    #[arg(long)]
    pub write: bool,
    /// Why, for the audit
    #[arg(long, default_value = "asked on the command line")]
    pub reason: String,
    /// Thaw after this span
    #[arg(long = "for", value_name = "SPAN", value_parser = interval)]
    pub lasting: Option<Duration>,
}

/// `alys debug mailbox step` and `thaw`.
#[derive(Clone, Debug, Args)]
pub struct Change {
    /// Instance, as `ls` names it
    pub instance: String,
    /// Yes, change something
    #[arg(long)]
    pub write: bool,
}

/// `alys debug show`.
#[derive(Clone, Debug, Args)]
pub struct Show {
    /// Instance, as `alys status` names it
    pub instance: String,
    /// Where and how
    #[command(flatten)]
    pub look: Look,
}

/// `alys debug trace`.
#[derive(Clone, Debug, Args)]
pub struct Trace {
    /// Transaction id, deposit as txid:output, burn as height/index, block height, or trace id
    pub subject: String,
    /// Tell each step as it is taken, until the last one
    #[arg(short, long, conflicts_with_all = ["from", "output"])]
    pub follow: bool,
    /// Look into a snapshot instead of the node that runs
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `alys debug logs`.
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// Instance, as `alys status` names it
    pub instance: String,
    /// Last lines to show
    #[arg(short = 'n', long, default_value_t = 50)]
    pub lines: usize,
    /// Go on until Ctrl-C
    #[arg(short, long, conflicts_with = "from")]
    pub follow: bool,
    /// Only lines with this text
    #[arg(long, value_name = "TEXT")]
    pub contains: Option<String>,
    /// Look into a snapshot instead of the node that runs
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// json: the lines as they were written
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `alys debug deadletter`.
#[derive(Clone, Debug, Subcommand)]
pub enum DeadLetter {
    /// All, newest first
    Ls(ListLetters),
    /// One with its fields, secrets redacted
    Show(ShowLetter),
    /// Let its receiver take it once more
    Requeue(Decide),
    /// Give it up: whoever sends it again has three more tries
    Drop(Decide),
}

/// `alys debug deadletter ls`.
#[derive(Clone, Debug, Args)]
pub struct ListLetters {
    /// Only those to this role
    #[arg(long, value_name = "ROLE")]
    pub receiver: Option<Role>,
    /// Most letters to show, the newest; 0: all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: u32,
    /// Where and how
    #[command(flatten)]
    pub look: Look,
}

/// `alys debug deadletter show`.
#[derive(Clone, Debug, Args)]
pub struct ShowLetter {
    /// Number, as `ls` shows it
    pub id: u64,
    /// Where and how
    #[command(flatten)]
    pub look: Look,
}

/// `alys debug deadletter requeue` and `drop`.
#[derive(Clone, Debug, Args)]
pub struct Decide {
    /// Number, as `ls` shows it
    pub id: u64,
    /// Yes, change something
    #[arg(long)]
    pub write: bool,
    /// Why, for the audit
    #[arg(long, default_value = "asked on the command line")]
    pub reason: String,
}

/// `alys debug snapshot`.
#[derive(Clone, Debug, Args)]
pub struct Snapshot {
    /// New file
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: PathBuf,
    /// Last log lines of each instance
    #[arg(long, default_value_t = 500)]
    pub log_lines: usize,
}

/// `alys debug record`.
#[derive(Clone, Debug, Args)]
pub struct Record {
    /// Instance, as `alys status` names it
    pub instance: String,
    /// New file. It holds signatures: only its owner can read it, and that it was taken is written down in audit.log
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: PathBuf,
    /// Only messages of this name
    #[arg(long)]
    pub name: Option<String>,
    /// End after so many messages
    #[arg(long)]
    pub count: Option<usize>,
    /// End after this span [default: at Ctrl-C]
    #[arg(long = "for", value_name = "SPAN", value_parser = interval)]
    pub lasting: Option<Duration>,
}

/// `alys debug replay`.
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// What `alys debug record` wrote
    pub file: PathBuf,
    /// Folder for the databases, logs and sockets of the replay
    #[arg(long = "on", value_name = "DIR")]
    pub folder: PathBuf,
    /// Role to run it against [default: the recorded one]
    #[arg(long)]
    pub role: Option<Role>,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// A span like `500ms`, at least 10 ms.
fn interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span >= Duration::from_millis(10) => Ok(span),
        Ok(_) => Err("at least 10ms".to_owned()),
        Err(cause) => Err(format!("{cause}; write it like 500ms or 10s")),
    }
}
